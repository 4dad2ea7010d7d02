"""Stock as a projection: the article's join.

It is a full outer join of shipments and sales on (SKU, location), materialised. All here is a
pure function of the log.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from msgspec.structs import replace

from core.columns import Columns
from core.projection import Changes, Load, NotARow
from core.records import Address, Record
from core.sums import Sums
from domain.columns import EVENT, columns
from domain.modes import ATTRIBUTES, CONTENT_TYPE
from domain.rows import CHECKSUM, EVENT_COUNT, ROW_FIELDS, UPDATED_AT, as_stored, numbers_of
from domain.rules.held import CURRENT, Ruling
from domain.rules.three import THREE
from domain.rules.two import TWO

_NONE: Final = (0,) * len(ROW_FIELDS)
#: A row as numbers of 8 bytes. A sum overflows after nine billion events of the greatest quantity.
ROW_LINE: Final = np.dtype([(name, "<u8" if name == "checksum" else "<i8") for name in ROW_FIELDS])


class StockMemory:
    """The rows of one partition, as `core/projection.py` wants them."""

    waiting = 0

    def __init__(self, *, empty: bool) -> None:
        self.rows = Sums(ROW_LINE, numbers_of, as_stored, empty=empty)
        #: Rows that a repair left without an event.
        self._emptied: set[bytes] = set()

    def add(self, columns: Columns, load: Load) -> None:
        """Each event adds to one field of its row; to which, and how much, say the rules."""
        events, sums = columns.events, self.rows
        rows = sums.change(columns.keys, load)
        sums.add(rows, events["field"], events["amount"].astype(np.int64))
        sums.add(rows, EVENT_COUNT, 1)
        sums.add(rows, CHECKSUM, events["crc"].astype(np.int64))
        sums.keep_greatest(rows, UPDATED_AT, events["time_ms"])

    def repair(self, key: bytes, found: bytes | None, right: bytes | None, load: Load) -> None:
        """Add what is missing; see `core.projection.Repairable`.

        The greatest time is set right, too, if no event has come since that is newer.
        """
        try:
            was, should = (_NONE if row is None else numbers_of(row) for row in (found, right))
        except ValueError as error:
            raise NotARow(str(error)) from error
        place = self.rows.change([key], load)
        now = self.rows.get(key)
        assert now is not None  # it has just been changed
        more = [b - a for a, b in zip(was, should, strict=True)]
        if now[UPDATED_AT] != was[UPDATED_AT]:
            more[UPDATED_AT] = max(0, should[UPDATED_AT] - now[UPDATED_AT])
        for field, amount in enumerate(more):
            self.rows.add(place, field, (amount + 2**63) % 2**64 - 2**63)
        if now[EVENT_COUNT] + more[EVENT_COUNT] == 0:
            self._emptied.add(key)

    def take(self) -> Changes:
        """Rows that changed."""
        taken = self.rows.take()
        if not self._emptied:
            return Changes(taken, new=taken.new)
        numbers = {key: self.rows.get(key) for key in self._emptied}
        gone = {key for key, row in numbers.items() if row is not None and row[EVENT_COUNT] == 0}
        self._emptied.clear()
        self.rows.gone(gone)
        kept = [i for i, key in enumerate(taken.keys) if key not in gone]
        keys, lines = [taken.keys[i] for i in kept], taken.lines[kept]
        new = [key for key in taken.new if key not in gone]
        return Changes(replace(taken, keys=keys, lines=lines), gone=sorted(gone), new=new)


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
STOCK_BY_3: Final = Stock(Ruling(THREE))


def imported_as(rules: int) -> str:
    """How another process imports the projection of these rules."""
    return f"{__name__}:STOCK_BY_{rules}"
