"""Rows as they change, of the partitions that this worker owns; and how they are told.

What is told of a row is what a read of it says: sums of committed events, at a position. Many
changes of one row between two looks are told as the last of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from core.positions import with_epoch
from domain.rows import decode_row, split_key
from tables.changes.ring import ReadTo
from tables.reading import ChangedRows
from tables.stock import StockReading
from web.feed.asked import Event
from web.feed.marks import RowMarks, table_of
from web.feed.pages import FeedLine
from web.http.times import Time
from web.reads.replies import Hex16, told_numbers

_encode = msgspec.json.Encoder().encode


class ResetReason(StrEnum):
    """Why changes are missing. BEHIND: they are not kept any more, or by another owner.

    OTHER_TABLE: the position is of another version, or of a changelog that was made anew.
    """

    BEHIND = "behind"
    OTHER_TABLE = "other-table"


class ToldRowBody(Struct, frozen=True, gc=False):
    """A row that changed, as it is at a position of its partition; else as `Row`.

    events: more of them is newer, of one version.
    """

    sku: str
    location: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: Hex16
    updated_at: Time
    partition: int
    position: str
    damaged: int | UnsetType = UNSET


class ResetBody(Struct, frozen=True):
    """Changes of rows of these partitions are missing up to the event's `id`.

    List the rows, all pages with `min_position=` it, and go on from it.
    """

    partitions: list[int]
    reason: ResetReason


class RowChangeBody(Struct, frozen=True, kw_only=True):
    """One line. id: of a reset; the reader who has it is there. Rows have none."""

    id: str | UnsetType = UNSET
    event: str
    data: ToldRowBody


class RowChangesBody(Struct, frozen=True):
    """A page of rows. after: who has all of it has all up to there. at_end: there was no more.

    missing_partitions: nobody told of these: ask again.
    """

    changes: list[RowChangeBody]
    after: str
    at_end: bool
    missing_partitions: list[int]


class RowsWish(NamedTuple):
    """What of the rows is wanted. limit: of one answer."""

    sku_prefix: str
    location: str | None
    limit: int

    @property
    def passes(self) -> Callable[[bytes], bool]:
        """Whether the row of a key is. No name holds a NUL, which stands between the two."""
        start, end = self.sku_prefix.encode(), f"\x00{self.location}".encode()
        if self.location is None:
            return lambda key: key.startswith(start)
        return lambda key: key.startswith(start) and key.endswith(end)


def wish_of(values: Mapping[str, Any], limit: int) -> RowsWish:
    """From the parameters of a request."""
    return RowsWish(values.get("sku_prefix", ""), values.get("location"), limit)


class OwnersPart(NamedTuple):
    """What one owner says.

    lines: rows. reset: partitions of which changes are missing. marks: how far it told, of each
    partition that it owns. is_all: there was no more.
    """

    lines: list[FeedLine]
    reset: frozenset[int]
    why: ResetReason
    marks: RowMarks
    is_all: bool

    @property
    def is_news(self) -> bool:
        """Whether a reader has to be told."""
        return bool(self.lines or self.reset)


class OwnRows:
    """Tells of the partitions that this worker owns.

    Args:
        table: of this worker.
        version: of its rows.
    """

    def __init__(self, table: StockReading, version: int) -> None:
        self._table, self.version = table, version
        #: Of partitions.
        self.count = table.count
        self._is_over = False

    def end(self) -> None:
        """Nobody waits any longer: this worker stops."""
        self._is_over = True
        self._table.rings.tell()

    @property
    def epoch(self) -> int:
        """Of the record of versions that its answers are of."""
        return self._table.label[1]

    def asked(self) -> None:
        """A reader is here: what this worker stands by for is kept for him, too."""
        self._table.rings.asked()

    def owns(self, partition: int) -> bool:
        """Whether it tells of this one."""
        return self._table.is_owner(partition)

    async def told(
        self, wish: RowsWish, partitions: Sequence[int], marks: RowMarks, wait_s: float
    ) -> OwnersPart:
        """What changed behind these marks, at once or as soon as something does.

        Also when one of the partitions goes: another worker has to be asked for it.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        owned: int | None = None
        while True:
            news = self._table.rings.news
            part = self.look(wish, partitions, marks)
            count, marks = len(part.marks.places), marks.moved(part.marks)
            is_less = not count or (owned is not None and count < owned)
            if part.is_news or is_less or loop.time() >= until or self._is_over:
                return part
            owned = count
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await news.wait()

    def look(self, wish: RowsWish, partitions: Sequence[int], marks: RowMarks) -> OwnersPart:
        """What changed behind these marks, of those that are owned here."""
        lines: list[FeedLine] = []
        places: dict[int, ReadTo] = {}
        reset, table, is_all = set(), None, True
        each = max(1, wish.limit // max(1, len(partitions)))
        for partition in partitions:
            changed = self._changed(partition, marks, each, wish)
            if changed is None:
                continue
            since = changed.since
            table = table_of(self.version, changed.incarnation)
            is_all &= since.is_all
            if since.is_reset and not marks.is_now:
                reset.add(partition)
            # In the middle of a group nobody has all of it: its offsets are for the end.
            known = marks.of(partition).offsets
            handled = {t: at - 1 for t, at in changed.offsets.items() if at > 0}
            places[partition] = ReadTo(since.place, handled if since.is_all else known)
            lines += self._lines(partition, changed)
        why = ResetReason.OTHER_TABLE if marks.table not in (None, table) else ResetReason.BEHIND
        told = RowMarks(places, table, self.epoch)
        return OwnersPart(lines, frozenset(reset), why, told, is_all)

    def _changed(
        self, partition: int, marks: RowMarks, limit: int, wish: RowsWish
    ) -> ChangedRows | None:
        after = marks.of(partition)
        changed = self._table.changed(partition, after, limit, wish.passes)
        if changed is None or after.is_now:
            return changed
        is_of_it = marks.table == table_of(self.version, changed.incarnation)
        if is_of_it or (marks.table is None and after.place is None):
            return changed
        missing = changed.since._replace(rows=[], is_reset=True, is_all=True)
        now = self._table.changed(partition, ReadTo(is_now=True), 0, wish.passes)
        return None if now is None else now._replace(since=missing._replace(place=now.since.place))

    def _lines(self, partition: int, changed: ChangedRows) -> Iterable[FeedLine]:
        position = with_epoch(changed.position, self.epoch)
        for key, value in changed.since.rows:
            row = decode_row(value)
            sku, location = split_key(key)
            damaged = row.damaged or UNSET
            body = ToldRowBody(sku, location, *told_numbers(row), partition, position, damaged)
            yield FeedLine(event=Event.ROW, data=Raw(_encode(body)))
