"""The facts of one row in the order of a clock, each with the balance after it.

By recorded time they stand in the order of (log_at, topic, offset), by occurred time in that of
(occurred_at, topic, offset). All pages of one reading are of the prefix that the first page was
of: facts that come meanwhile move nothing.

Of one topic, log_at and offset rise together. So a time by the recorded clock is an offset of each
topic, and a page of a long row reads a page of the index.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import ColumnElement, func, literal_column, select, tuple_

from ledger.history import ENTRIES, Entry, Ledger, entry_of
from ledger.lines import APPLIED, TOPICS
from ledger.questions.cuts import Extents, begins, offsets_after
from ledger.questions.prefixes import Cut, Prefix
from ledger.questions.rows import of_row, sums_of, within
from ledger.schema import event_table
from ledger.sums import CHANGE, row_from

_of: Final = event_table.c
#: Where a fact stands in the order: time by the clock, topic, offset.
Stand: TypeAlias = tuple[int, int, int]


class Wish(NamedTuple):
    """Which facts.

    prefix: the prefix. by_occurred: the clock; else by recorded time. since, before: times by
    that clock, in µs since the epoch, the second exclusive. newest_first: the order.
    after: go on behind this one. everything: also what was repeated or refused.
    """

    sku: str
    location: str
    prefix: Prefix
    by_occurred: bool = False
    since: int | None = None
    before: int | None = None
    newest_first: bool = False
    limit: int = 50
    after: Stand | None = None
    everything: bool = False


class Leaf(NamedTuple):
    """One page. facts: with balances, in the order wished. next: `after` of the next page.

    opening: what was on hand from facts that are gone (`onhand ledger compact`).
    """

    facts: list[Entry]
    next: Stand | None
    opening: int = 0


def leaf(ledger: Ledger, wish: Wish) -> Leaf:
    """Answer; raises DBAPIError."""
    reading = _Reading(ledger, wish)
    found = list(islice(reading.found(), wish.limit + 1))
    facts = found[: wish.limit]
    opening = reading.on_hand(reading.first)
    if not facts:
        return Leaf([], None, opening)
    in_order = facts[::-1] if wish.newest_first else facts
    balance = reading.balance_before(_stand(wish, in_order[0]), opening)
    told = []
    for fact in in_order:
        balance += fact.change
        told.append(fact._replace(balance=balance))
    last = _stand(wish, facts[-1]) if len(found) > wish.limit else None
    return Leaf(told[::-1] if wish.newest_first else told, last, opening)


def _stand(wish: Wish, fact: Entry) -> Stand:
    time = fact.occurred_at if wish.by_occurred else fact.log_at
    assert time is not None  # of every line that names a row
    return time, fact.topic, fact.offset


class _Reading:
    """One page being read.

    first, end: which lines there are at all, by topic: from where history begins to the prefix.
    """

    def __init__(self, ledger: Ledger, wish: Wish) -> None:
        self._ledger, self._wish = ledger, wish
        part = ledger.partition_of(wish.sku)
        self._places: Extents = ledger.places(part)
        self._part = part
        self.end = {topic: wish.prefix.cut.get(topic, 0) for topic in range(len(TOPICS))}
        begin = begins(self._places)
        self.first: Cut = self._after(begin) if begin else dict.fromkeys(self.end, 0)

    def _after(self, time: int, *others: tuple[int, int]) -> dict[int, int]:
        """First offsets with a later log_at; others: topics with a time of their own."""
        times = dict.fromkeys(range(len(TOPICS)), time) | dict(others)
        by_place = {(topic, self._part): at for topic, at in times.items()}
        found = offsets_after(self._ledger.connection, self._places, by_place)
        return {topic: offset for (topic, _), offset in found.items()}

    def _before(self, stand: Stand) -> dict[int, int]:
        """By recorded clock: which offset of each topic is the first that does not stand before."""
        time, at_topic, offset = stand
        later = [(topic, time - 1) for topic in range(len(TOPICS)) if topic > at_topic]
        return {**self._after(time, *later), at_topic: offset}

    def found(self) -> Iterator[Entry]:
        """Facts behind `after`, one more than wished."""
        wish = self._wish
        # Each topic by itself stands in the index in this order, so that a page of a large row
        # reads a page. All facts of a row are of one partition.
        pages = self._by_occurred() if wish.by_occurred else self._by_recorded()
        return merge(*pages, key=lambda fact: _stand(wish, fact), reverse=wish.newest_first)

    def _by_recorded(self) -> Iterator[Sequence[Entry]]:
        wish, low, high = self._wish, dict(self.first), dict(self.end)
        if wish.since is not None:
            low = _greater(low, self._after(wish.since - 1))
        if wish.before is not None:
            high = _smaller(high, self._after(wish.before - 1))
        if wish.after is not None:
            before = self._before(wish.after)
            if wish.newest_first:
                high = _smaller(high, before)
            else:
                low = _greater(low, before | {wish.after[1]: wish.after[2] + 1})
        for topic in range(len(TOPICS)):
            order = _of.off.desc() if wish.newest_first else _of.off
            yield self._lines(topic, [_of.off >= low[topic], _of.off < high[topic]], [order])

    def _by_occurred(self) -> Iterator[Sequence[Entry]]:
        wish, clock = self._wish, _of.occurred_at
        for topic in range(len(TOPICS)):
            conditions: list[ColumnElement[bool]] = [
                _of.off >= self.first[topic], _of.off < self.end[topic],
            ]  # fmt: skip
            if wish.since is not None:
                conditions.append(clock >= wish.since)
            if wish.before is not None:
                conditions.append(clock < wish.before)
            if wish.after is not None:
                conditions.append(_is_behind(wish, topic, wish.after))
            order: list[Any] = [clock, _of.off]
            if wish.newest_first:
                order = [clock.desc(), _of.off.desc()]
            yield self._lines(topic, conditions, order)

    def _lines(
        self, topic: int, conditions: Sequence[ColumnElement[bool]], order: Sequence[Any]
    ) -> list[Entry]:
        wish = self._wish
        query = ENTRIES.where(*of_row(wish.sku, wish.location), _of.topic == topic, *conditions)
        if not wish.everything:
            query = query.where(_of.outcome == APPLIED)
        lines = self._ledger.connection.execute(query.order_by(*order).limit(wish.limit + 1))
        return [entry_of(line) for line in lines]

    def balance_before(self, stand: Stand, opening: int) -> int:
        """On hand from all that stands before."""
        wish = self._wish
        if not wish.by_occurred:
            return self.on_hand(_smaller(self.end, self._before(stand)))
        here = tuple_(_of.occurred_at, _of.topic, _of.off)
        change: ColumnElement[int] = literal_column(CHANGE)
        query = select(func.coalesce(func.sum(change), 0)).where(
            *of_row(wish.sku, wish.location),
            _of.outcome == APPLIED,
            within(self.end),
            here < tuple_(*stand),
        )
        if any(self.first.values()):
            query = query.where(~within(self.first))
        return opening + int(self._ledger.connection.execute(query).scalar_one())

    def on_hand(self, cut: Cut) -> int:
        """Of the row, at a prefix."""
        if not any(cut.values()):
            return 0
        wish = self._wish
        row = row_from(sums_of(self._ledger.connection, wish.sku, wish.location, cut))
        return 0 if row is None else row.on_hand


def _is_behind(wish: Wish, topic: int, stand: Stand) -> ColumnElement[bool]:
    """By occurred clock: whether a line of this topic stands behind, in the order wished."""
    (time, at_topic, offset), clock = stand, _of.occurred_at
    here, there = tuple_(clock, _of.off), tuple_(time, offset)
    if topic == at_topic:
        return here < there if wish.newest_first else here > there
    if (topic < at_topic) == wish.newest_first:
        return clock <= time if wish.newest_first else clock >= time
    return clock < time if wish.newest_first else clock > time


def _smaller(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return {topic: min(offset, other[topic]) for topic, offset in one.items()}


def _greater(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    return {topic: max(offset, other[topic]) for topic, offset in one.items()}
