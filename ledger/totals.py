"""What lines add to the sums of `stock`, made of the lines themselves when they are written.

Nobody needs it while a ledger is built: the sums are made by SQL at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import itemgetter
from typing import Any, Final

from domain.rows import CHECKSUM, EVENT_COUNT, UPDATED_AT
from ledger.lines import APPLIED, Line
from ledger.schema import change_table, event_table
from ledger.sums import NO_SUMS

_PLACES: Final = {column.name: at for at, column in enumerate(event_table.columns)}
_OUTCOME: Final = _PLACES["outcome"]
_SUMMED: Final = itemgetter(
    *map(
        _PLACES.__getitem__,
        ("sku", "location", "part", "recorded_at", "kind", "quantity", "crc", "field", "amount"),
    )
)
#: Where in a line of `stock_change` the numbers of the row begin, and some of them.
_FIRST: Final = len(change_table.columns) - len(NO_SUMS)
_COUNTED, _CHECKED = _FIRST + EVENT_COUNT, _FIRST + CHECKSUM
_UPDATED: Final = _FIRST + UPDATED_AT


def changes_of(lines: Iterable[Line]) -> list[Line]:
    """One line of `stock_change` for each row, though several topics have changed it, by key.

    Everybody takes the rows' locks in this order.
    """
    totals: dict[tuple[str, str], list[Any]] = {}
    applied = (_SUMMED(line) for line in lines if line[_OUTCOME] == APPLIED)
    for sku, location, part, at, kind, quantity, crc, field, amount in applied:
        total = totals.get((sku, location))
        if total is None:
            total = totals[sku, location] = [sku, location, part, *NO_SUMS]
        total[_FIRST + (kind if field is None else field)] += quantity if amount is None else amount
        total[_COUNTED] += 1
        total[_CHECKED] += crc
        if at > total[_UPDATED]:
            total[_UPDATED] = at
    return list(map(tuple, sorted(totals.values())))
