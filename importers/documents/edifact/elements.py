"""Composite elements of EDIFACT that several messages have: moments, items, places, quantities."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from importers.documents.edifact.interchanges import EdifactSegment
from importers.documents.port import ForeignName
from importers.documents.values import (
    CannotRead,
    clip,
    day_of,
    decimal_of,
    edifact_place,
    item_of,
    time_of_day,
)

LocalMoment = tuple[str | None, str | None]

#: Forms of element 2379: digits of the day, of the time, and whether a zone of three letters
#: follows. Of a period the last day counts.
_FORMS: Final = {
    "101": (6, 0, False), "102": (8, 0, False),
    "201": (6, 4, False), "203": (8, 4, False), "204": (8, 6, False),
    "301": (6, 4, True), "303": (8, 4, True), "304": (8, 6, True),
}  # fmt: skip
_PERIODS: Final = {"711": (16, 8), "718": (17, 9)}
_UTC: Final = ("UTC", "GMT")


def moment_of(dtm: EdifactSegment) -> LocalMoment | CannotRead:
    """Return the instant, or else what the local clock said: one is None; or why it is neither."""
    try:
        return _moment(dtm.at(1, 2), dtm.at(1, 3), dtm.where)
    except CannotRead as problem:
        return problem


def _moment(text: str, form: str, what: str) -> LocalMoment:
    if form in _PERIODS:
        length, start = _PERIODS[form]
        if len(text) != length:
            raise CannotRead(f"{clip(text)} in {what} is no period of days: ask its sender.")
        day_of(text[:8], what)
        return None, day_of(text[start:], what)
    if form not in _FORMS:
        raise CannotRead(
            f"{what} has the form {clip(form)}, and read here are "
            f"{', '.join((*_FORMS, *_PERIODS))} (element 2379): ask its sender for one."
        )
    day_digits, time_digits, has_zone = _FORMS[form]
    zone = text[day_digits + time_digits :]
    if not re.fullmatch("[A-Z]{3}" if has_zone else "", zone):
        raise CannotRead(f"{clip(text)} in {what} has not the form {form}: ask its sender.")
    day = day_of(text[:day_digits], what)
    if not time_digits:
        return None, day
    time = time_of_day(text[day_digits : day_digits + time_digits], what)
    return (f"{day}T{time}Z", None) if zone in _UTC else (None, f"{day}T{time}")


def quantity_of(qty: EdifactSegment) -> Decimal:
    """Read element 6060, whose decimal mark the interchange says.

    Raises:
        CannotRead: it is no number with that mark.
    """
    text = qty.at(1, 2)
    for mark in qty.marks:
        if text.count(mark) == 1:
            return decimal_of(text.replace(mark, "."), qty.where)
    if "." in text:  # not this interchange's mark: 1.000 may be a thousand
        raise CannotRead(
            f"The quantity {clip(text)} in {qty.where} has a point, and UNA says that decimals "
            f"begin with {clip(qty.marks)}: ask its sender which number it is."
        )
    return decimal_of(text, qty.where)


def place_of_party(segment: EdifactSegment) -> ForeignName | CannotRead:
    """Name the place of a NAD or LOC, whose element 2 has code and agency; or why it cannot."""
    try:
        return edifact_place(segment.at(2, 1), segment.at(2, 3))
    except CannotRead as problem:
        return problem


class Item:
    """The numbers that a LIN and its PIA give to an item."""

    def __init__(self, lin: EdifactSegment) -> None:
        self.lin = lin
        self._own = [(lin.at(3, 2), lin.at(3, 1))]
        self._main: list[tuple[str, str]] = []
        self._more: list[tuple[str, str]] = []

    def add(self, pia: EdifactSegment) -> None:
        """Take in a PIA: code 5 is the item's number, 1 a further one.

        All others are of another item: that which was ordered and this one replaces (4), that
        which may replace it (2, 3), the one before or after it (6, 7, …).
        """
        if pia.at(1) not in ("1", "5"):
            return
        to = self._main if pia.at(1) == "5" else self._more
        to += [(pia.at(at, 2), pia.at(at, 1)) for at in range(2, len(pia.elements) + 1)]

    def name(self) -> ForeignName:
        """Return the item: what LIN says, else PIA with 5, else PIA with 1.

        Only a number of the buyer or seller in LIN gives way to a GTIN in PIA.

        Raises:
            CannotRead: there is no number, or a wrong one.
        """
        for numbers in (self._own, self._main, self._more):
            if any(code for _, code in numbers):
                first = item_of(numbers)
                if first.scheme == "gtin":
                    return first
                break
        else:
            return item_of([])
        every = [pair for pair in (*self._own, *self._main, *self._more) if pair[1]]
        best = item_of(every)
        return best if best.scheme == "gtin" else first
