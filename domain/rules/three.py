"""Rules 3: damaged returns do not come back to stock, and a sale can be voided.

A return whose `reason` is `damaged` adds to `damaged` in the place of `returned`, so that it is
not on hand. `inventory.sale.voided.v1` takes a sale back before the goods have left the shop: it
lessens `sold`. All else is as in rules 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from domain.events import SaleReturned, SaleVoided, StockEvent
from domain.rows import ROW_FIELDS
from domain.rules.sets import RuleSet
from domain.rules.two import TWO

#: The reason of a return, as it stands in `data.reason`.
DAMAGED: Final = "damaged"
_DAMAGED_FIELD, _SOLD_FIELD = map(ROW_FIELDS.index, ("damaged", "sold"))


def _effects(events: Sequence[StockEvent]) -> tuple[list[int], list[int]]:
    fields, amounts = TWO.effects(events)
    for i, event in enumerate(events):
        if type(event) is SaleReturned and event.data.reason == DAMAGED:
            fields[i] = _DAMAGED_FIELD
        elif type(event) is SaleVoided:
            fields[i], amounts[i] = _SOLD_FIELD, -amounts[i]
    return fields, amounts


THREE = RuleSet(3, {**TWO.events, "inventory.sale.voided.v1": SaleVoided}, _effects)
