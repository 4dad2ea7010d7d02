"""An EPCIS event, and which lines it is.

What moved is said by the business step and never by the action, but for DELETE of an ObjectEvent,
which ends the things. Where, by rules of its own for each direction: a business location is where
things are afterwards, so that of goods that were shipped is not the place they left.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Final, NamedTuple

import msgspec

from importers.documents.epcis.goods import named_thing, packed_by, read_element
from importers.documents.epcis.identifiers import (
    class_of,
    container_of,
    place_of,
    thing_of,
    word_of,
)
from importers.documents.epcis.model import KINDS, EpcisEvent, Quantity
from importers.documents.port import (
    ContainedLine,
    Document,
    DocumentPart,
    ForeignName,
    LevelLine,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
    RevokingLine,
)
from importers.documents.values import (
    MAX_TEXT_CHARS,
    CannotRead,
    clip,
    rfc3339_of,
    short_identity,
)

_ACTIONS: Final = ("ADD", "OBSERVE", "DELETE")
_NONE: Final = Decimal(0)
_ONE: Final = Decimal(1)


class _Effect(msgspec.Struct, frozen=True):
    """What a business step does to stock.

    `movement`: None is a count. `places`: where to look for the place, in this order.
    `opens`: of a container, what lies in it moves; else its number may mean the container alone.
    """

    movement: Movement | None
    places: tuple[str, ...]
    sign: int = 1
    reason: str | None = None
    opens: bool = False


_LEAVING: Final = ("readPoint", "source")
_STAYING: Final = ("readPoint", "bizLocation")
_COUNT: Final = _Effect(None, ("bizLocation", "readPoint"))
_EFFECTS: Final = {
    "receiving": _Effect(Movement.RECEIVED, ("bizLocation", "destination"), opens=True),
    "shipping": _Effect(Movement.DISPATCHED, _LEAVING, opens=True),
    "retail_selling": _Effect(Movement.SOLD, (*_LEAVING, "bizLocation"), opens=True),
    "destroying": _Effect(Movement.ADJUSTED, _STAYING, -1, "destroying"),
    "decommissioning": _Effect(Movement.ADJUSTED, _STAYING, -1, "decommissioning"),
    "void_shipping": _Effect(Movement.ADJUSTED, _LEAVING, 1, "correction", opens=True),
    "stock_taking": _COUNT,
    "cycle_counting": _COUNT,
}
_ENDED: Final = _Effect(Movement.ADJUSTED, _STAYING, -1, "deleted")
_MADE: Final = _Effect(Movement.ADJUSTED, ("bizLocation", "readPoint"), 1, "transformation")
_USED_UP: Final = _Effect(Movement.ADJUSTED, _STAYING, -1, "transformation")
#: Steps of the core vocabulary that move nothing in or out of a place, or only as a part of one
#: of those above, which would count twice.
_NO_MOVEMENT: Final = frozenset(
    (
        *("accepting", "arriving", "collecting", "commissioning", "creating_class_instance"),
        *("departing", "encoding", "entering_exiting", "holding", "inspecting", "installing"),
        *("killing", "loading", "packing", "picking", "removing", "repairing", "replacing"),
        *("reserving", "sensor_reporting", "staging_outbound", "stocking", "storing"),
        *("transporting", "unloading", "unpacking"),
    )
)


def parts_of(
    event: EpcisEvent, where: str, separator: str, known_by: str
) -> Iterator[DocumentPart]:
    """Yield the event as a document of its own, and its lines.

    Args:
        event: as it was written.
        where: of the event in its file.
        separator: between that and the name of a list in it.
        known_by: its eventID, or what else tells it from all others.
    """
    declares = event.error_declaration is not None
    # An event that is declared wrong comes again with the same eventID: these are two.
    prefix = "epcis-declaration:" if declares else "epcis:"
    yield Document(identity=short_identity(prefix + known_by), where=where)
    if declares:
        yield RevokingLine(
            where=where, number="event", document=short_identity(f"epcis:{known_by}"), revoked=None
        )
        return
    try:
        yield from _Lines(event, where, separator).all()
    except CannotRead as problem:
        yield RefusedLine(where=where, number="event", sentence=str(problem))


class _Summed(NamedTuple):
    """By item and unit how many; what cannot be read; by SSCC where each container stands."""

    sums: dict[tuple[ForeignName, str | None], Decimal]
    refused: list[RefusedLine]
    containers: dict[str, str]


class _Lines:
    """The lines of one event."""

    def __init__(self, event: EpcisEvent, where: str, separator: str) -> None:
        self.event, self.where, self.separator = event, where, separator

    def all(self) -> Iterator[DocumentPart]:
        event = self.event
        if event.type not in KINDS:
            raise CannotRead(
                f"{clip(event.type)} is no type of event of EPCIS 1.2 or 2.0: ask its sender for "
                f"one of {', '.join(KINDS)}."
            )
        time = rfc3339_of(event.event_time)
        if event.type == "AssociationEvent":
            yield self.other("An AssociationEvent ties things together and moves no stock.")
        elif event.type == "TransformationEvent":
            yield from self.of_list("input", event.input_epc_list, event.input_quantity_list, time)
            yield from self.of_list(
                "output", event.output_epc_list, event.output_quantity_list, time
            )
        else:
            effect = self.effect()
            if isinstance(effect, _Effect):
                yield from self.moved(effect, *self.goods(effect), time, prefix="")
            if (packed := packed_by(event, self.where, time)) is not None:
                yield packed
            elif isinstance(effect, OtherLine):
                yield effect

    def effect(self) -> _Effect | OtherLine:
        """Judge by business step; the action alone says only that something was seen."""
        event = self.event
        step = word_of(event.biz_step)
        if event.type != "QuantityEvent" and event.action not in _ACTIONS:
            raise CannotRead(
                f"The action {clip(event.action or '')} is none of {', '.join(_ACTIONS)}: ask its "
                "sender for the right one."
            )
        deletes = event.action == "DELETE"
        if step in _EFFECTS:
            if deletes and event.type == "TransactionEvent" and step != "void_shipping":
                raise CannotRead(
                    f"A TransactionEvent with DELETE and {step} does not say whether goods moved "
                    "or only their papers: ask its sender for an ObjectEvent."
                )
            return _EFFECTS[step]
        if deletes and event.type == "ObjectEvent":
            return _ENDED
        if step in _NO_MOVEMENT:
            return self.other(f"The business step {step} brings nothing in or out of stock.")
        if step is None:
            raise CannotRead(
                "The event has no business step, so nothing says whether goods came, went or were "
                "only seen: ask its sender for bizStep."
            )
        raise CannotRead(
            f"The business step {clip(step)} does not say whether goods came or went: ask its "
            f"sender for one of {', '.join(_EFFECTS)}."
        )

    def goods(self, effect: _Effect) -> tuple[str, list[str], str, list[Quantity]]:
        """Return both lists with their names.

        A parent is what holds the goods, and none; where no goods are named, it names them.
        """
        event = self.event
        names, epcs, quantities = "epcList/quantityList", event.epc_list, event.quantity_list
        if event.type == "AggregationEvent":
            names, epcs = "childEPCs/childQuantityList", event.child_epcs
            quantities = event.child_quantity_list
        elif event.type == "QuantityEvent" and event.epc_class is not None:
            quantities = [Quantity(event.epc_class, event.quantity)]
        parent = event.parent_id
        if effect.opens and parent and not (epcs or quantities) and container_of(parent):
            names, epcs = "parentID/", [parent]
        epcs_name, quantities_name = names.split("/")
        return epcs_name, epcs, quantities_name, quantities

    def of_list(
        self, side: str, epcs: list[str], quantities: list[Quantity], time: str
    ) -> Iterator[DocumentPart]:
        """Lines of one side of a transformation."""
        if epcs or quantities:
            names = f"{side}EPCList", f"{side}QuantityList"
            effect = _USED_UP if side == "input" else _MADE
            yield from self.moved(
                effect, names[0], epcs, names[1], quantities, time, prefix=f"{side}/"
            )

    def moved(
        self,
        effect: _Effect,
        epcs_name: str,
        epcs: list[str],
        quantities_name: str,
        quantities: list[Quantity],
        time: str,
        *,
        prefix: str,
    ) -> Iterator[DocumentPart]:
        """One line for each item and unit: what its EPCs and quantities add up to.

        So an event whose lists are sorted otherwise has the same lines.
        """
        found = self.summed(effect, epcs_name, epcs, quantities_name, quantities)
        sums, refused, containers = found.sums, found.refused, found.containers
        if not (sums or refused or containers):
            raise CannotRead(
                "The event names no goods: ask its sender for their EPCs or quantities."
            )
        yield from refused
        if effect.movement is None and refused and sums:
            # A count that lacks some things would take them off the stock.
            for item, unit in sums:
                yield self.line_refused(
                    _number(prefix, item, unit),
                    "Other goods of this count cannot be read, so it is not known how many there "
                    "are of this one: load the count again when the others are mended.",
                )
            return
        try:
            place, reference = self.place(effect), self.reference()
        except CannotRead as problem:
            numbers = [_number(prefix, item, unit) for item, unit in sums]
            for named in numbers + [_inside(container) for container in containers]:
                yield self.line_refused(named, str(problem))
            return
        for (item, unit), amount in sums.items():
            named = _number(prefix, item, unit)
            yield self.line(effect, item, place, amount, unit, time, reference, named)
        beside = _beside(epcs, quantities) if containers else frozenset()
        for container, where in containers.items():
            assert effect.movement is not None
            yield ContainedLine(
                where=where, number=_inside(container), movement=effect.movement,
                container=container, place=place, time=time, beside=beside, sign=effect.sign,
                reason=effect.reason, reference=reference,
            )  # fmt: skip

    def summed(
        self,
        effect: _Effect,
        epcs_name: str,
        epcs: list[str],
        quantities_name: str,
        quantities: list[Quantity],
    ) -> _Summed:
        """What two lists come to."""
        sums: dict[tuple[ForeignName, str | None], Decimal] = {}
        refused: list[RefusedLine] = []
        containers: dict[str, str] = {}
        seen: set[tuple[ForeignName, str]] = set()
        for number, epc in enumerate(epcs):
            try:
                if effect.opens and (container := container_of(epc)) is not None:
                    containers[container] = self.path(epcs_name, number)
                    continue
                thing = thing_of(epc)
            except CannotRead as problem:
                refused.append(self.refused(epcs_name, number, problem))
                continue
            if thing not in seen:  # one thing, however often it was read
                seen.add(thing)
                sums[thing[0], None] = sums.get((thing[0], None), _NONE) + _ONE
        for number, element in enumerate(quantities):
            try:
                key, amount = read_element(element)
            except CannotRead as problem:
                refused.append(self.refused(quantities_name, number, problem))
            else:
                sums[key] = sums.get(key, _NONE) + amount
        return _Summed(sums, refused, containers)

    def line(
        self,
        effect: _Effect,
        item: ForeignName,
        place: ForeignName,
        amount: Decimal,
        unit: str | None,
        time: str,
        reference: str | None,
        number: str,
    ) -> DocumentPart:
        if effect.movement is None:
            return LevelLine(
                where=self.where, number=number, item=item, place=place, quantity=amount,
                unit=unit, time=time, reference=reference,
            )  # fmt: skip
        if not amount:
            return OtherLine(where=self.where, number=number, rule="A quantity of 0 moves nothing.")
        return MovedLine(
            where=self.where, number=number, movement=effect.movement, item=item, place=place,
            quantity=effect.sign * amount, unit=unit, time=time, reason=effect.reason,
            reference=reference,
        )  # fmt: skip

    def place(self, effect: _Effect) -> ForeignName:
        """Find the place by the rule of the direction; each rule names what is asked, in order."""
        for rule in effect.places:
            if uri := self.named(rule):
                return place_of(uri)
        raise CannotRead(
            f"The event does not say where: ask its sender for {' or '.join(effect.places)}"
            f"{' of type location' if effect.places[-1] in ('source', 'destination') else ''}."
        )

    def reference(self) -> str | None:
        """The first business transaction, whole: a part of it would name another, or none."""
        if not self.event.biz_transaction_list:
            return None
        found = self.event.biz_transaction_list[0].id
        if len(found) > MAX_TEXT_CHARS:
            raise CannotRead(
                f"The business transaction {clip(found)} has {len(found):,} characters, and a fact "
                f"keeps {MAX_TEXT_CHARS:,} of them: ask its sender for a shorter one."
            )
        return found

    def named(self, rule: str) -> str | None:
        event = self.event
        if rule == "readPoint":
            return event.read_point.id if event.read_point else None
        if rule == "bizLocation":
            return event.biz_location.id if event.biz_location else None
        if rule == "source":
            found = [one.source for one in event.source_list if word_of(one.type) == "location"]
        else:
            found = [
                one.destination for one in event.destination_list
                if word_of(one.type) == "location"
            ]  # fmt: skip
        if len(set(found)) > 1:
            raise CannotRead(f"The event has more than one {rule} of type location: ask which.")
        return found[0] if found else None

    def other(self, rule: str) -> OtherLine:
        return OtherLine(where=self.where, number="event", rule=rule)

    def refused(self, name: str, number: int, problem: CannotRead) -> RefusedLine:
        return RefusedLine(
            where=self.path(name, number), number=f"{name}[{number}]", sentence=str(problem)
        )

    def path(self, name: str, number: int) -> str:
        """Where an element of a list stands."""
        # XPath counts from 1 and JSON from 0.
        at = number if self.separator == "." else number + 1
        return f"{self.where}{self.separator}{name}[{at}]"

    def line_refused(self, number: str, sentence: str) -> RefusedLine:
        return RefusedLine(where=self.where, number=number, sentence=sentence)


def _beside(epcs: list[str], quantities: list[Quantity]) -> frozenset[str]:
    """All that stands beside containers, as `containers.goods_inside` wants it."""
    named = set()
    for epc in epcs:
        with suppress(CannotRead):  # it is refused by itself
            named.add(named_thing(epc))
    for element in quantities:
        with suppress(CannotRead):
            named.add(f"/01/{class_of(element.epc_class).code}")
    return frozenset(named)


def _inside(container: str) -> str:
    return f"sscc/{container}"


def _number(prefix: str, item: ForeignName, unit: str | None) -> str:
    return f"{prefix}{item.code}{f'/{unit}' if unit else ''}"
