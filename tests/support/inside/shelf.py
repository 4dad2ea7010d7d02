"""A worker's rows without Kafka: the table's real reading side over memory stores.

Roles, positions and lags are set by hand; reading, waiting and freshness are the
service's own code, so nothing here can drift from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import msgspec

from core.stages import Role, Stage
from domain.rows import Row, row_key
from tables.home.memory import MemoryStore
from tables.home.store import Local
from tables.partition import Partition
from tables.stock import StockReading

SALES, SHIPMENTS, ADJUSTMENTS = "sales", "shipments", "adjustments"
TOPICS = (SHIPMENTS, SALES, ADJUSTMENTS)

_PATH = {
    Role.ACTIVE: (Stage.RESTORING, Stage.ACTIVE),
    Role.FORMER: (Stage.RESTORING, Stage.ACTIVE, Stage.FORMER),
    Role.STANDBY: (Stage.LOADING, Stage.STANDBY),
}


class Confirmed:
    """The broker has just confirmed the membership, unless told otherwise."""

    def __init__(self) -> None:
        self.always = True

    def confirmed_at(self) -> float:
        """Monotonic seconds."""
        return time.monotonic() if self.always else 0.0

    async def confirm(self) -> None:
        """The broker says we are a member."""


class Shelf(StockReading):
    """Rows and roles of one worker."""

    def __init__(self, count: int = 4, url: str = "http://127.0.0.1:1") -> None:
        self.membership = Confirmed()
        super().__init__(count, url, self.membership, 5.0)

    def hold(
        self, partitions: Iterable[int], role: Role = Role.ACTIVE, *, sales: int = 0, lag: int = 0
    ) -> None:
        """Be able to answer for these, in this role, with so many sales handled."""
        for number in partitions:
            partition = self.held.setdefault(number, Partition(number, MemoryStore()))
            for state in _PATH[role]:
                partition.move(state)
            partition.left_whole = True
            if sales:
                self.advance(number, sales, lag)

    def load(self, partition: int) -> None:
        """Hold it without being able to answer."""
        held = self.held.setdefault(partition, Partition(partition, MemoryStore()))
        held.left_whole = False
        self._changed()

    def drop(self, partition: int) -> None:
        """Another worker has it now."""
        self.held.pop(partition).close()
        self._changed()

    def advance(self, partition: int, sales: int, lag: int = 0) -> None:
        """So many sales of the partition are in the rows."""
        held = self.held[partition]
        held.ends = {SALES: (sales + lag, int(time.time() * 1000))}
        held.advance({SALES: sales})

    def put(self, sku: str, location: str, **sums: int) -> None:
        """Store one row, committed, in its partition, if that is held."""
        partition = self.held.get(self.partition_of(sku))
        if partition is not None:
            row = msgspec.json.encode(Row(**sums))
            partition.store.write({row_key(sku, location): row}, (), Local())

    def remove(self, sku: str, location: str) -> None:
        """Rows never vanish in Onhand; a test's stores may differ, though."""
        self.held[self.partition_of(sku)].store.write({}, [row_key(sku, location)], Local())
