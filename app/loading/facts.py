"""A line of a document made into the fact that goes to the log."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, TypeAlias

import msgspec
from msgspec import UNSET, Struct, UnsetType

from core.lately import Lately
from core.refusals import Refused
from domain.checks import MAX_QUANTITY
from domain.events import (
    SaleCompleted,
    SaleReturned,
    ShipmentDispatched,
    ShipmentReceived,
    StockAdjusted,
    StockEvent,
)
from domain.names import MAX_NAME_CHARS, fault_of
from domain.rules.held import CURRENT
from importers.documents.catalogue import Catalogue, OurItem
from importers.documents.containers import Contents
from importers.documents.levels import CountedOff, StockCount
from importers.documents.localtimes import instant_of
from importers.documents.places import OurPlace, PlaceList
from importers.documents.port import (
    ContainedLine,
    ForeignName,
    LevelLine,
    MovedLine,
    Movement,
)

#: Who says what a document says. Never another word: with the id it is a fact's identity.
SOURCE: Final = "load"
#: What the id of a fact becomes in that of its correction.
REVOKED: Final = ":revoked"
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
_ADJUSTED, _ADJUSTMENTS = _KINDS[Movement.ADJUSTED]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class LineFact(Struct, frozen=True, gc=False, array_like=True):
    """A fact; rank: of its line within its document, from 1 on; where: for people."""

    rank: int
    where: str
    role: str
    key: bytes
    value: bytes


class LineLevel(Struct, frozen=True, gc=False):
    """A count that is still to be decided, as a line of a document says it.

    document: identity of that; rank, where: as of a fact; time: RFC 3339, the same moment as
    that of the count.
    """

    document: str
    rank: int
    where: str
    count: StockCount
    time: str
    reference: str | None

    def said(self) -> bytes:
        """All of it as text, to tell a document from another one."""
        return _encode((self.count, self.time, self.reference))


class LineContained(Struct, frozen=True, gc=False):
    """Contents that moved in a container, and are still to be looked up, as a line says it.

    document, rank: as of a count; at_us: µs since the epoch; location: ours.
    """

    document: str
    rank: int
    at_us: int
    location: str
    line: ContainedLine

    def said(self) -> bytes:
        """All of it as text, to tell a document from another one."""
        line = self.line
        named = line.number, line.movement, line.sign, line.reason, line.reference
        return _encode((self.rank, self.at_us, self.location, *named))


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
    # Of a count. Extensions of CloudEvents: how the change came about, which no fold reads. Texts,
    # since their integers end at 2^31.
    onhandcounted: str | UnsetType = UNSET
    onhandbook: str | UnsetType = UNSET
    onhandposition: str | UnsetType = UNSET


#: What of a line is ours: SKU, key, place, quantity, time.
_Resolved: TypeAlias = tuple[str, bytes, OurPlace, int, str | None]


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
        self._whole = Lately(_whole)

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
        sku, key, place, quantity, time = self._resolved(line)
        kind, role = _KINDS[line.movement]
        data = _Data(sku, place.location, quantity, line.reason or UNSET, line.reference or UNSET)
        id_ = f"{identity}#{line.number}"
        event = _Event("1.0", id_, SOURCE, kind, time or UNSET, data)
        return LineFact(rank, line.where, role, key, _written(event))

    def level(self, identity: str, rank: int, line: LevelLine) -> LineLevel:
        """The count of a line; arguments and errors as those of `fact`."""
        sku, _, place, quantity, time = self._resolved(line)
        if time is None:
            raise ValueError(
                "It is a count, and nothing says at which moment: give the place a zone in the "
                "list of places (--places), or the table a column of times."
            )
        if not 0 <= quantity <= MAX_QUANTITY:
            raise ValueError(f"{quantity:,} cannot lie anywhere: correct it.")
        count = StockCount(
            f"{identity}#{line.number}", sku, place.location, moment_us(time), quantity
        )
        level = LineLevel(identity, rank, line.where, count, time, line.reference)
        level_fact(level, CountedOff(0, 0), "")
        return level

    def contained(self, identity: str, rank: int, line: ContainedLine) -> LineContained:
        """What moved in a container; arguments and errors as those of `fact`."""
        location = self._places[line.place].location
        return LineContained(identity, rank, moment_us(line.time), location, line)

    def facts_inside(self, moved: LineContained, goods: Contents) -> list[LineFact]:
        """The facts of what lay in a container, one for each item and unit.

        Raises:
            ValueError: one of them cannot be; the text is a sentence with the remedy.
        """
        of, found = moved.line, []
        for (item, unit), quantity in goods.items():
            line = MovedLine(
                where=of.where,
                number=f"{of.number}/{item.code}{f'/{unit}' if unit else ''}",
                movement=of.movement,
                item=item,
                place=of.place,
                quantity=of.sign * quantity,
                unit=unit,
                time=of.time,
                reason=of.reason,
                reference=of.reference,
            )
            found.append(_checked(self.fact(moved.document, moved.rank, line)))
        return found

    def _resolved(self, line: MovedLine | LevelLine) -> _Resolved:
        item, key, is_one = self._items[line.item, line.unit]
        place = self._places[line.place]
        whole = self._whole[line.quantity]
        quantity = whole if is_one and whole is not None else item.count(line.quantity)
        time = line.time
        if time is None and line.day is not None and place.zone is not None:
            try:
                time = instant_of(line.day, place.zone)
            except ValueError as why:
                raise ValueError(f"The time is wrong: {why}.") from None
        return item.sku, key, place, quantity, time


def _whole(written: Decimal) -> int | None:
    """A quantity, where it is a whole number; raises ValueError: it has too many digits."""
    if written.adjusted() > _MOST_DIGITS:
        raise ValueError("The quantity is far too large: correct it.")
    quantity = int(written)
    return quantity if quantity == written else None


def level_fact(level: LineLevel, off: CountedOff, position: str) -> LineFact:
    """The adjustment that a count comes to, at the moment of the count.

    Args:
        level: the count.
        off: it, and the book then.
        position: which facts the book was made of.

    Raises:
        ValueError: the rules that the table judges by refuse it.
    """
    count = level.count
    data = _Data(count.sku, count.location, off.change, "count", level.reference or UNSET)
    event = _Event(
        *("1.0", count.id, SOURCE, _ADJUSTED, level.time, data),
        onhandcounted=str(off.counted),
        onhandbook=str(off.book),
        onhandposition=position or UNSET,
    )
    return _checked(_adjustment(level.rank, level.where, count.sku, event))


def correction_fact(
    rank: int, where: str, of: str, sku: str, location: str, change: int, time: str
) -> LineFact:
    """What takes a fact back, at the moment of that fact.

    Args:
        rank: of the line that takes it back.
        where: of that line.
        of: id of the fact; the correction names it, and its own id is made of it, so that
            whoever takes a fact back, and however often, does it once.
        sku: of the fact.
        location: of the fact.
        change: to what is on hand.
        time: RFC 3339.

    Raises:
        ValueError: the rules that the table judges by refuse it.
    """
    data = _Data(sku, location, change, "correction", of)
    event = _Event("1.0", of + REVOKED, SOURCE, _ADJUSTED, time, data)
    return _checked(_adjustment(rank, where, sku, event))


def _adjustment(rank: int, where: str, sku: str, event: _Event) -> LineFact:
    return LineFact(rank, where, _ADJUSTMENTS, sku.encode(), _written(event))


def _checked(fact: LineFact) -> LineFact:
    (event,) = CURRENT.decode_batch([fact.value], [()])
    if isinstance(event, Refused):
        raise ValueError(event.detail)
    return fact


def _written(event: _Event) -> bytes:
    try:
        return _encode(event)
    except UnicodeEncodeError:
        raise ValueError("A text of it holds half a character: correct it.") from None


def moment_us(time: str) -> int:
    """RFC 3339 as µs since the epoch, exactly; raises ValueError."""
    since = msgspec.convert(time, datetime).astimezone(UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 10**6 + since.microseconds


def _check_name(what: str, name: str) -> None:
    fault = fault_of(name)
    if len(name) > MAX_NAME_CHARS:
        fault = f"has more than {MAX_NAME_CHARS} characters"
    if fault:
        raise ValueError(
            f"The {what} {name[:60]!a} {fault}: give it another name, in the catalogue "
            "(--catalogue) or the list of places (--places)."
        )
