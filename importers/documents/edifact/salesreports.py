"""EDIFACT SLSRPT, a sales report: what each store sold, took back and has.

A LOC holds for all lines up to the next one, and a store may come again. A sale below 0 is a
return, by the usage of those who send it.
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
    LevelLine,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
)
from importers.documents.purposes import EDIFACT_PURPOSES, Message
from importers.documents.values import CannotRead, clip, rec20_unit

_SOLD: Final = "153"
_RETURNED: Final = ("61", "210")
_STOCK: Final = "145"
_PLACE_OF_SALE: Final = "162"
#: Of a DTM: the day of the sales, else the last day of the report.
_WHEN: Final = ("356", "91")


class SalesReport:
    """Reads one message."""

    def __init__(self, envelope: MessageEnvelope) -> None:
        self._envelope = envelope
        self._message: Message | None = None
        self._place: ForeignName | CannotRead = CannotRead(
            "No LOC before the line says in which store it was: ask its sender for it."
        )
        #: By qualifier: of the report, then of the store.
        self._report: dict[str, LocalMoment | CannotRead] = {}
        self._store: dict[str, LocalMoment | CannotRead] = {}
        self._has_stores = False
        self._item: Item | None = None
        self._has_quantity = True

    def take(self, segment: EdifactSegment) -> Iterator[DocumentPart]:
        """Yield what the message is known to say with this segment."""
        name = segment.name
        if name == "BGM":
            yield from self._begin(segment)
        elif self._message is None and name != "UNH":
            raise broken_interchange(f"{segment.where}: the sales report does not begin with BGM")
        elif name in ("LOC", "LIN", "UNT"):
            yield from self._end_of_item()
            if name == "LIN":
                self._item, self._has_quantity = Item(segment), False
            elif name == "LOC":
                self._take_place(segment)
        elif name == "PIA" and self._item is not None:
            self._item.add(segment)
        elif name == "QTY":
            self._has_quantity = True
            assert self._message is not None
            yield self._message.judged(self._line(segment))
        elif name == "DTM" and segment.at(1, 1) in _WHEN and self._item is None:
            days = self._store if self._has_stores else self._report
            days[segment.at(1, 1)] = moment_of(segment)

    def _begin(self, bgm: EdifactSegment) -> Iterator[DocumentPart]:
        if self._message is not None:
            raise broken_interchange(f"{bgm.where}: a sales report has one BGM")
        envelope = self._envelope
        # Reports of many senders are numbered anew each day: the interchange tells them apart.
        identity = f"{envelope.standard}:{envelope.sender}:{envelope.numbers}"
        called = f"edifact:{envelope.sender}:SLSRPT:{bgm.at(2)}" if bgm.at(2) else identity
        self._message = Message(
            called,
            identity,
            envelope.numbers,
            bgm.at(3),
            EDIFACT_PURPOSES,
            bgm.where,
            is_test=envelope.is_test,
        )
        yield from self._message.begin()

    def _take_place(self, loc: EdifactSegment) -> None:
        self._has_stores, self._store = True, {}
        self._place = (
            place_of_party(loc)
            if loc.at(1) == _PLACE_OF_SALE
            else CannotRead(
                f"The place before the line is {clip(loc.at(1))} and no place of sale (162): ask "
                "its sender which store it was."
            )
        )

    def _end_of_item(self) -> Iterator[DocumentPart]:
        if self._item is not None and not self._has_quantity:
            assert self._message is not None
            lin = self._item.lin
            yield self._message.judged(
                RefusedLine(
                    where=lin.where,
                    number=str(lin.number),
                    sentence="The line has no QTY, which says how many: ask its sender.",
                )
            )
        self._item, self._has_quantity = None, True

    def _line(self, qty: EdifactSegment) -> MovedLine | LevelLine | OtherLine | RefusedLine:
        where, number, kind = qty.where, str(qty.number), qty.at(1, 1)
        if kind not in (_SOLD, *_RETURNED, _STOCK):
            rule = f"QTY {clip(kind)} is neither sold (153), returned (61, 210) nor stock (145)."
            return OtherLine(where=where, number=number, rule=rule)
        try:
            return self._known(qty, kind)
        except CannotRead as problem:
            return RefusedLine(where=where, number=number, sentence=str(problem))

    def _known(self, qty: EdifactSegment, kind: str) -> MovedLine | LevelLine | OtherLine:
        where, number = qty.where, str(qty.number)
        if self._item is None:
            raise CannotRead("No LIN before the line says of which item it is: ask its sender.")
        item = self._item.name()
        quantity = quantity_of(qty)
        unit = rec20_unit(qty.at(1, 3), where)
        days = [
            days[kind] for days in (self._store, self._report) for kind in _WHEN if kind in days
        ]
        moment: LocalMoment | CannotRead = days[0] if days else (None, None)
        for problem in (self._place, moment):
            if isinstance(problem, CannotRead):
                raise problem
        assert isinstance(self._place, ForeignName)
        assert isinstance(moment, tuple)
        if kind == _STOCK:
            if quantity < 0:
                raise CannotRead(f"{quantity} cannot lie anywhere ({where}): ask its sender.")
            return LevelLine(
                where=where, number=number, item=item, place=self._place, quantity=quantity,
                unit=unit, time=moment[0], day=moment[1],
            )  # fmt: skip
        if not quantity:
            return OtherLine(where=where, number=number, rule="A quantity of 0 moves nothing.")
        if kind in _RETURNED and quantity < 0:
            raise CannotRead(
                f"A return of {quantity} is below 0, and it is not known what that would be: ask "
                "its sender."
            )
        sold = kind == _SOLD and quantity > 0
        return MovedLine(
            where=where, number=number, movement=Movement.SOLD if sold else Movement.RETURNED,
            item=item, place=self._place, quantity=abs(quantity), unit=unit, time=moment[0],
            day=moment[1],
        )  # fmt: skip
