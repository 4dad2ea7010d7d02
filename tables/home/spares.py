"""Stores of the disk, opened before they are assigned."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from tables.home.store import Store, StoreFailed, Stores, StoreUnfit


class Spares:
    """The stores of a disk, opened before the group waits for them: they are likely to come back.

    RocksDB first replays its log, after a kill -9 for some 30 ms a store. And now the
    group can be told how full each is.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._open: dict[int, Store] = {}

    async def open(self) -> None:
        """Open all that the disk holds, one in each pass of the loop."""
        for partition in sorted(self._stores.kept()):
            await asyncio.sleep(0)
            with suppress(StoreFailed, StoreUnfit):  # tried again, and said, if it is needed
                self._open[partition] = self._stores.open(partition)

    def take(self, partition: int) -> Store:
        """The caller's from now on; opened now if it was not. Raises as `Stores.open`."""
        return self._open.pop(partition, None) or self._stores.open(partition)

    def close(self) -> None:
        """Close those that nobody took."""
        while self._open:
            self._open.popitem()[1].close()

    def copies(self, taken: Mapping[int, Store], incarnation: str) -> dict[int, int]:
        """For each partition on disk or `taken`, the changelog offset that its rows reach.

        0 for a store on disk that is not open; none for one of another changelog than that
        of this incarnation. May be called from another thread.
        """
        stores = {**self._open.copy(), **taken}
        closed = dict.fromkeys(self._stores.kept() - stores.keys(), 0)
        reached = {
            partition: store.local.next_offset
            for partition, store in stores.items()
            if store.local.incarnation == incarnation
        }
        return closed | {partition: at for partition, at in reached.items() if at > 0}
