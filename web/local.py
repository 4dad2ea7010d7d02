"""What the web asks of this worker's own table. `tables.inventory.InventoryTable` fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from domain.lookup import Freshness
from domain.stock import Row
from tables.reading import PartitionStatus


class LocalRows(Protocol):
    """Committed rows of the partitions that this worker can answer for.

    `freshness` and a read right after it, without an await between them, belong
    together: the answer is exactly the log up to that position.
    """

    @property
    def count(self) -> int:
        """Partitions of the version."""
        ...

    @property
    def listeners(self) -> list[Callable[[], None]]:
        """Called when a partition changes its state."""
        ...

    def partition_of(self, sku: str) -> int:
        """0 to `count` - 1."""
        ...

    def freshness(self, partition: int) -> Freshness | None:
        """None: this worker cannot answer for it now."""
        ...

    def get(self, partition: int, sku: str, location: str) -> Row | None:
        """None where no event has named it."""
        ...

    def get_many(self, partition: int, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        """The same for (sku, location) after (sku, location)."""
        ...

    def rows_of(
        self, partition: int, sku: str, after: str | None = None, limit: int = 500
    ) -> list[tuple[str, Row]]:
        """Rows of one SKU beyond the location `after`, by location."""
        ...

    def scan(
        self,
        partition: int,
        after: tuple[str, str] | None,
        limit: int,
        sku_prefix: str = "",
    ) -> list[tuple[str, str, Row]]:
        """Rows beyond the key `after`, by SKU and location in UTF-8 order."""
        ...

    async def reached(self, partition: int, offsets: Mapping[str, int], timeout_s: float) -> bool:
        """Whether the events at these offsets are in the rows, waiting if need be."""
        ...

    def status(self) -> Sequence[PartitionStatus]:
        """One for each partition held, also while it loads."""
        ...
