"""Texts of cells made into numbers and names, or refused with the end of a sentence."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from importers.documents.port import ForeignName
from importers.gtins import gtin_of, require_check_digit
from importers.items import ScanRefused
from importers.mapfile import quoted

#: Begins a cell that cannot be read: the end of the sentence that says why. No text has it.
FAULT: Final = "\0"
#: Begins a cell that was kept as a moment and not as a text: what the clock showed.
MOMENT: Final = "\1"
#: That do not break a line: what spreadsheets put between thousands in French, say.
_OTHER_SPACES = dict.fromkeys(map(ord, "\u00a0\u202f"), " ")
_EMPTY: Final = (
    "is empty: fill it in, or leave such rows out by [only] or [not_for_stock] of the map"
)
#: As SAP writes a number below 0, and as accountants do.
_BELOW = re.compile(r"[0-9.,' ]+-|\([0-9.,' ]+\)")
_FLOAT = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE]\+?[0-9]+|[0-9]+[.,]0+")


def quantity_reader(decimal: str, thousands: str) -> Callable[[str], Decimal]:
    """A reader of quantities; raises ValueError with what is wrong, without a full stop."""
    pattern = re.compile(rf"([+-]?)([0-9]{{1,12}})(?:{re.escape(decimal)}([0-9]{{1,6}}))?")
    grouped = re.compile(
        rf"([+-]?)([0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})*)"
        rf"(?:{re.escape(decimal)}([0-9]{{1,6}}))?"
    )

    def read(text: str) -> Decimal:
        if thousands == " ":
            text = text.translate(_OTHER_SPACES)
        found = pattern.fullmatch(text)
        if found is None and thousands:
            found = grouped.fullmatch(text)
        if found is None:
            if not text:
                raise ValueError(_EMPTY)
            if _BELOW.fullmatch(text):
                raise ValueError(
                    f"is {quoted(text)}, which may be below 0: have it exported with the minus "
                    "before the number"
                )
            raise ValueError(
                f"is {quoted(text)}, no number as it is written where decimal is {decimal!r} and "
                f"thousands is {thousands!r} in the map: set these two, or correct it"
            )
        sign, whole, rest = found.groups()
        digits = whole.replace(thousands, "") if thousands else whole
        return Decimal(f"{sign}{digits}.{rest or 0}" if rest else f"{sign}{digits}")

    return read


def name_reader(scheme: str) -> Callable[[str], ForeignName]:
    """A reader of items or places of one scheme; raises ValueError, as above."""

    def read(code: str) -> ForeignName:
        if not code:
            raise ValueError(_EMPTY)
        if len(code) > 128:
            raise ValueError("has more than 128 characters")
        if scheme == "gtin":
            code = _gtin(code)
        elif scheme == "gln":
            _check_gln(code)
        return ForeignName(scheme, code)

    return read


def _gtin(code: str) -> str:
    if _FLOAT.fullmatch(code):
        raise ValueError(
            f"is {quoted(code)}, which a spreadsheet made of a number; its digits are lost: set "
            "the column to text before the numbers come in, and export it again"
        )
    if not code.isascii() or not code.isdigit() or len(code) not in (8, 12, 13, 14):
        raise ValueError(
            f"is {quoted(code)}, no GTIN, which has 8, 12, 13 or 14 digits (a spreadsheet cuts "
            "leading zeros off: export the column as text)"
        )
    try:
        return gtin_of(code)
    except ScanRefused as why:
        raise ValueError(f"is wrong: {str(why).removesuffix('.')}") from None


def _check_gln(code: str) -> None:
    if not code.isascii() or not code.isdigit() or len(code) != 13:
        raise ValueError(f"is {quoted(code)}, no GLN, which has 13 digits")
    try:
        require_check_digit(code, "The GLN")
    except ScanRefused as why:
        raise ValueError(f"is wrong: {str(why).removesuffix('.')}") from None
