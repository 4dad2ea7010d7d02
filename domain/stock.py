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
from domain.modes import ATTRIBUTES, CONTENT_TYPE
from domain.rows import ROW_LINE, Row, as_stored, numbers_of
from domain.rules.held import CURRENT, Ruling
from domain.rules.two import TWO

_EVENTS, _CHECKSUM, _UPDATED_AT = map(
    Row.__struct_fields__.index, ("events", "checksum", "updated_at")
)


class StockMemory:
    """The rows of one partition, as `core/projection.py` wants them."""

    waiting = 0

    def __init__(self, *, empty: bool) -> None:
        self.rows = Sums(ROW_LINE, numbers_of, as_stored, empty=empty)

    def add(self, columns: Columns, load: Load) -> None:
        """Each event adds to one field of its row; to which, and how much, say the rules."""
        events, sums = columns.events, self.rows
        rows = sums.change(columns.keys, load)
        sums.add(rows, events["field"], events["amount"].astype(np.int64))
        sums.add(rows, _EVENTS, 1)
        sums.add(rows, _CHECKSUM, events["crc"].astype(np.int64))
        sums.keep_greatest(rows, _UPDATED_AT, events["time_ms"])

    def take(self) -> Changes:
        """Rows that changed."""
        return Changes(self.rows.take())


class Stock:
    """Stock by the rules that a process judges by.

    Args:
        ruling: says which; asked each time, since a worker learns them after it was put together.
    """

    name = "inventory"
    line: np.dtype[Any] = EVENT
    identity = True
    naming = frozenset(ATTRIBUTES) | {CONTENT_TYPE}  # in binary mode

    def __init__(self, ruling: Ruling) -> None:
        self.ruling = ruling

    @property
    def rules(self) -> int:
        """Their number."""
        return self.ruling.now.number

    def columns(self, address: Address, records: Sequence[Record]) -> Columns:
        """As `core.projection.Projection`."""
        return columns(address, records, self.ruling.now)

    def memory(self, partition: int, partitions: int, *, empty: bool) -> StockMemory:
        """As `core.projection.Projection`."""
        return StockMemory(empty=empty)


#: What the table of stock counts, by the current rules.
STOCK: Final = Stock(Ruling(CURRENT))
#: By each set of rules, under the name by which the decoding process finds it.
STOCK_BY_2: Final = Stock(Ruling(TWO))


def imported_as(rules: int) -> str:
    """How another process imports the projection of these rules."""
    return f"{__name__}:STOCK_BY_{rules}"
