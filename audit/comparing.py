"""A copy, row by row, against what the log says it must be at its position."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from msgspec import Struct

from audit.recount import Expected
from domain.rows import Row, decode_row

#: Differences of one copy that are kept, each with its rows; the others are counted.
MOST_KEPT: Final = 10_000


class Unread(Struct, frozen=True, tag="unread"):
    """What is stored where a row should be, and is none."""

    why: str


class RowDifference(Struct, frozen=True):
    """A row that is not what the log makes it; None: it is not there."""

    key: bytes
    right: Row | None
    found: Row | Unread | None

    @property
    def right_row(self) -> Row:
        """As numbers."""
        return self.right or Row()

    @property
    def found_row(self) -> Row:
        """As numbers; of what is no row, none."""
        return self.found if isinstance(self.found, Row) else Row()


class LineFault(Struct, frozen=True):
    """A line that is not what its record makes it.

    what: "missing", "invented" (no record made it) or "changed". columns: what was found and
    what is right, by column's name. key: of the row, where the record or line has one. right:
    the whole line as it should be; None where it should not be there or was refused.
    """

    what: str
    topic: str
    partition: int
    offset: int
    source: str | None = None
    id: str | None = None
    key: bytes | None = None
    columns: dict[str, tuple[Any, Any]] = {}
    right: tuple[Any, ...] | None = None


class Held(Struct, kw_only=True):
    """What became of one copy.

    where: URL of the worker, or "ledger". rows: how many it has. differences: the first ones.
    more: how many there are besides. counts: by topic, what it says it applied, repeated and
    refused, and what that should be, where the two differ. unread: why it could not be compared;
    may_pass: it may be if one asks again. ownership, group: of the owner; see
    `tables.audit.copies.CopyHead`. lines, faults, more_faults: of a ledger, how many lines it
    has, and those that are wrong.
    """

    where: str
    role: str
    partition: int
    positions: Mapping[str, int]
    rows: int = 0
    differences: list[RowDifference] = []
    more: int = 0
    counts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}
    unread: str | None = None
    may_pass: bool = False
    ownership: str | None = None
    group: int = 0
    lines: int = 0
    faults: list[LineFault] = []
    more_faults: int = 0

    @property
    def drift(self) -> int:
        """How many things are wrong."""
        wrong = (self.differences, self.counts, self.faults)
        return sum(map(len, wrong)) + self.more + self.more_faults

    @property
    def agrees(self) -> bool:
        """Whether it was compared and is right."""
        return not self.drift and self.unread is None

    def differs(self, difference: RowDifference) -> None:
        """Note one."""
        if len(self.differences) < MOST_KEPT:
            self.differences.append(difference)
        else:
            self.more += 1


async def hold_against(
    held: Held, rows: AsyncIterator[list[tuple[bytes, bytes]]], expected: Expected
) -> None:
    """Hold all rows of a copy against `expected`; what differs is noted in `held`."""
    met: set[bytes] = set()
    async for page in rows:
        for key, value in page:
            met.add(key)
            right, found = expected.row(key), _row(value)
            if right != found:
                held.differs(RowDifference(key, right, found))
        held.rows += len(page)
    for key in expected.keys():  # noqa: SIM118  no dict
        if key not in met:
            held.differs(RowDifference(key, expected.row(key), None))


def compare_counts(held: Held, said: Mapping[str, tuple[int, ...]], expected: Expected) -> None:
    """Hold a copy's own count of records against the log's."""
    for topic, right in expected.counts.items():
        found = tuple(said.get(topic, (0, 0, 0)))
        if found != right:
            held.counts[topic] = found, right


def _row(value: bytes) -> Row | Unread:
    try:
        return decode_row(value)
    except ValueError as error:
        return Unread(f"{value[:80]!r} ({error})")
