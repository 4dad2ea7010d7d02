"""What lines add to the sums of `stock`, made of the lines themselves when they are written.

Nobody needs it while a ledger is built: the sums are made by SQL at its end.
"""

from __future__ import annotations

from typing import Any, Final

from domain.rows import CHECKSUM, EVENT_COUNT, UPDATED_AT
from ledger.lines import APPLIED, Line, LineColumns
from ledger.schema import change_table, event_table
from ledger.sums import NO_SUMS

_SUMMED: Final = [
    event_table.columns.keys().index(name)
    for name in (
        *("outcome", "sku", "location", "part", "recorded_at"),
        *("kind", "quantity", "crc", "field", "amount"),
    )
]
#: Where in a line of `stock_change` the numbers of the row begin, and some of them.
_FIRST: Final = len(change_table.columns) - len(NO_SUMS)
_COUNTED, _CHECKED = _FIRST + EVENT_COUNT, _FIRST + CHECKSUM
_UPDATED: Final = _FIRST + UPDATED_AT


def changes_of(lines: LineColumns) -> list[Line]:
    """One line of `stock_change` for each row, though several topics have changed it, by key.

    Everybody takes the rows' locks in this order.
    """
    totals: dict[tuple[str, str], list[Any]] = {}
    summed = zip(*(lines[at] for at in _SUMMED), strict=True)
    for outcome, sku, location, part, at, kind, quantity, crc, field, amount in summed:
        if outcome != APPLIED:
            continue
        total = totals.get((sku, location))
        if total is None:
            total = totals[sku, location] = [sku, location, part, *NO_SUMS]
        total[_FIRST + (kind if field is None else field)] += quantity if amount is None else amount
        total[_COUNTED] += 1
        total[_CHECKED] += crc
        if at > total[_UPDATED]:
            total[_UPDATED] = at
    return list(map(tuple, sorted(totals.values())))
