"""Stores are opened one after the other, each partition served as soon as its own is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from tables.home.spares import Spares
from tables.home.store import Local, NoStore, StoreDamaged, StoreFailed, Stores, StoreUnfit
from tables.partition import Partition
from tables.ports import Fail
from tables.stats import Stats
from tables.tasks import Tasks


class Opening:
    """Makes a Partition of each number that comes to this worker, with what the disk holds.

    Args:
        stores: of this worker.
        stats: counts damaged stores.
        tasks: of the table.
        fail: ends the worker with one sentence.
    """

    def __init__(self, stores: Stores, stats: Stats, tasks: Tasks, fail: Fail) -> None:
        self._stores, self._stats = stores, stats
        self._tasks, self._fail = tasks, fail
        self._spares = Spares(stores)
        self._incarnation = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self, incarnation: str) -> None:
        """Open what the disk holds, before anything is assigned; incarnation: the changelog's."""
        self._incarnation = incarnation
        await self._spares.open()

    def begin(
        self,
        numbers: Iterable[int],
        hold: Callable[[Partition], None],
        done: Callable[[], None],
    ) -> None:
        """Open the stores of these, in this order; `hold` is told of each, `done` of the end."""
        self._task = self._tasks.start(self._open(numbers, hold, done), "open stores")

    def end(self) -> None:
        """Open no more: a newer assignment says which are wanted."""
        if self._task is not None:
            self._task.cancel()
            self._task = None

    def close(self) -> None:
        """Let go of all that nobody took, and of the disk."""
        self._spares.close()
        self._stores.close()

    async def _open(
        self,
        numbers: Iterable[int],
        hold: Callable[[Partition], None],
        done: Callable[[], None],
    ) -> None:
        """One in each pass of the loop.

        A thread would not help: rocksdict opens a database without letting go of the
        interpreter's lock (0.3.29). Each goes on to its take-over while the next is opened.
        """
        for number in numbers:
            await asyncio.sleep(0)  # here alone a newer assignment may end this
            try:
                partition = self._partition(number)
            except StoreFailed as error:
                await self._fail(f"The assignment cannot be served: {error}", error)
                return
            hold(partition)
        self._spares.close()
        done()

    def _partition(self, number: int) -> Partition:
        """With what the disk holds of it; raises StoreFailed."""
        try:
            store = self._spares.take(number)
        except StoreUnfit as why:
            return Partition(number, self.no_store(why, None))
        partition = Partition(number, store)
        try:
            if (meta := partition.stored_meta()) is not None:
                partition.offsets = dict(meta.positions)
        except StoreUnfit as why:
            store.close()
            partition.store = self.no_store(why, store.local)
        return partition

    def no_store(self, why: StoreUnfit, held: Local | None) -> NoStore:
        """What stands for a store that nobody can go on with."""
        if isinstance(why, StoreDamaged):
            self._stats.stores_damaged += 1
        return NoStore(why, held)

    def copies(self, held: dict[int, Partition]) -> dict[int, int]:
        """For each partition held or on disk, the changelog offset that its rows reach.

        0 for a store on disk that is not open. May be called from another thread.
        """
        # Copied in one step: the table's own thread may add to them meanwhile.
        now = held.copy()
        stores = {
            n: partition.store
            for n, partition in now.items()
            if not isinstance(partition.store, NoStore)
        }
        return self._spares.copies(stores, self._incarnation)
