"""The table of stock: typed reads over the rows that are bytes to all others here."""

from __future__ import annotations

from collections.abc import Sequence

from domain.rows import Row, decode_row, row_key, split_key
from tables.keys import FIRST_ROW
from tables.reading import Reading
from tables.table import Table


class StockReading(Reading):
    """Rows of stock by SKU and location."""

    def get(self, partition: int, sku: str, location: str) -> Row | None:
        """One committed row; None where no event has named it."""
        return self.value(partition, row_key(sku, location), decode_row)

    def get_many(self, partition: int, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        """As `get`, for many (sku, location) at once."""
        return self.values(partition, [row_key(*key) for key in keys], decode_row)

    def rows_of(
        self, partition: int, sku: str, after: str | None = None, limit: int = 500
    ) -> list[tuple[str, Row]]:
        """At most `limit` (location, row) of a SKU, in order, behind location `after`."""
        start = row_key(sku, "") if after is None else row_key(sku, after) + b"\x00"
        stop = sku.encode() + b"\x01"
        return self.between(partition, start, stop, limit, _located)

    def scan(
        self,
        partition: int,
        after: tuple[str, str] | None,
        limit: int,
        sku_prefix: str = "",
    ) -> list[tuple[str, str, Row]]:
        """At most `limit` (sku, location, row) in byte order, behind key `after`."""
        prefix = sku_prefix.encode()
        start = prefix or FIRST_ROW
        if after is not None:
            start = max(start, row_key(*after) + b"\x00")
        return self.between(partition, start, _end_of_prefix(prefix), limit, _named)


class InventoryTable(Table, StockReading):
    """The changelog-backed table of stock of one worker."""


def _located(key: bytes, stored: bytes) -> tuple[str, Row]:
    return split_key(key)[1], decode_row(stored)


def _named(key: bytes, stored: bytes) -> tuple[str, str, Row]:
    return (*split_key(key), decode_row(stored))


def _end_of_prefix(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with `prefix`; None where there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else None
