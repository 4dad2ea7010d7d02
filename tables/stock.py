"""The table of stock: typed reads over the rows that are bytes to all others here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from domain.rows import Row, decode_row, row_key, split_key
from tables.keys import FIRST_ROW
from tables.reading import Reading
from tables.secondary.indexes import Indexes
from tables.table import Table
from tables.tasks import Tasks


class AtLocation(NamedTuple):
    """Some rows of a location, in order. reached: where the next ones begin, None at the end."""

    rows: list[tuple[str, str, Row]]
    reached: tuple[str, str] | None


def _by_location(key: bytes) -> tuple[bytes, bytes]:
    sku, _, location = key.partition(b"\x00")
    return location, sku


class StockReading(Reading):
    """Rows of stock by SKU and location."""

    def indexed(self, tasks: Tasks) -> None:
        """By location, each partition once somebody asks it for one."""
        self._indexes = Indexes(_by_location, tasks)

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

    def at(
        self,
        partition: int,
        location: str,
        after: tuple[str, str] | None,
        limit: int,
        sku_prefix: str = "",
    ) -> AtLocation | None:
        """As `scan`, of one location, at most `limit` looked at; None where only a scan tells."""
        prefix, place = sku_prefix.encode(), location.encode()
        start = prefix
        if after is not None:
            sku = after[0].encode()
            start = max(start, sku if after[1].encode() < place else sku + b"\x00")
        names = self.names(partition, place, start, limit)
        if names is None:
            return None
        try:
            skus = [name.decode() for name in names if name.startswith(prefix)]
        except ValueError as error:
            raise self._met(self.held[partition], error) from error
        rows = self.get_many(partition, [(sku, location) for sku in skus])
        found = [
            (sku, location, row) for sku, row in zip(skus, rows, strict=True) if row is not None
        ]
        return AtLocation(found, (skus[-1], location) if len(skus) == limit else None)


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
