"""What a question about stock can come to, and how far an answer goes."""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

from msgspec import Struct

from domain.rows import Row


class Role(StrEnum):
    """Who answers."""

    ACTIVE = "active"  # the owner, confirmed by the broker lately
    FORMER = "former"  # the last owner, until the new one is known
    STANDBY = "standby"  # follows the owner's changelog


class PartitionState(StrEnum):
    """Where a worker is with one partition; which moves are legal is the table's business.

    (`domain.stock.PartitionState` is the memory that an owner folds into.)
    """

    FENCING = "fencing"  # to be owned: making every older writer refused
    RESTORING = "restoring"  # fenced: reading the changelog to its end
    ACTIVE = "active"  # owned: folds, commits, answers
    FORMER = "former"  # no longer owned: answers until another owner is known
    LOADING = "loading"  # to stand by: not yet past the end seen at the start
    STANDBY = "standby"  # follows, and answers


class Freshness(Struct, frozen=True):
    """Who gave an answer, up to where, how far behind (P4).

    worker: its URL. position: token of the offsets handled. lag_events: against the ends
    known at `as_of_ms`, when a broker last answered that worker for this partition.
    """

    role: Role
    worker: str
    partition: int
    position: str
    lag_events: int
    as_of_ms: int


class Found(Struct, frozen=True):
    """A row."""

    sku: str
    location: str
    row: Row
    freshness: Freshness


class NotFound(Struct, frozen=True):
    """No event up to `freshness.position` has named this SKU at this location."""

    sku: str
    location: str
    freshness: Freshness


class NotReady(Struct, frozen=True):
    """Nobody who holds the partition can answer now."""

    detail: str
    retry_after_s: int


class NotCaughtUp(Struct, frozen=True):
    """`min_position` was not reached in time."""

    detail: str
    retry_after_s: int


class TooStale(Struct, frozen=True):
    """Every answer at hand is further behind than `max_lag_events`."""

    detail: str
    retry_after_s: int


class TooBusy(Struct, frozen=True):
    """So many wait for a position already that this one may not."""

    detail: str
    retry_after_s: int


Lookup: TypeAlias = Found | NotFound | NotReady | NotCaughtUp | TooStale | TooBusy


def format_position(offsets: Mapping[tuple[str, int], int]) -> str:
    """Write the token for the last offset handled of each (topic, partition).

    `sales-3@1234,shipments-3@88`: sorted, so that equal positions are equal texts.
    """
    return ",".join(
        f"{topic}-{partition}@{offset}" for (topic, partition), offset in sorted(offsets.items())
    )


def read_position(token: str) -> dict[tuple[str, int], int]:
    """As `parse_position`, for what a caller wrote: a part that is no part is refused.

    A part is `name-partition@number` or `name@number`. The second kind names no partition:
    it is passed over, as is a name that is not known. An empty token is none.

    Raises:
        ValueError: a sentence without its subject.
    """
    for part in token.split(",") if token.strip() else ():
        name, at, offset = part.strip().rpartition("@")
        if not name or not at or "@" in name or _number(offset, most=2**63 - 1) is None:
            shown = ascii(part[:80])
            raise ValueError(
                f"must be a position that an answer gave, such as sales-3@1234; {shown} is none"
            )
    return parse_position(token)


def parse_position(token: str) -> dict[tuple[str, int], int]:
    """Read a token; parts of a kind not known are ignored, of repeated ones the highest counts.

    Read from the right: a topic may hold dots, dashes and digits, but neither `@` nor `,`.
    """
    offsets: dict[tuple[str, int], int] = {}
    for part in token.split(","):
        place, _, offset_text = part.strip().rpartition("@")
        topic, _, partition_text = place.rpartition("-")
        partition = _number(partition_text, most=2**31 - 1)
        offset = _number(offset_text, most=2**63 - 1)
        if topic and "@" not in topic and partition is not None and offset is not None:
            offsets[topic, partition] = max(offset, offsets.get((topic, partition), 0))
    return offsets


def _number(text: str, most: int) -> int | None:
    # Python refuses to read integers of more than 4,300 digits.
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        return None
    number = int(text)
    return number if number <= most else None
