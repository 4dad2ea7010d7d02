"""How a number is shown: as a day, with zeros before it, or with signs that are not its own."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Final

import msgspec

#: Formats that have a number only, and are days or times: ECMA-376 part 1, 18.8.30.
_DATES: Final = frozenset((*range(14, 23), *range(27, 37), 45, 47, *range(50, 59)))
#: The others of those, as far as more can be said than that they are plain numbers.
_UNLIKE: Final = frozenset((9, 10, 12, 13, 46, 48))
#: What is no part of a number: [Red], [$-409], texts in quotes or behind a \, the width of a sign.
_COLOURS = re.compile(r"\[[^\]]*\]|[_*].")
_LITERALS = re.compile(r'"[^"]*"|\\.')
_PLAIN = re.compile(r"general|@|[#,?]*(0*)(?:\.[0#?]+)?(?:e\+0+)?", re.IGNORECASE)
_ELAPSED = re.compile(r"\[[hms]+\]", re.IGNORECASE)
_MAX_PADDED: Final = 20
_MAX_FORMAT_CHARS: Final = 512
#: Day 0 of both systems. In the first, every day behind day 60, which never was, is one too far.
_OF_1900: Final = datetime(1899, 12, 30)  # noqa: DTZ001  a wall clock
_OF_1904: Final = datetime(1904, 1, 1)  # noqa: DTZ001
_NEVER_WAS: Final = 60
#: 9999-12-31 in the first system.
_LAST_DAY: Final = 2_958_465


class CellForm(msgspec.Struct, frozen=True):
    """How a cell shows its number.

    is_date: as a day or a time. digits: at least so many, with zeros before. is_plain: nothing
    else is shown than the number itself.
    """

    is_date: bool = False
    digits: int = 0
    is_plain: bool = True


def form_of(number: int, code: str | None) -> CellForm:
    """The form of a number format.

    Args:
        number: of the format.
        code: as the workbook writes it; None: it is one of those that have no code.
    """
    if code is None:
        return CellForm(is_date=number in _DATES, is_plain=number not in _UNLIKE)
    code = code[:_MAX_FORMAT_CHARS]
    has_literals = bool(re.sub(r"\s", "", "".join(_LITERALS.findall(code)).replace("\\", "")))
    shown = _LITERALS.sub("", code).partition(";")[0]
    if _ELAPSED.search(shown):
        return CellForm(is_plain=False)
    shown = _COLOURS.sub("", shown).strip()
    plain = _PLAIN.fullmatch(shown)
    if plain is None:
        return CellForm(is_date=bool(re.search("[dmyhs]", shown, re.IGNORECASE)), is_plain=False)
    zeros = len(plain[1] or "") if "." not in shown and "," not in shown else 0
    return CellForm(digits=min(zeros, _MAX_PADDED), is_plain=not has_literals)


def moment_of_serial(serial: str, *, is_1904: bool) -> str:
    """What a clock showed, of the number that Excel keeps for it.

    Args:
        serial: days since day 0, with the time as their fraction.
        is_1904: the workbook counts from 1904 on.

    Returns:
        YYYY-MM-DDTHH:MM:SS, with a fraction where there is one, to the millisecond as in Excel.

    Raises:
        ValueError: it is no moment; the text has no full stop.
    """
    days = float(serial)
    if not 0 <= days < _LAST_DAY + 1:
        raise ValueError("is a date of a year that Excel does not have")
    if days < 1:
        raise ValueError("is a time of day without its day")
    if is_1904:
        return _at(_OF_1904, days)
    if int(days) == _NEVER_WAS:
        raise ValueError("is 29 February 1900, a day that only Excel has")
    return _at(_OF_1900, days if days > _NEVER_WAS else days + 1)


def _at(first: datetime, days: float) -> str:
    ms = round(days * 86_400_000)
    try:
        moment = first + timedelta(milliseconds=ms)
    except OverflowError:
        raise ValueError("is a date of a year that Excel does not have") from None
    return moment.isoformat()
