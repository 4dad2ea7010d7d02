"""Positions in source topics as one short text: what an answer gives and a caller waits for."""

import re
from collections.abc import Mapping
from typing import TypeAlias

#: A topic and a partition.
Place: TypeAlias = tuple[str, int]


def format_position(offsets: Mapping[Place, int]) -> str:
    """Write the token for the last offset handled of each (topic, partition).

    `sales-3@1234,shipments-3@88`: sorted, so that equal positions are equal texts.
    """
    return ",".join([format_one(place, offset) for place, offset in sorted(offsets.items())])


def format_one(place: Place, offset: int) -> str:
    """Write the token of one offset."""
    topic, partition = place
    return f"{topic}-{partition}@{offset}"


def read_position(token: str) -> dict[Place, int]:
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


def parse_position(token: str) -> dict[Place, int]:
    """Read a token; parts of a kind not known are ignored, of repeated ones the highest counts.

    Read from the right: a topic may hold dots, dashes and digits, but neither `@` nor `,`.
    """
    offsets: dict[Place, int] = {}
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


_EPOCH = re.compile(r"(?:^|,)\s*control@([0-9]{1,18})\s*(?=,|$)")


def with_epoch(token: str, epoch: int) -> str:
    """The token, and that its answer came by this record of versions: one part more."""
    others = _EPOCH.sub("", token).lstrip(",") if "control@" in token else token
    if not epoch:
        return others
    return f"{others},control@{epoch}" if others else f"control@{epoch}"


_LOG = re.compile(r"(?:^|,)\s*log@([0-9]{1,10})\s*(?=,|$)")


def with_log(token: str, log: int) -> str:
    """The token, and of which log it is: one part more, as `control@` is one."""
    return f"{token},log@{log}" if token else token


def log_in(token: str) -> int | None:
    """Of which log a token is; None where it does not say."""
    found = _LOG.search(token)
    return None if found is None else int(found[1])


_ROWS = re.compile(r"(?:^|,)\s*rows@([0-9]{1,10})\s*(?=,|$)")


def with_rows(token: str, table: int) -> str:
    """The token, and of which table its places of rows are: one part more, as `log@` is one."""
    return f"{token},rows@{table}" if token else f"rows@{table}"


def table_in(token: str) -> int | None:
    """Of which table a token's places of rows are; None where it names none."""
    found = _ROWS.search(token)
    return None if found is None else int(found[1])


def epoch_in(token: str) -> int:
    """The greatest epoch that a token names; 0 where it names none."""
    return max(map(int, _EPOCH.findall(token)), default=0)
