"""Stock as a projection: the article's join.

It is a full outer join of shipments and sales on (SKU, location), materialised. All here is a
pure function of the log.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from core.columns import Columns
from core.projection import Changes, Load
from core.records import Address, Record
from core.sums import Sums
from domain.columns import EVENT, columns
from domain.events import RULES
from domain.modes import ATTRIBUTES, CONTENT_TYPE
from domain.rows import ROW_LINE, Row, as_stored, numbers_of

_EVENTS, _CHECKSUM, _UPDATED_AT = map(
    Row.__struct_fields__.index, ("events", "checksum", "updated_at")
)


class StockMemory:
    """The rows of one partition, as `core/projection.py` wants them."""

    waiting = 0

    def __init__(self, *, empty: bool) -> None:
        self.rows = Sums(ROW_LINE, numbers_of, as_stored, empty=empty)

    def add(self, columns: Columns, load: Load) -> None:
        """The rule: each event adds its quantity to its kind's column of its row."""
        events, sums = columns.events, self.rows
        rows = sums.change(columns.keys, load)
        sums.add(rows, events["kind"], events["quantity"].astype(np.int64))
        sums.add(rows, _EVENTS, 1)
        sums.add(rows, _CHECKSUM, events["crc"].astype(np.int64))
        sums.keep_greatest(rows, _UPDATED_AT, events["time_ms"])

    def take(self) -> Changes:
        """Rows that changed."""
        return Changes(self.rows.take())


class _Stock:
    name = "inventory"
    rules = RULES
    line: np.dtype[Any] = EVENT
    identity = True
    naming = frozenset(ATTRIBUTES) | {CONTENT_TYPE}  # in binary mode

    def columns(self, address: Address, records: Sequence[Record]) -> Columns:
        return columns(address, records)

    def memory(self, partition: int, partitions: int, *, empty: bool) -> StockMemory:
        return StockMemory(empty=empty)


#: What the table of stock counts.
STOCK: Final = _Stock()
