"""What is on hand of one SKU at one location."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import starmap
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from core.sums import RowNumbers  # not of every command: it brings numpy

_encode = msgspec.json.Encoder().encode


class Row(Struct, frozen=True, omit_defaults=True, gc=False):
    """Stock of one SKU at one location: sums of its events, nothing of a worker's own.

    The first five fields are the sums of quantities, in the order of the events' `kind`.
    A newer rule may have one of the fields at the end, which are not written while they are 0,
    so that rows of older rules are what they were.

    events: how many were applied. checksum: sum of CRC-32 of `source NUL id` of each,
    mod 2^64; with `events` it finds a lost or doubled one. updated_at: greatest recorded
    time of its events, ms since the epoch. damaged: returned, and not back in stock (rules 3).
    As JSON this is the changelog's and the store's value.
    """

    received: int = 0
    dispatched: int = 0
    sold: int = 0
    returned: int = 0
    adjusted: int = 0
    events: int = 0
    checksum: int = 0
    updated_at: int = 0
    damaged: int = 0

    @property
    def on_hand(self) -> int:
        """Below zero where a sale came before its shipment."""
        return self.received - self.dispatched - self.sold + self.returned + self.adjusted


NO_STOCK: Final = Row()
#: Names of a row's numbers, and the numbers of those that are no quantities.
ROW_FIELDS: Final = Row.__struct_fields__
EVENT_COUNT, CHECKSUM, UPDATED_AT = map(ROW_FIELDS.index, ("events", "checksum", "updated_at"))

#: A row as it is stored, read. Raises ValueError where it is none.
decode_row: Final = msgspec.json.Decoder(Row).decode


def encode_row(row: Row) -> bytes:
    """As it is stored."""
    return _encode(row)


def row_key(sku: str, location: str) -> bytes:
    """Key in the changelog and the store: all rows of a SKU are neighbours."""
    return f"{sku}\x00{location}".encode()


def split_key(key: bytes) -> tuple[str, str]:
    """Undo `row_key`; names hold no NUL."""
    sku, _, location = key.decode().partition("\x00")
    return sku, location


def numbers_of(stored: bytes) -> RowNumbers:
    """The fields of a row as it is stored. Raises ValueError where it is none."""
    return msgspec.structs.astuple(decode_row(stored))


def as_stored(rows: list[RowNumbers]) -> Iterable[bytes]:
    """Rows as they are stored, from their fields."""
    return map(_encode, starmap(Row, rows))
