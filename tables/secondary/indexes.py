"""Indexes of stores in memory, each made when it is first asked for and kept right by each write.

Nothing of them is on disk: a store that was damaged, wiped, restored or opened again has none,
and the next question begins another from the rows that are there. So an index can neither
outlive its rows nor be damaged beside them. What it gives are candidates: rows that are no more
are still named.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from time import monotonic, perf_counter
from typing import Final, TypeAlias
from weakref import WeakSet

from tables.home.store import Store, StoreError
from tables.keys import FIRST_ROW
from tables.secondary.postings import Postings
from tables.tasks import Tasks

log = logging.getLogger(__name__)

#: A row's key as group and name; both are in the key, and tell it.
Parts: TypeAlias = Callable[[bytes], tuple[bytes, bytes]]

#: All indexes of a table on this worker take no more than this: names of some five million rows.
INDEX_BYTES: Final = 64 * 2**20
#: Rows read at once while an index is made: less than a millisecond.
PIECE_ROWS: Final = 256
#: Keys that were written and are not sorted in yet.
MAX_PENDING: Final = 4096
#: What Python takes for one of them, besides the store's own.
_PENDING_BYTES: Final = 120
#: An index that nobody has asked for so long is given up once it would cost something.
KEPT_S: Final = 600.0


class Index:
    """Of one store; whole once all rows that it held at the beginning were read.

    `fits`: whether there is room for it as it is now; else it has been given up.
    """

    def __init__(self, parts: Parts, fits: Callable[[Index], bool] = lambda index: True) -> None:
        self._parts, self._fits = parts, fits
        self._postings = Postings()
        self._pending: set[bytes] = set()
        #: Rows before this key were read.
        self.read_to = FIRST_ROW
        self.whole = self.over = False
        self.asked_at = monotonic()

    @property
    def held_bytes(self) -> int:
        """About so much memory is held."""
        return self._postings.held_bytes + _PENDING_BYTES * len(self._pending)

    def wrote(self, keys: Iterable[bytes]) -> None:
        """As `WriteWatch`: sorted in when somebody asks, or when they are many."""
        if self.over:
            return
        if self.whole:
            self._pending.update(keys)
        else:  # the others are still to be read
            self._pending.update(key for key in keys if key < self.read_to)
        if len(self._pending) > MAX_PENDING:
            if monotonic() - self.asked_at > KEPT_S:
                self.give_up()
            else:
                self._sort_in()
                self._fits(self)  # it grows by what is written, whether somebody asks or not

    def read(self, keys: Iterable[bytes]) -> None:
        """The next rows of the store, in order."""
        for key in keys:
            self._postings.add(*self._parts(key))
            self.read_to = key + b"\x00"

    def names(self, group: bytes, start: bytes, limit: int) -> list[bytes]:
        """At most `limit` names of a group from `start` on, in order."""
        self._sort_in()
        return self._postings.names(group, start, limit)

    def give_up(self) -> None:
        """Hold nothing more; the next question begins another."""
        self.over, self.whole = True, False
        self._postings, self._pending = Postings(), set()

    def _sort_in(self) -> None:
        if not self._pending:
            return
        groups: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for key in self._pending:
            if key >= FIRST_ROW:
                group, name = self._parts(key)
                groups[group].append(name)
        self._pending.clear()
        for group, names in groups.items():
            names.sort()
            self._postings.add_all(group, names)


class Indexes:
    """Those of one table on one worker, made one after the other in the background.

    Args:
        parts: of a key.
        tasks: of the table.
        max_bytes: of all of them; what does not fit is not indexed for a while.
    """

    def __init__(self, parts: Parts, tasks: Tasks, max_bytes: int = INDEX_BYTES) -> None:
        self._parts, self._tasks, self._max_bytes = parts, tasks, max_bytes
        self._all: WeakSet[Index] = WeakSet()
        self._wanted: deque[tuple[Store, Index]] = deque()
        self._making: asyncio.Task[None] | None = None
        self._full_until = 0.0

    def names(self, store: Store, group: bytes, start: bytes, limit: int) -> list[bytes] | None:
        """At most `limit` names of a group from `start` on, in order.

        Of all rows that are there, and some that are no more. None where the index is not whole:
        look at all rows; this question has begun one.
        """
        index = store.watch
        if not isinstance(index, Index) or index.over:
            self._begin(store)
            return None
        index.asked_at = monotonic()
        if not index.whole:
            return None
        names = index.names(group, start, limit)
        return names if self._fits(index) else None

    def _begin(self, store: Store) -> None:
        if monotonic() < self._full_until:
            return
        store.watch = index = Index(self._parts, self._fits)
        self._all.add(index)
        self._wanted.append((store, index))
        if self._making is None or self._making.done():
            self._making = self._tasks.start(self._make(), "index rows")

    async def _make(self) -> None:
        while self._wanted:
            store, index = self._wanted.popleft()
            if monotonic() < self._full_until:
                index.give_up()
            while store.watch is index and not index.over and not index.whole:
                began = perf_counter()
                self._read_on(store, index)
                # As long for all others as for this.
                await asyncio.sleep(perf_counter() - began)

    def _read_on(self, store: Store, index: Index) -> None:
        try:
            found = store.scan(index.read_to, None, PIECE_ROWS)
        except StoreError:
            index.give_up()  # whoever reads there meets the same, and does something about it
            return
        index.read(key for key, _ in found)
        if len(found) < PIECE_ROWS:
            index.whole = True
        self._fits(index)

    def _fits(self, index: Index) -> bool:
        """Whether there is room for it, once what nobody asks for is gone; else it is given up."""
        if self._held() <= self._max_bytes:
            return True
        since = monotonic() - KEPT_S
        for other in [each for each in self._all if each.asked_at < since and each is not index]:
            other.give_up()
        if self._held() <= self._max_bytes:
            return True
        log.warning(
            "An index of rows does not fit into the %d MiB for all: lists look at all rows.",
            self._max_bytes // 2**20,
        )
        index.give_up()
        self._full_until = monotonic() + KEPT_S
        return False

    def _held(self) -> int:
        return sum(each.held_bytes for each in self._all)
