"""Two versions' rows side by side: which are equal, which differ, and which cannot be told.

Both are read in the order of keys, a page at a time, so a comparison of any size needs the
memory of some pages. Rows of the same bytes are equal, and are not even decoded. Nothing is
stopped for it: rows go on changing, and one version is always a little ahead. What may be said
all the same:

- Rows of the same events (`events` and `checksum` agree) can be compared, whenever they were.
- Other rows are held at one position by asking both sides again and again, at the same time. What
  a side tells as its position is beyond all rows that it gave before. The furthest of both is X:
  each is asked for what it has at X or later. A row that is on either side what it was before
  X was told was so at X, on both: the difference is exact.
- A row that changes faster than that is matched with those that were seen of it a moment ago:
  some pair of the same events. So whoever is behind is asked for what the other one had. A row
  of which no such pair is seen is *moving*.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from app.upgrades.diff.sides import SEVERAL, FoundKeys, RowPage, Side
from core.positions import format_position, parse_position
from domain.rows import Row, decode_row, row_key, split_key
from web.cluster.admission import furthest
from web.reads.cursors import START, LastGiven, RowKey

#: How often rows that change are asked for again. One time takes as long as the side that is
#: behind needs for what the other one has told of.
ROUNDS = 24
#: Partitions that are compared at the same time. A busy worker takes its time for each page, and
#: reads no more than one of them at once (`web.http.pacing.Lane`).
_AT_ONCE = 8
#: Rows of a partition that are held at one position together: it takes some questions, of many
#: keys as of few, and mostly waiting until one side has counted what the other has.
_TOGETHER = 500
#: So often, meanwhile.
_ASIDE = 64


class Difference(NamedTuple):
    """A row that differs for sure. None: that version has no such row.

    position: that both rows are of; empty where they are of the same events.
    """

    sku: str
    location: str
    old: Row | None
    new: Row | None
    position: str = ""


class Tally(NamedTuple):
    """Rows that were compared."""

    equal: int = 0
    moving: int = 0
    differ: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self)

    def plus(self, equal: int = 0, moving: int = 0, differ: int = 0) -> Tally:
        """With so many more."""
        return Tally(self.equal + equal, self.moving + moving, self.differ + differ)


#: Is told of rows that differ in this partition.
OnDifferences: TypeAlias = Callable[[int, list[Difference]], Awaitable[None]]
#: A row on either side.
_Pair: TypeAlias = tuple[Row | None, Row | None]


class Comparing:
    """Goes through all rows of both sides once.

    Args:
        old, new: the sides.
        report: is told of the differences.
        said: is told now and then how many rows were compared.
    """

    def __init__(
        self, old: Side, new: Side, report: OnDifferences, said: Callable[[int], None]
    ) -> None:
        self._old, self._new = old, new
        self._report, self._said = report, said
        self.tally = Tally()
        self._room = asyncio.Semaphore(_ASIDE)

    async def run(self) -> Tally:
        """Compare everything.

        Raises:
            NotCompared: somebody does not answer.
        """
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(partition: int, aside: asyncio.TaskGroup) -> None:
            async with turns:
                await self._partition(partition, aside)

        try:
            async with asyncio.TaskGroup() as tasks:
                for partition in range(self._old.partitions):
                    tasks.create_task(one(partition, tasks))
        except BaseExceptionGroup as group:
            raise _first_of(group) from None
        return self.tally

    async def _partition(self, partition: int, aside: asyncio.TaskGroup) -> None:
        place: LastGiven = START
        unlike: dict[RowKey, _Pair] = {}
        position, workers = "", ("", "")
        while place is not None:
            old, new = await asyncio.gather(
                self._old.page(partition, place), self._new.page(partition, place)
            )
            if unlike and (workers != (old.worker, new.worker) or len(unlike) >= _TOGETHER):
                await self._set_aside(partition, _Read(unlike, position, workers), aside)
                unlike = {}
            position = _furthest(old.position, new.position)
            workers = old.worker, new.worker
            place = min((one for one in (old.reach, new.reach) if one is not None), default=None)
            count, found = _side_by_side(old, new, place)
            self.tally = self.tally.plus(equal=count - len(found))
            unlike |= found
            self._said(self.tally.rows)
        if unlike:
            await self._set_aside(partition, _Read(unlike, position, workers), aside)

    async def _set_aside(self, partition: int, first: _Read, aside: asyncio.TaskGroup) -> None:
        """Settle these while others are read."""
        await self._room.acquire()
        aside.create_task(self._settle_aside(_Settling(self, partition, first)))

    async def _settle_aside(self, settling: _Settling) -> None:
        try:
            await settling.run()
        finally:
            self._room.release()

    async def settled(
        self, partition: int, pairs: Mapping[RowKey, _Pair], position: str = ""
    ) -> None:
        """These pairs of rows are of one position; without one, of the same events."""
        found = []
        for key, (old, new) in pairs.items():
            if old != new:
                at = "" if _are_of_same_events(old, new) else position
                found.append(Difference(*key, old, new, at))
        self.tally = self.tally.plus(equal=len(pairs) - len(found), differ=len(found))
        if found:
            await self._report(partition, found)

    async def looks(
        self, partition: int, keys: list[RowKey], floor: str
    ) -> tuple[FoundKeys, FoundKeys]:
        """These rows of both sides, each at this position or later."""
        old, new = await asyncio.gather(
            self._old.look(partition, keys, floor), self._new.look(partition, keys, floor)
        )
        return old, new

    def gave_up(self, count: int) -> None:
        """So many rows change too fast."""
        self.tally = self.tally.plus(moving=count)


class _Read(NamedTuple):
    """Rows of both sides that were read at about the same time.

    position: the furthest that a side told before it gave them. workers: who gave them.
    """

    pairs: Mapping[RowKey, _Pair]
    position: str
    workers: tuple[str, str]


class _Settling:
    """Rows of one partition that were not the same when they were read."""

    def __init__(self, comparing: Comparing, partition: int, first: _Read) -> None:
        self._comparing, self._partition = comparing, partition
        self._first, self._open = first, dict(first.pairs)
        self._seen: dict[RowKey, tuple[list[Row], list[Row]]] = {}

    async def run(self) -> None:
        """Until nothing is open, or for some rounds."""
        await self._settle(dict(self._matched(self._open)))
        before, last = None, self._first
        for _ in range(ROUNDS):
            if not self._open:
                return
            read = await self._read(last.position)
            self._open = {key: read.pairs[key] for key in self._open}
            # What was read before the last position was told, and is still the same.
            if before is not None and _are_of_same_workers(before, last, read):
                still = {key: at for key, at in self._open.items() if at == before.pairs[key]}
                await self._settle(still, last.position)
            await self._settle(dict(self._matched(self._open)))
            before, last = last, read
        self._comparing.gave_up(len(self._open))

    async def _read(self, floor: str) -> _Read:
        keys = [*self._open]
        old, new = await self._comparing.looks(self._partition, keys, floor)
        pairs = {key: (old.rows.get(key), new.rows.get(key)) for key in keys}
        return _Read(pairs, _furthest(old.position, new.position), (old.worker, new.worker))

    def _matched(self, pairs: Mapping[RowKey, _Pair]) -> Iterator[tuple[RowKey, _Pair]]:
        """Rows of which two of the same events have been seen, not long ago."""
        for key, pair in pairs.items():
            olds, news = self._seen.setdefault(key, ([], []))
            for seen, row in ((olds, pair[0]), (news, pair[1])):
                if row is not None and row not in seen:
                    seen.append(row)
            marks = {_marks(new): new for new in news}
            matches = ((old, marks[_marks(old)]) for old in olds if _marks(old) in marks)
            if (match := next(matches, None)) is not None:
                yield key, match

    async def _settle(self, pairs: Mapping[RowKey, _Pair], position: str = "") -> None:
        for key in pairs:
            del self._open[key]
            self._seen.pop(key, None)
        await self._comparing.settled(self._partition, pairs, position)


def _are_of_same_workers(*reads: _Read) -> bool:
    told = {read.workers for read in reads}
    return len(told) == 1 and SEVERAL not in reads[0].workers


def _furthest(one: str, other: str) -> str:
    """The position at which a side has all that is told by either."""
    return format_position(furthest(parse_position(one), parse_position(other)))


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; the rest was ended by it."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


def _side_by_side(old: RowPage, new: RowPage, reach: LastGiven) -> tuple[int, dict[RowKey, _Pair]]:
    """How many rows two pages hold up to this key, and those that are not of the same bytes."""
    if old.keys == new.keys:
        if old.rows == new.rows:
            return old.size, {}
        # The usual page of a version that goes on counting.
        pairs = zip(old.pairs(), new.pairs(), strict=True)
        unlike = {ours[0]: (ours[1], theirs[1]) for ours, theirs in pairs if ours != theirs}
        return old.size, _read(unlike)
    ours, theirs = dict(old.pairs()), dict(new.pairs())
    keys = ours.keys() | theirs.keys()
    if reach is not None:
        last = row_key(*reach)
        keys = {key for key in keys if key <= last}
    both = {key: (ours.get(key), theirs.get(key)) for key in keys}
    return len(both), _read({key: pair for key, pair in both.items() if pair[0] != pair[1]})


def _read(unlike: Mapping[bytes, tuple[bytes | None, bytes | None]]) -> dict[RowKey, _Pair]:
    return {split_key(key): (_row_of(old), _row_of(new)) for key, (old, new) in unlike.items()}


def _row_of(stored: bytes | None) -> Row | None:
    """The row; None also for bytes that are none: its worker finds that out when it is asked."""
    try:
        return None if stored is None else decode_row(stored)
    except ValueError:
        return None


def _marks(row: Row) -> tuple[int, int]:
    return row.events, row.checksum


def _are_of_same_events(old: Row | None, new: Row | None) -> bool:
    return old is not None and new is not None and _marks(old) == _marks(new)
