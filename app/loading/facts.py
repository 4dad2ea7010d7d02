"""A line of a document made into the fact that goes to the log."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Struct, UnsetType

from core.lately import Lately
from domain.events import (
    SaleCompleted,
    SaleReturned,
    ShipmentDispatched,
    ShipmentReceived,
    StockAdjusted,
    StockEvent,
)
from domain.names import MAX_NAME_CHARS, fault_of
from importers.documents.catalogue import Catalogue, OurItem
from importers.documents.localtimes import instant_of
from importers.documents.places import OurPlace, PlaceList
from importers.documents.port import ForeignName, MovedLine, Movement

#: Who says what a document says. Never another word: with the id it is a fact's identity.
SOURCE: Final = "load"
_EVENTS: Final[dict[Movement, type[StockEvent]]] = {
    Movement.RECEIVED: ShipmentReceived,
    Movement.DISPATCHED: ShipmentDispatched,
    Movement.SOLD: SaleCompleted,
    Movement.RETURNED: SaleReturned,
    Movement.ADJUSTED: StockAdjusted,
}
_KINDS: Final = {
    movement: (str(event.__struct_config__.tag), event.role) for movement, event in _EVENTS.items()
}
#: No document has more, and nothing is worked out of what may have a billion.
_MOST_DIGITS: Final = 15
_encode = msgspec.json.Encoder().encode


class LineFact(Struct, frozen=True, gc=False):
    """A fact; rank: of its line within its document, from 1 on; where: for people."""

    rank: int
    where: str
    role: str
    key: bytes
    value: bytes


class _Data(Struct, gc=False):
    sku: str
    location: str
    quantity: int
    reason: str | UnsetType
    reference: str | UnsetType


class _Event(Struct, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    time: str | UnsetType
    data: _Data


class FactMaker:
    """Makes facts, by what is ours.

    Args:
        catalogue: of items.
        places: of places.
    """

    def __init__(self, catalogue: Catalogue, places: PlaceList) -> None:
        self._catalogue, self._place_list = catalogue, places
        self._items = Lately(self._item)
        self._places = Lately(self._place)

    def _item(self, name: tuple[ForeignName, str | None]) -> tuple[OurItem, bytes, bool]:
        item = self._catalogue.find(*name)
        _check_name("SKU", item.sku)
        return item, item.sku.encode(), item.factor == 1

    def _place(self, name: ForeignName) -> OurPlace:
        place = self._place_list.find(name)
        _check_name("location", place.location)
        return place

    def fact(self, identity: str, rank: int, line: MovedLine) -> LineFact:
        """The fact of a line.

        Args:
            identity: of the document.
            rank: of the line.
            line: that says it.

        Raises:
            ValueError: the line cannot be one; the text is a sentence with the remedy.
        """
        item, key, is_one = self._items[line.item, line.unit]
        place = self._places[line.place]
        written = line.quantity
        if written.adjusted() > _MOST_DIGITS:
            raise ValueError("The quantity is far too large: correct it.")
        quantity = int(written)
        if not is_one or quantity != written:
            quantity = item.count(written)
        time = line.time
        if time is None and line.day is not None and place.zone is not None:
            try:
                time = instant_of(line.day, place.zone)
            except ValueError as why:
                raise ValueError(f"The time is wrong: {why}.") from None
        kind, role = _KINDS[line.movement]
        data = _Data(
            item.sku, place.location, quantity, line.reason or UNSET, line.reference or UNSET
        )
        id_ = f"{identity}#{line.number}"
        event = _Event("1.0", id_, SOURCE, kind, time or UNSET, data)
        try:
            return LineFact(rank, line.where, role, key, _encode(event))
        except UnicodeEncodeError:
            raise ValueError("A text of it holds half a character: correct it.") from None


def _check_name(what: str, name: str) -> None:
    fault = fault_of(name)
    if len(name) > MAX_NAME_CHARS:
        fault = f"has more than {MAX_NAME_CHARS} characters"
    if fault:
        raise ValueError(
            f"The {what} {name[:60]!a} {fault}: give it another name, in the catalogue "
            "(--catalogue) or the list of places (--places)."
        )
