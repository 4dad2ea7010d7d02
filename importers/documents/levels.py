"""Counts made into differences. Pure: what the books say comes in, and no clock is asked.

A count says how much lay there at one moment, and moved nothing. Only the book at that very moment
makes a movement of it: counted less booked. To the book belong what is in the log already, what
the same load is about to send, and the differences of earlier counts of the same row.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence

import msgspec


class StockCount(msgspec.Struct, frozen=True, gc=False):
    """So many lay there. at_us: when, µs since the epoch; id: of the fact that comes of it."""

    id: str
    sku: str
    location: str
    at_us: int
    counted: int

    @property
    def row(self) -> tuple[str, str]:
        """SKU and location."""
        return self.sku, self.location


class CountedOff(msgspec.Struct, frozen=True, gc=False):
    """A count beside the book at its moment; the change that makes them agree."""

    book: int
    counted: int

    @property
    def change(self) -> int:
        """What the book lacks; below 0 what it has too much; 0: the count confirms it."""
        return self.counted - self.book


class Unbooked:
    """What a load is about to send for the rows that it counts, by moment.

    Takes memory for the counts, whatever the number of movements.

    Args:
        counts: all that the load decides.
    """

    def __init__(self, counts: Iterable[StockCount]) -> None:
        moments: dict[tuple[str, str], set[int]] = {}
        for count in counts:
            moments.setdefault(count.row, set()).add(count.at_us)
        self._moments = {row: sorted(found) for row, found in moments.items()}
        self._changes = {row: [0] * len(found) for row, found in self._moments.items()}
        self.skus = {sku for sku, _ in self._moments}

    def add(self, sku: str, location: str, at_us: int | None, change: int) -> None:
        """Take in a movement; None: it happens when it is recorded, so after every count."""
        if at_us is None or (moments := self._moments.get((sku, location))) is None:
            return
        place = bisect_left(moments, at_us)
        if place < len(moments):
            self._changes[sku, location][place] += change

    def until(self, count: StockCount) -> int:
        """What comes to the book of a count, up to and with its moment."""
        place = bisect_left(self._moments[count.row], count.at_us)
        return sum(self._changes[count.row][: place + 1])


def in_conflict(counts: Iterable[StockCount]) -> set[str]:
    """Ids of counts of one row and moment that say different numbers: none of them holds."""
    said: dict[tuple[str, str, int], list[StockCount]] = {}
    for count in counts:
        said.setdefault((*count.row, count.at_us), []).append(count)
    return {
        count.id
        for same in said.values()
        if len({count.counted for count in same}) > 1
        for count in same
    }


def counted_off(
    counts: Sequence[StockCount], books: Mapping[str, int], unbooked: Unbooked
) -> dict[str, CountedOff]:
    """Hold each count beside its book; by id.

    Args:
        counts: in any order.
        books: by id, what the log says was on hand at the moment of the count.
        unbooked: what the load sends beside them.
    """
    found: dict[str, CountedOff] = {}
    earlier: dict[tuple[str, str], int] = {}
    for count in sorted(counts, key=lambda one: (one.at_us, one.id)):
        booked = books[count.id] + unbooked.until(count) + earlier.get(count.row, 0)
        off = CountedOff(booked, count.counted)
        found[count.id] = off
        earlier[count.row] = earlier.get(count.row, 0) + off.change
    return found
