"""Rules 2, the first that were released: each type has a field of the row, which it adds to."""

from __future__ import annotations

from collections.abc import Sequence

from domain.events import (
    SaleCompleted,
    SaleReturned,
    ShipmentDispatched,
    ShipmentReceived,
    StockAdjusted,
    StockEvent,
)
from domain.rules.sets import RuleSet


def _effects(events: Sequence[StockEvent]) -> tuple[list[int], list[int]]:
    """The first five fields of a row are in the order of the types' numbers."""
    return [event.kind for event in events], [event.data.quantity for event in events]


TWO = RuleSet(
    2,
    {
        "inventory.shipment.received.v1": ShipmentReceived,
        "inventory.shipment.dispatched.v1": ShipmentDispatched,
        "inventory.sale.completed.v1": SaleCompleted,
        "inventory.sale.returned.v1": SaleReturned,
        "inventory.stock.adjusted.v1": StockAdjusted,
    },
    _effects,
)
