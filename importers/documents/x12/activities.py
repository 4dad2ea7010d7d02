"""X12 852, product activity: what was sold and what lies there, side by side for each item.

QS, QU and QR are flows, QA and QE say what lies there; QP, QI and QO are plans. They must never be
added up, and nor must QTY, which says the sum of some of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from importers.documents.envelopes import MessageEnvelope, broken_interchange
from importers.documents.port import (
    Document,
    DocumentPart,
    ForeignName,
    LevelLine,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
)
from importers.documents.values import (
    CannotRead,
    clip,
    decimal_of,
    item_of,
    x12_place,
    x12_unit,
)
from importers.documents.x12.interchanges import X12Segment
from importers.documents.x12.moments import x12_moment
from importers.documents.x12.shipnotices import numbers_of_lin, place_of_n1

_FLOWS: Final = {"QS": Movement.SOLD, "QU": Movement.RETURNED, "QR": Movement.RECEIVED}
_LEVELS: Final = ("QA", "QE")
_PLANS: Final = {"QP": "is on order", "QI": "is on its way", "QO": "was missing"}
#: Whose N1 says where the activity was; of several before the same lines the first here counts.
_REPORTING: Final = ("RL", "SN", "ST", "WH", "BY")
_MAX_PAIRS: Final = 100_000
#: Unit, whose numbers, ten pairs, and a location.
_SDQ_ELEMENTS: Final = 23


class ProductActivity:
    """Reads one transaction set."""

    def __init__(self, envelope: MessageEnvelope) -> None:
        self._envelope = envelope
        self._day: tuple[str | None, str | None] | CannotRead = CannotRead(
            "No XQ before the line says which day it is of: ask its sender for it."
        )
        self._place: ForeignName | CannotRead | None = None
        self._rank = len(_REPORTING)
        self._is_fresh = True
        self._lin: X12Segment | None = None
        self._has_activity = True
        self._za: X12Segment | None = None
        #: Segment, position in it, and elements: qualifier, store and quantity, and unit.
        self._pairs: list[tuple[X12Segment, int, str, str]] = []
        #: An SDQ with more than it can have.
        self._overlong: X12Segment | None = None

    def take(self, segment: X12Segment) -> Iterator[DocumentPart]:
        """Yield what the set is known to say with this segment."""
        name = segment.name
        if name == "ST":
            yield Document(
                identity=self._envelope.identity,
                where=segment.where,
                is_test=self._envelope.is_test,
            )
        elif name == "SDQ":
            yield from self._take_pairs(segment)
        elif name == "QTY":
            yield OtherLine(
                where=segment.where,
                number=str(segment.number),
                rule="QTY in an 852 says again what its ZA say, as a sum or a remark.",
            )
        elif name in ("LIN", "ZA", "N1", "XPO", "XQ", "CTT", "SE"):
            yield from self._flush()
            if name == "ZA":
                self._za, self._has_activity, self._is_fresh = segment, True, False
            elif name in ("LIN", "CTT", "SE"):
                yield from self._end_of_item()
                if name == "LIN":
                    self._lin, self._has_activity, self._is_fresh = segment, False, False
            elif name == "XQ":
                self._day = _day_of(segment)
            else:
                self._take_place(segment)

    def _take_place(self, segment: X12Segment) -> None:
        if segment.name == "XPO":
            if segment[4]:
                self._place, self._rank, self._is_fresh = _named(segment[3], segment[4]), -1, True
            return
        if segment[1] not in _REPORTING:
            return
        rank = _REPORTING.index(segment[1])
        # Behind lines, an N1 begins those of another place, whatever it is there.
        if not self._is_fresh or rank < self._rank:
            try:
                self._place = place_of_n1(segment)
            except CannotRead as problem:
                self._place = problem
            self._rank = rank
        self._is_fresh = True

    def _take_pairs(self, segment: X12Segment) -> Iterator[DocumentPart]:
        if self._za is None:
            yield _refused(segment, 0, "An SDQ stands behind no ZA, which says what it counts.")
            return
        elements = segment.elements
        if any(elements[_SDQ_ELEMENTS:]):
            self._overlong = segment
        for position in range(2, min(len(elements), 22), 2):
            store = elements[position]
            quantity = elements[position + 1] if position + 1 < len(elements) else ""
            if store or quantity:
                self._pairs.append((segment, position // 2, store, quantity))
        if len(self._pairs) > _MAX_PAIRS:
            raise broken_interchange(f"{segment.where}: a ZA has more than {_MAX_PAIRS} stores")

    def _end_of_item(self) -> Iterator[DocumentPart]:
        if self._lin is not None and not self._has_activity:
            yield _refused(self._lin, 0, "The item has no ZA, which says what happened to it.")
        self._lin = None

    def _flush(self) -> Iterator[DocumentPart]:
        """Yield the lines of the ZA that has ended: one for each store, or one."""
        za, pairs = self._za, self._pairs
        self._za, self._pairs = None, []
        if za is None:
            return
        try:
            self._check_sum(za, pairs)
        except CannotRead as problem:
            for segment, position, _, _ in pairs or [(za, 0, "", "")]:
                yield _refused(segment, position, str(problem))
            return
        if not pairs:
            here = self._place or CannotRead(
                "No N1, XPO or SDQ says which store it is: ask its sender for one."
            )
            yield self._line(za, za, 0, here, za[2], za[3])
        for segment, position, store, quantity in pairs:
            if za[3] and segment[1] and za[3] != segment[1]:
                sentence = (
                    f"ZA counts in {clip(za[3])} and its SDQ in {clip(segment[1])}: ask which."
                )
                yield _refused(segment, position, sentence)
                continue
            place = _named(segment[2], store)
            yield self._line(za, segment, position, place, quantity, segment[1] or za[3])

    def _check_sum(self, za: X12Segment, pairs: list[tuple[X12Segment, int, str, str]]) -> None:
        """See that the stores' quantities are the total, which is never added to them."""
        overlong, self._overlong = self._overlong, None
        if overlong is not None:
            raise CannotRead(
                f"The SDQ at {overlong.where} has more than the ten pairs and one location that "
                "it can have: ask its sender for the others in an SDQ of their own."
            )
        if pairs and za[2]:
            total = decimal_of(za[2], f"{za.where}, ZA02")
            found = sum(
                (decimal_of(pair[3], f"{pair[0].where}, store {clip(pair[2])}") for pair in pairs),
                Decimal(0),
            )
            if found != total:
                raise CannotRead(
                    f"ZA says {total} in all, and the stores of its SDQ have {found}: ask its "
                    "sender which holds."
                )

    def _line(
        self,
        za: X12Segment,
        at: X12Segment,
        position: int,
        place: ForeignName | CannotRead,
        quantity: str,
        unit: str,
    ) -> MovedLine | LevelLine | OtherLine | RefusedLine:
        number, where = _number(at, position), _where(at, position)
        if plan := _PLANS.get(za[1]):
            rule = f"{za[1]} says what {plan}, which is not there and did not move."
            return OtherLine(where=where, number=number, rule=rule)
        try:
            return self._known(za, number, where, place, quantity, unit)
        except CannotRead as problem:
            return RefusedLine(where=where, number=number, sentence=str(problem))

    def _known(
        self,
        za: X12Segment,
        number: str,
        where: str,
        place: ForeignName | CannotRead,
        quantity: str,
        unit: str,
    ) -> MovedLine | LevelLine | OtherLine:
        if za[1] not in _FLOWS and za[1] not in _LEVELS:
            raise CannotRead(
                f"ZA01 is {clip(za[1])}, and read here are "
                f"{', '.join((*_FLOWS, *_LEVELS, *_PLANS))}: ask its sender what it counts."
            )
        if self._lin is None:
            raise CannotRead("No LIN before the line says of which item it is: ask its sender.")
        item = item_of(numbers_of_lin(self._lin))
        amount = decimal_of(quantity, where)
        measure = x12_unit(unit, where)
        # ZA may have a day of its own; else it is that of the report, or the last of its days.
        moment = x12_moment(za[5], "", "", f"{za.where}, ZA05") if za[5] else self._day
        for problem in (place, moment):
            if isinstance(problem, CannotRead):
                raise problem
        assert isinstance(place, ForeignName)
        assert isinstance(moment, tuple)
        movement = _FLOWS.get(za[1])
        if movement is None:
            if amount < 0:
                raise CannotRead(f"{amount} cannot lie anywhere ({za[1]}): ask its sender.")
            return LevelLine(
                where=where, number=number, item=item, place=place, quantity=amount,
                unit=measure, time=moment[0], day=moment[1],
            )  # fmt: skip
        if not amount:
            return OtherLine(where=where, number=number, rule="A quantity of 0 moves nothing.")
        if amount < 0:
            if movement is not Movement.SOLD:
                raise CannotRead(
                    f"{za[1]} of {amount} is below 0, and it is not known what that would be: ask "
                    "its sender."
                )
            movement = Movement.RETURNED  # more came back than was sold
        return MovedLine(
            where=where, number=number, movement=movement, item=item, place=place,
            quantity=abs(amount), unit=measure, time=moment[0], day=moment[1],
        )  # fmt: skip


def _day_of(xq: X12Segment) -> tuple[str | None, str | None] | CannotRead:
    try:
        return x12_moment(xq[3] or xq[2], "", "", xq.where)
    except CannotRead as problem:
        return problem


def _named(qualifier: str, code: str) -> ForeignName | CannotRead:
    try:
        return x12_place(qualifier, code)
    except CannotRead as problem:
        return problem


def _number(at: X12Segment, position: int) -> str:
    return f"{at.number}.{position}" if position else str(at.number)


def _where(at: X12Segment, position: int) -> str:
    return f"{at.where}, pair {position}" if position else at.where


def _refused(at: X12Segment, position: int, sentence: str) -> RefusedLine:
    return RefusedLine(where=_where(at, position), number=_number(at, position), sentence=sentence)
