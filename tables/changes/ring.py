"""The rows that a partition's last groups changed, for those who follow them.

Of each row the newest value alone is kept: who comes late gets fewer rows, never older ones.
There is a ring only where somebody has asked this worker within the last minute, so that a fold
which nobody listens to pays for one comparison a group. It is bounded: where it no longer reaches
back, a reader is told to read the rows again. A standby keeps one too, of the same groups as it
reads them: so the next owner goes on where the one before was killed.

A **place** is the changelog's next offset: the same for every owner. Within a group its rows have
the places before the group's own, in the order in which they were written.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from math import inf
from time import monotonic
from typing import Final, NamedTuple

from msgspec import Struct

from tables.keys import FIRST_ROW

#: Groups whose positions are known, so that a reader can come with one of a list.
_GROUPS: Final = 4096


class RingLimits(Struct, frozen=True):
    """Bounds of one worker's rings.

    rows: of a partition. bytes: keys and values of all partitions that it owns, each an equal
    share. kept_s: after the last question to any of them.
    """

    rows: int = 20_000
    bytes: int = 64 * 2**20
    kept_s: float = 60.0


class ReadTo(NamedTuple):
    """Where a reader of one partition is.

    place: all before it is known to him; None: he does not say. offsets: the last handled, by
    topic, where he names no place. is_now: he wants what comes from now on.
    """

    place: int | None = None
    offsets: Mapping[str, int] = {}
    is_now: bool = False


class RowsSince(NamedTuple):
    """What changed. rows: key and value as it is stored, by place.

    place: to go on from. is_reset: changes are missing before it, and `rows` is empty: read all
    rows, as they are there or later. is_all: there is no more now.
    """

    rows: list[tuple[bytes, bytes]]
    place: int
    is_reset: bool
    is_all: bool


class RowGroup(NamedTuple):
    """What one transaction of the changelog has written.

    puts: rows among them, in the order of the log. place: of the rows with it. offsets: next
    offsets with it, by topic. behind: the place of the group before it. drops: a row is no more.
    """

    puts: Mapping[bytes, bytes]
    place: int
    offsets: Mapping[str, int]
    behind: int
    drops: bool = False


def drops_rows(deletes: Iterable[bytes]) -> bool:
    """Whether a row is among the keys that a group deletes."""
    return any(key >= FIRST_ROW for key in deletes)


class Rings:
    """All rings of one worker."""

    def __init__(self, limits: RingLimits | None = None) -> None:
        self.limits = limits or RingLimits()
        self.open = 0
        self._asked_at = -inf
        #: Set as soon as a ring has grown or is gone, and then another one: take it, look, wait.
        self.news = asyncio.Event()

    def asked(self) -> None:
        """Somebody follows: the next groups are kept, also those of owners elsewhere."""
        self._asked_at = monotonic()

    def ring(self, place: int, offsets: Mapping[str, int] | None = None) -> Ring:
        """One that begins here: at the place and next offsets (if known) of the committed rows."""
        return Ring(self, place, offsets)

    def grown(self, ring: Ring | None, group: RowGroup) -> Ring | None:
        """A partition's ring behind a group; None: nobody has asked for long."""
        if monotonic() - self._asked_at > self.limits.kept_s:
            if ring is not None:
                ring.close()
            return None
        ring = ring or self.ring(group.behind)
        ring.grow(group)
        return ring

    def tell(self) -> None:
        """Wake all who wait."""
        news, self.news = self.news, asyncio.Event()
        news.set()


class Ring:
    """Of one partition, for as long as this worker has its rows. `place`: of the committed rows."""

    def __init__(self, rings: Rings, place: int, offsets: Mapping[str, int] | None) -> None:
        self._rings, self._limits = rings, rings.limits
        self.place = place
        #: Nothing that changed before it is here, unless it changed again.
        self._floor = place
        self._rows: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._bytes = 0
        self._groups: deque[tuple[int, Mapping[str, int]]] = deque(maxlen=_GROUPS)
        if offsets is not None:
            self._groups.append((place, dict(offsets)))
        rings.open += 1

    def grow(self, group: RowGroup) -> None:
        """Take a committed group in."""
        rows = [pair for pair in group.puts.items() if pair[0] >= FIRST_ROW]
        first = group.place - len(rows)
        if group.behind != self.place or first <= self.place or group.drops:
            # A group is missing before it; or no changelog is so short: each row has an offset.
            # What cannot be told is not; nor that a row is no more, as after a repair.
            self._forget(group.place)
        else:
            for number, (key, value) in enumerate(rows, first):
                self._put(key, value, number)
        self.place = group.place
        self._groups.append((group.place, dict(group.offsets)))
        self._keep_bounds()
        self.tell()

    def tell(self) -> None:
        """Wake who waits: it has grown, or another worker has the partition."""
        self._rings.tell()

    def close(self) -> None:
        """Its rows are not here any more, or it has no reader."""
        self._forget(self.place)
        self._rings.open -= 1
        self._rings.tell()

    def since(self, after: ReadTo, limit: int, passes: Callable[[bytes], bool]) -> RowsSince:
        """At most `limit` rows that changed behind a place; `passes` is given a key."""
        place = self.place if after.is_now else after.place
        if place is None:
            place = self._place_of(after.offsets)
        if place is None or not self._floor <= place <= self.place:
            return RowsSince([], self.place, is_reset=True, is_all=True)
        found: list[tuple[int, bytes, bytes]] = []
        for key, (number, value) in reversed(self._rows.items()):
            if number <= place:
                break
            if passes(key):
                found.append((number, key, value))
        is_all = len(found) <= limit
        found = found[::-1][:limit]
        rows = [(key, value) for _, key, value in found]
        return RowsSince(rows, self.place if is_all else found[-1][0], False, is_all)

    def _place_of(self, offsets: Mapping[str, int]) -> int | None:
        """The last one whose groups a reader at these offsets has; None where it is not known."""
        found: tuple[int, Mapping[str, int]] | None = None
        for place, known in reversed(self._groups):
            if place < self._floor:
                break
            if any(offsets.get(topic, -1) < at - 1 for topic, at in known.items()):
                if found is not None:
                    break
            elif found is None or found[1] == known:
                # A row that an audit set right has moved no offset: it is told once more.
                found = place, known
            else:
                break
        return None if found is None else found[0]

    def _put(self, key: bytes, value: bytes, number: int) -> None:
        known = self._rows.pop(key, None)
        if known is not None:
            self._bytes -= len(key) + len(known[1])
        self._rows[key] = number, value
        self._bytes += len(key) + len(value)

    def _keep_bounds(self) -> None:
        most = self._limits.bytes // max(1, self._rings.open)
        while len(self._rows) > self._limits.rows or self._bytes > most:
            key, (number, value) = self._rows.popitem(last=False)
            self._bytes -= len(key) + len(value)
            self._floor = number

    def _forget(self, place: int) -> None:
        self._rows.clear()
        self._bytes, self._floor = 0, place
