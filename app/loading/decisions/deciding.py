"""Counts become adjustments, each against the stock at its own moment, and once.

1. What was decided before is known by its id, and is never worked out again.
2. Of the rest each book is asked of a worker: what the log says was on hand at that moment.
3. What the same load is about to send belongs to the book too (`importers/documents/levels.py`).

Whatever is refused here is refused before the first fact is sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from app.loading.decisions.asking import BookThen, NoBook, Unasked, WorkersAsked
from app.loading.facts import LineFact, LineLevel, level_fact, moment_us
from domain.rows import ROW_FIELDS, Row
from domain.rules.two import TWO
from importers.documents.levels import CountedOff, StockCount, Unbooked, counted_off, in_conflict

#: Of all who are asked, at once.
_AT_ONCE: Final = 8
#: Clocks of shops are off by so much.
_AHEAD_US: Final = 300 * 10**6
#: What one of a fact is on hand, by its type. Facts of a load alone: under no rules do they have
#: a reason that makes them something else.
_SIGNS: Final = {
    name: Row(**{ROW_FIELDS[event.kind]: 1}).on_hand for name, event in TWO.events.items()
}


class LevelBecame(StrEnum):
    """What a count is."""

    ADJUSTED = "adjusted"
    CONFIRMED = "confirmed"
    DECIDED_BEFORE = "decided before"
    UNDECIDED = "not decided"
    REFUSED = "refused"


class LevelDecision(msgspec.Struct, frozen=True):
    """What became of a count.

    change: of what is on hand, None where it is not known. book: what was on hand then; None
    where it was not asked for. position: up to which facts. sentence: why it was refused.
    """

    where: str
    id: str
    sku: str
    location: str
    time: str
    counted: int
    became: LevelBecame
    change: int | None = None
    book: int | None = None
    position: str = ""
    sentence: str = ""


class Decided(msgspec.Struct):
    """facts: to be sent, by the id of the count. decisions: of all counts, by the same."""

    facts: dict[str, LineFact]
    decisions: dict[str, LevelDecision]

    def refused(self) -> list[LevelDecision]:
        """Those that nothing can be made of."""
        found = self.decisions.values()
        return [one for one in found if one.became is LevelBecame.REFUSED]


class StockMove(msgspec.Struct, frozen=True, gc=False):
    """What a fact of a load does; at_us: None where it happens when it is recorded."""

    id: str
    sku: str
    location: str
    change: int
    time: str | None

    @property
    def at_us(self) -> int | None:
        """When, µs since the epoch; None: when it is recorded."""
        return None if self.time is None else moment_us(self.time)


class _Goods(msgspec.Struct, gc=False):
    sku: str
    location: str
    quantity: int


class _Written(msgspec.Struct, gc=False):
    id: str
    source: str
    type: str
    data: _Goods
    time: str | None = None


_read: Final = msgspec.json.Decoder(_Written).decode


def move_of(value: bytes, source: str | None = None) -> StockMove | None:
    """Read a fact that a load has made; None for another's, if its `source` is asked for.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    event = _read(value)
    if source not in (None, event.source):
        return None
    goods = event.data
    change = _SIGNS[event.type] * goods.quantity
    return StockMove(event.id, goods.sku, goods.location, change, event.time)


async def decide(
    asked: WorkersAsked,
    levels: Sequence[LineLevel],
    beside: Callable[[Collection[str]], Iterable[StockMove]],
    after: Callable[[str], str],
    now_us: int | None = None,
    passing: Collection[str] = (),
) -> Decided:
    """Decide all counts of a load.

    Args:
        asked: workers.
        levels: of all documents that are to be loaded; none that is done.
        beside: what the load sends beside them for these SKUs. Called in a thread.
        after: up to which position a book of a SKU must tell; "": any.
        now_us: µs since the epoch; None: the clock says.
        passing: documents that the same load takes back, so that no other count is beside theirs.

    Raises:
        Unasked: no worker answers.
    """
    decided = Decided({}, {})
    now_us = time.time_ns() // 1000 if now_us is None else now_us
    left = [level for some in _apart(levels, passing) for level in _possible(some, decided, now_us)]
    known = await asked.changes_by([level.count.id for level in left])
    for level in left:
        if (change := known.get(level.count.id)) is not None:
            _note(decided, level, LevelBecame.DECIDED_BEFORE, change=change)
    left = [level for level in left if level.count.id not in known]
    books = await _books(asked, left, after, decided)
    left = [level for level in left if level.count.id in books]
    unbooked = await asyncio.to_thread(_unbooked, [level.count for level in left], beside)
    on_hand = {id_: book.on_hand for id_, book in books.items()}
    offs: dict[str, CountedOff] = {}
    for some in _apart(left, passing):
        offs |= counted_off([level.count for level in some], on_hand, unbooked)
    for level in left:
        off, position = offs[level.count.id], books[level.count.id].position
        try:
            decided.facts[level.count.id] = level_fact(level, off, position)
        except ValueError as why:
            _note(decided, level, LevelBecame.REFUSED, sentence=str(why))
            continue
        became = LevelBecame.ADJUSTED if off.change else LevelBecame.CONFIRMED
        _note(decided, level, became, change=off.change, book=off.book, position=position)
    return decided


def _apart(
    levels: Sequence[LineLevel], passing: Collection[str]
) -> tuple[list[LineLevel], list[LineLevel]]:
    """Those that stay, and those that the same load takes back."""
    stay = [level for level in levels if level.document not in passing]
    return stay, [level for level in levels if level.document in passing]


def _possible(levels: Sequence[LineLevel], decided: Decided, now_us: int) -> Iterator[LineLevel]:
    """Those that are not refused by what they say alone."""
    conflicts = in_conflict([level.count for level in levels])
    for level in levels:
        count = level.count
        told = ""
        if count.id in conflicts:
            told = (
                f"{count.sku} at {count.location} is counted twice for {level.time}, with different"
                " numbers: leave out the one that is wrong, or add them up."
            )
        elif count.at_us > now_us + _AHEAD_US:
            told = f"It counts {level.time}, which is still to come: correct the time."
        if told:
            _note(decided, level, LevelBecame.REFUSED, sentence=told)
        else:
            yield level


async def _books(
    asked: WorkersAsked,
    levels: Sequence[LineLevel],
    after: Callable[[str], str],
    decided: Decided,
) -> dict[str, BookThen]:
    """By id; who has none is refused."""
    books: dict[str, BookThen] = {}
    turns = iter(levels)

    async def ask() -> None:
        for level in turns:
            count = level.count
            try:
                books[count.id] = await asked.book(count, level.time, after(count.sku))
            except NoBook as why:
                _note(decided, level, LevelBecame.REFUSED, sentence=str(why))

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(_AT_ONCE, len(levels))):
                group.create_task(ask())
    except ExceptionGroup as failed:
        for error in failed.exceptions:
            if isinstance(error, Unasked):
                raise error from None
        raise
    return books


def _unbooked(
    counts: Sequence[StockCount], beside: Callable[[Collection[str]], Iterable[StockMove]]
) -> Unbooked:
    found = Unbooked(counts)
    for move in beside(found.skus) if counts else ():
        found.add(move.sku, move.location, move.at_us, move.change)
    return found


def undecided(levels: Iterable[LineLevel]) -> Decided:
    """Where nobody could be asked, and nothing is to be sent."""
    decided = Decided({}, {})
    for level in levels:
        _note(decided, level, LevelBecame.UNDECIDED)
    return decided


def _note(
    decided: Decided,
    level: LineLevel,
    became: LevelBecame,
    *,
    change: int | None = None,
    book: int | None = None,
    position: str = "",
    sentence: str = "",
) -> None:
    count = level.count
    decided.decisions[count.id] = LevelDecision(
        *(level.where, count.id, count.sku, count.location, level.time, count.counted, became),
        *(change, book, position, sentence),
    )
