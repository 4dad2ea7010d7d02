"""X12 856, a ship notice: what left a place. That it came is said by others (861, EPCIS).

The segments say by numbers in HL which shipment, order and pack a line is of; their order in the
file says nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from importers.documents.envelopes import MessageEnvelope, broken_interchange
from importers.documents.port import (
    DocumentPart,
    ForeignName,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
)
from importers.documents.purposes import X12_PURPOSES, Message
from importers.documents.values import CannotRead, clip, decimal_of, item_of, x12_place, x12_unit
from importers.documents.x12.interchanges import X12Segment
from importers.documents.x12.moments import x12_moment

#: Shipments, orders and packs of one notice; items are not kept.
_MAX_LEVELS = 100_000
_SHIPPED = "011"


class _Level:
    """One HL: what it says itself, and where it hangs."""

    __slots__ = ("moment", "order", "parent", "place", "problem")

    def __init__(self, parent: _Level | None, problem: str | None = None) -> None:
        self.parent, self.problem = parent, problem
        self.place: ForeignName | CannotRead | None = None
        self.moment: tuple[str | None, str | None] | CannotRead | None = None
        self.order: str | None = None

    def up(self) -> Iterator[_Level]:
        level: _Level | None = self
        while level is not None:
            yield level
            level = level.parent


class ShipNotice:
    """Reads one transaction set."""

    def __init__(self, envelope: MessageEnvelope) -> None:
        self._envelope = envelope
        self._message: Message | None = None
        self._set = _Level(None)
        self._levels: dict[str, _Level] = {}
        self._level = self._set
        self._is_item = False
        self._hl: X12Segment | None = None
        self._lin: X12Segment | None = None
        self._sn1: X12Segment | None = None

    def take(self, segment: X12Segment) -> Iterator[DocumentPart]:
        """Yield what the set is known to say with this segment."""
        name = segment.name
        if name == "BSN":
            yield from self._begin(segment)
        elif name in ("HL", "LIN", "SE"):
            if name != "LIN" or self._lin is not None:
                yield from self._flush()
            if name == "HL":
                self._open(segment)
            elif name == "LIN":
                self._lin = segment
        elif name == "SN1":
            if self._sn1 is not None:
                yield from self._flush()
            self._sn1 = segment
        elif name == "N1" and segment[1] == "SF":
            self._level.place = _place_of(segment)
        elif name == "DTM" and segment[1] == _SHIPPED:
            self._level.moment = _moment_of(segment)
        elif name == "PRF":
            self._level.order = segment[1] or None
        if name == "SE" and self._message is None:
            raise broken_interchange(f"{segment.where}: the ship notice that ends here has no BSN")

    def _begin(self, segment: X12Segment) -> Iterator[DocumentPart]:
        if self._message is not None or self._levels or not segment[2]:
            raise broken_interchange(
                f"{segment.where}: a ship notice has one BSN, before all HL and with a number"
            )
        # The shipment's number, and not those of the interchange: a notice that is sent again
        # comes in a new one.
        called = f"x12:{self._envelope.sender}:856:{segment[2]}"
        self._message = Message(
            called,
            called,
            self._envelope.numbers,
            segment[1],
            X12_PURPOSES,
            segment.where,
            is_test=self._envelope.is_test,
        )
        yield from self._message.begin()

    def _open(self, segment: X12Segment) -> None:
        number, parent, kind = segment[1], segment[2], segment[3]
        if number in self._levels:
            raise broken_interchange(f"{segment.where}: two HL have the number {clip(number)}")
        above = self._levels.get(parent) if parent else self._set
        problem = (
            None
            if above is not None
            else f"HL {clip(number)} hangs on HL {clip(parent)}, which no HL before it is: ask its "
            "sender for the notice with its HL in order."
        )
        self._level = _Level(above, problem)
        self._is_item, self._hl = kind == "I", segment
        if not self._is_item or segment[4] == "1":
            if len(self._levels) >= _MAX_LEVELS:
                raise broken_interchange(f"{segment.where}: there are more than {_MAX_LEVELS} HL")
            self._levels[number] = self._level

    def _flush(self) -> Iterator[DocumentPart]:
        """Yield the line that has ended."""
        lin, sn1, level = self._lin, self._sn1, self._level
        self._lin = self._sn1 = None
        at = sn1 or lin or (self._hl if self._is_item else None)
        if at is None:
            self._is_item = False
            return
        self._is_item = False
        if self._message is None:
            raise broken_interchange(f"{at.where}: the ship notice has no BSN before its lines")
        line: MovedLine | OtherLine | RefusedLine
        try:
            line = self._line(at, lin, sn1, level)
        except CannotRead as problem:
            line = RefusedLine(where=at.where, number=str(at.number), sentence=str(problem))
        yield self._message.judged(line)

    def _line(
        self, at: X12Segment, lin: X12Segment | None, sn1: X12Segment | None, level: _Level
    ) -> MovedLine | OtherLine:
        if sn1 is None:
            raise CannotRead("The line has no SN1, which says how many: ask its sender.")
        if lin is None:
            raise CannotRead("The line has no LIN, which says of what: ask its sender.")
        item = item_of(numbers_of_lin(lin))
        what = f"{sn1.where}, SN102"
        quantity = decimal_of(sn1[2], what)
        unit = x12_unit(sn1[3], f"{sn1.where}, SN103")
        if quantity < 0:
            raise CannotRead(f"A quantity of {quantity} cannot leave ({what}): ask its sender.")
        if not quantity:
            return OtherLine(
                where=at.where, number=str(at.number), rule="A quantity of 0 moves nothing."
            )
        for one in level.up():
            if one.problem:
                raise CannotRead(one.problem)
        place = next((one.place for one in level.up() if one.place is not None), None)
        if place is None:
            raise CannotRead(
                "No N1*SF above the line says where the goods left from: ask its sender for it."
            )
        moment = next((one.moment for one in level.up() if one.moment is not None), (None, None))
        for problem in (place, moment):
            if isinstance(problem, CannotRead):
                raise problem
        assert isinstance(place, ForeignName)
        assert isinstance(moment, tuple)
        return MovedLine(
            where=at.where,
            number=str(at.number),
            movement=Movement.DISPATCHED,
            item=item,
            place=place,
            quantity=quantity,
            unit=unit,
            time=moment[0],
            day=moment[1],
            reference=next((one.order for one in level.up() if one.order), None),
        )


def numbers_of_lin(lin: X12Segment) -> list[tuple[str, str]]:
    """Return the item's numbers: pairs of qualifier and number from LIN02 on."""
    elements = lin.elements
    return [(elements[i], elements[i + 1]) for i in range(1, len(elements) - 1, 2)]


def place_of_n1(segment: X12Segment) -> ForeignName:
    """Name the place of an N1, by its name where it has no number.

    Raises:
        CannotRead: it has neither, or the number is wrong.
    """
    if not segment[4] and segment[2]:
        return x12_place("name", segment[2])
    return x12_place(segment[3], segment[4])


def _place_of(segment: X12Segment) -> ForeignName | CannotRead:
    try:
        return place_of_n1(segment)
    except CannotRead as problem:
        return problem


def _moment_of(segment: X12Segment) -> tuple[str | None, str | None] | CannotRead:
    try:
        return x12_moment(segment[2], segment[3], segment[4], segment.where)
    except CannotRead as problem:
        return problem
