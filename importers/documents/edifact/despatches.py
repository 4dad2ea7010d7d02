"""EDIFACT DESADV, a despatch advice: what left a place. That it came is said by others (RECADV).

Only QTY 12 directly below a line moves anything. A quantity per pack (59) or of a package, a place
or a batch of the line says again what that one says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from importers.documents.edifact.elements import (
    Item,
    LocalMoment,
    moment_of,
    place_of_party,
    quantity_of,
)
from importers.documents.edifact.interchanges import EdifactSegment
from importers.documents.envelopes import MessageEnvelope, broken_interchange
from importers.documents.port import (
    DocumentPart,
    ForeignName,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
)
from importers.documents.purposes import EDIFACT_PURPOSES, Message
from importers.documents.values import CannotRead, clip, rec20_unit

_DESPATCHED: Final = "12"
_FREE: Final = "192"
#: Of a DTM: when it was despatched.
_WHEN: Final = "11"
#: What begins a group below a line, so that its QTY are parts of the line's.
_PARTS: Final = ("LOC", "SGP", "PCI", "DGS", "QVR")


class DespatchAdvice:
    """Reads one message."""

    def __init__(self, envelope: MessageEnvelope) -> None:
        self._envelope = envelope
        self._message: Message | None = None
        self._from: ForeignName | CannotRead | None = None
        self._supplier: ForeignName | CannotRead | None = None
        self._moment: LocalMoment | CannotRead = (None, None)
        self._item: Item | None = None
        self._is_below = False
        self._has_lines = False
        self._quantities: list[EdifactSegment] = []

    def take(self, segment: EdifactSegment) -> Iterator[DocumentPart]:
        """Yield what the message is known to say with this segment."""
        name = segment.name
        if name == "BGM":
            yield from self._begin(segment)
        elif self._message is None and name not in ("UNH",):
            raise broken_interchange(
                f"{segment.where}: the despatch advice does not begin with BGM"
            )
        elif name in ("LIN", "CPS", "CNT", "UNT"):
            yield from self._flush()
            self._has_lines = self._has_lines or name in ("LIN", "CPS")
            if name == "LIN":
                self._item = Item(segment)
        elif name == "PIA" and self._item is not None:
            self._item.add(segment)
        elif name == "QTY":
            yield from self._take_quantity(segment)
        elif name == "NAD" and not self._has_lines:
            if segment.at(1) == "SF":
                self._from = place_of_party(segment)
            elif segment.at(1) == "SU":
                self._supplier = place_of_party(segment)
        elif name == "DTM" and not self._has_lines and segment.at(1, 1) == _WHEN:
            self._moment = moment_of(segment)
        elif name in _PARTS and self._item is not None:
            self._is_below = True

    def _begin(self, bgm: EdifactSegment) -> Iterator[DocumentPart]:
        if self._message is not None or not bgm.at(2):
            raise broken_interchange(f"{bgm.where}: a despatch advice has one BGM with its number")
        # The advice's number, and not those of the interchange: one that is sent again comes in a
        # new one.
        called = f"edifact:{self._envelope.sender}:DESADV:{bgm.at(2)}"
        self._message = Message(
            called,
            called,
            self._envelope.numbers,
            bgm.at(3),
            EDIFACT_PURPOSES,
            bgm.where,
            is_test=self._envelope.is_test,
        )
        yield from self._message.begin()

    def _take_quantity(self, qty: EdifactSegment) -> Iterator[DocumentPart]:
        kind = qty.at(1, 1)
        if self._item is not None and not self._is_below and kind in (_DESPATCHED, _FREE):
            self._quantities.append(qty)
            return
        assert self._message is not None
        rule = (
            f"QTY {clip(kind)} is not what was despatched (12)."
            if self._item is not None and not self._is_below
            else "The quantity is of a package or a part of a line, which the line has in whole."
        )
        yield self._message.judged(OtherLine(where=qty.where, number=str(qty.number), rule=rule))

    def _flush(self) -> Iterator[DocumentPart]:
        """Yield the line that has ended."""
        item, quantities = self._item, self._quantities
        self._item, self._quantities, self._is_below = None, [], False
        if item is None or self._message is None:
            return
        at = quantities[0] if len(quantities) == 1 else item.lin
        line: MovedLine | OtherLine | RefusedLine
        try:
            line = self._line(item, quantities, at)
        except CannotRead as problem:
            line = RefusedLine(where=at.where, number=str(at.number), sentence=str(problem))
        yield self._message.judged(line)

    def _line(
        self, item: Item, quantities: list[EdifactSegment], at: EdifactSegment
    ) -> MovedLine | OtherLine:
        kinds = [one.at(1, 1) for one in quantities]
        if _FREE in kinds:
            raise CannotRead(
                "The line has goods free of charge (192), and nothing says whether the quantity "
                "despatched (12) has them in it: ask its sender."
            )
        if len(quantities) != 1:
            raise CannotRead(
                f"The line has {len(quantities)} quantities despatched (QTY 12) and not one: ask "
                "its sender which holds."
            )
        (qty,) = quantities
        name = item.name()
        quantity = quantity_of(qty)
        unit = rec20_unit(qty.at(1, 3), qty.where)
        if quantity < 0:
            raise CannotRead(
                f"A quantity of {quantity} cannot leave ({qty.where}): ask its sender."
            )
        if not quantity:
            return OtherLine(
                where=at.where, number=str(at.number), rule="A quantity of 0 moves nothing."
            )
        # Where the goods leave from is said only if that is not the supplier's own place.
        place = self._from if self._from is not None else self._supplier
        if place is None:
            raise CannotRead(
                "No NAD+SF or NAD+SU says where the goods left from: ask its sender for it."
            )
        for problem in (place, self._moment):
            if isinstance(problem, CannotRead):
                raise problem
        assert isinstance(place, ForeignName)
        assert isinstance(self._moment, tuple)
        return MovedLine(
            where=at.where,
            number=str(at.number),
            movement=Movement.DISPATCHED,
            item=name,
            place=place,
            quantity=quantity,
            unit=unit,
            time=self._moment[0],
            day=self._moment[1],
        )
