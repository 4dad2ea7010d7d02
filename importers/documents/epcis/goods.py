"""What an event says of goods: how many of an item, and what it puts into a container."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from importers.documents.containers import CONTAINER
from importers.documents.epcis.identifiers import canonical, class_of, container_of, thing_of
from importers.documents.epcis.model import EpcisEvent, Quantity
from importers.documents.port import ForeignName, PackedGoods, PackedLine
from importers.documents.values import CannotRead, checked_decimal, rec20_unit

#: Of one event, in characters: what is in a container is remembered as one record.
_MOST_REMEMBERED: Final = 400_000


def read_element(element: Quantity) -> tuple[tuple[ForeignName, str | None], Decimal]:
    """Read an element of a quantity list: of what, in which unit, and how much.

    Raises:
        CannotRead: it does not say one of them.
    """
    item = class_of(element.epc_class)
    what = f"the quantity of {item.code}"
    unit = rec20_unit(element.uom, what)
    if element.quantity is None:
        raise CannotRead(f"Nothing says how much there is of {item.code}: ask its sender.")
    amount = checked_decimal(element.quantity, what)
    if amount < 0:
        raise CannotRead(
            f"A quantity of {amount} of {item.code} is below 0, and the business step has the "
            "direction already: ask its sender what was meant."
        )
    if unit is None and item.code[0] == "9":
        raise CannotRead(
            f"{item.code} is sold by measure (it begins with 9), and its quantity has no unit: ask "
            "its sender for it, such as KGM."
        )
    return (item, unit), amount


def packed_by(event: EpcisEvent, where: str, time: str) -> PackedLine | None:
    """What an event puts into a container or takes out; None: it does neither.

    OBSERVE only says what was seen there, and need not have seen all of it.

    Raises:
        CannotRead: a child is none that can be remembered; then nothing of it is.
    """
    if event.type != "AggregationEvent" or event.action not in ("ADD", "DELETE"):
        return None
    if event.parent_id is None or (container := container_of(event.parent_id)) is None:
        return None
    goods = []
    for element in event.child_quantity_list:
        (item, unit), amount = read_element(element)
        if amount:
            goods.append(PackedGoods(item, unit, amount))
    line = PackedLine(
        where=where,
        number="packing",
        container=container,
        time=time,
        is_in=event.action == "ADD",
        things=tuple(sorted({named_thing(epc) for epc in event.child_epcs})),
        goods=tuple(goods),
    )
    if line.is_in and not (line.things or line.goods):
        raise CannotRead(
            f"Something went into the container {container}, and nothing says what: ask its sender "
            "for childEPCs or childQuantityList."
        )
    if sum(map(len, line.things)) + 60 * len(goods) > _MOST_REMEMBERED:
        raise CannotRead(
            f"The container {container} gets more at once than is remembered of one event: ask "
            "its sender for events of fewer children."
        )
    return line


def named_thing(epc: str) -> str:
    """Name one thing or one container by its own number, as `containers.Packing` does.

    Raises:
        CannotRead: it is neither.
    """
    if (container := container_of(epc)) is not None:
        return f"{CONTAINER}{container}"
    thing_of(epc)
    return canonical(epc)
