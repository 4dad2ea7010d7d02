"""Times in cells, read by the one form that a map declares and by no other."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from core.lately import Lately
from importers.documents.localtimes import instant_of
from importers.documents.sheets.cells import MOMENT
from importers.mapfile import quoted

#: What may stand behind a % in a form, as in strptime, and what a cell has there.
_PARTS: Final = {
    "Y": r"\d{4}",
    "m": r"\d\d?",
    "d": r"\d\d?",
    "H": r"\d\d?",
    "I": r"\d\d?",
    "M": r"\d\d?",
    "S": r"\d\d?",
    "f": r"\d{1,9}",
    "p": r"[AaPp]\.?[Mm]\.?",
    "z": r"[Zz]|[+-]\d\d:?\d\d",
}
_HOUR_CHARS: Final = len("2026-11-23T10")
#: For people; a fraction of the second may stand there too.
_RFC3339: Final = "%Y-%m-%dT%H:%M:%S%z"
_RFC3339_PATTERN: Final = re.compile(
    r"(?P<Y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[Tt ](?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
    r"(?:\.(?P<f>\d{1,9}))?(?P<z>[Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
#: The form of cells that Excel keeps as moments.
EXCEL_TIME: Final = "excel"
_EXCEL_PATTERN: Final = re.compile(
    rf"{MOMENT}(?P<Y>\d{{4}})-(?P<m>\d\d)-(?P<d>\d\d)T(?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)"
    r"(?:\.(?P<f>\d{1,9}))?",
    re.ASCII,
)
#: Of a day from 1955 to 2173, perhaps with the time of day behind it.
SERIAL: Final = re.compile(r"[2-9]\d{4}(?:[.,]\d+)?", re.ASCII)
_NAMED = re.compile(r"%(.)")
#: Of a cell that ends with its minute, or with its second, each such end.
_MINUTES: Final = frozenset(f":{minute:02}" for minute in range(60))
_ENDS: Final = {
    "%H:%M": _MINUTES,
    "%H:%M:%S": frozenset(minute + second for minute in _MINUTES for second in _MINUTES),
}
#: An instant, or else what the clock said; see `MovedLine`.
CellTime: TypeAlias = tuple[str | None, str | None]


class FormError(ValueError):
    """A form that cannot be; the text has no full stop."""


def time_reader(form: str, zone: ZoneInfo | None) -> Callable[[str], CellTime]:
    """A reader of cells.

    Args:
        form: as of strptime, of the parts above; or `rfc3339`, or `excel`.
        zone: of the clock, unless the form has %z.

    Returns:
        Gives the time of a cell. Raises ValueError with what is wrong, without a full stop.

    Raises:
        FormError: there is no such form.
    """
    if form == "rfc3339":
        form, pattern = _RFC3339, _RFC3339_PATTERN
    elif form == EXCEL_TIME:
        pattern = _EXCEL_PATTERN
    else:
        pattern = _pattern_of(form)
    has_offset = "%z" in form
    has_hour = form == EXCEL_TIME or "%H" in form or "%I" in form

    def read(cell: str) -> CellTime:
        found = pattern.fullmatch(cell)
        if found is None:
            raise ValueError(_other_than(form, cell))
        parts = found.groupdict()
        moment = _moment(parts)
        if has_offset:
            return f"{_in_utc(moment, parts['z']).isoformat()}Z", None
        local = moment.isoformat() if has_hour else moment.date().isoformat()
        return (None, local) if zone is None else (instant_of(local, zone), None)

    ends = next((ends for end, ends in _ENDS.items() if form.endswith(end)), None)
    return read if ends is None else _by_the_hour(read, ends)


def _by_the_hour(
    read: Callable[[str], CellTime], ends: frozenset[str]
) -> Callable[[str], CellTime]:
    """The same reader, which reads each hour once: what else is in a cell is then known.

    Args:
        read: reads all of a cell.
        ends: what stands behind the hour, one of them.
    """
    chars = len(min(ends))
    seconds = "" if chars > len(":00") else ":00"

    def moment_of(instant: str | None, local: str | None, end: str) -> CellTime:
        if instant is not None:
            return f"{instant}{end}{seconds}Z", None
        return None, f"{local}{end}{seconds}"

    def hour(cell: str) -> CellTime | None:
        """Of its first moment, cut behind the hour; None: its minutes are not those of one."""
        try:
            first, last = read(cell + min(ends)), read(cell + max(ends))
        except ValueError:
            return None
        instant, local = (text and text[:_HOUR_CHARS] for text in first)
        for found, end in ((first, min(ends)), (last, max(ends))):
            if found != moment_of(instant, local, end):
                return None
        return instant, local

    hours = Lately(hour)

    def quick(cell: str) -> CellTime:
        end = cell[-chars:]
        if end not in ends or (found := hours[cell[:-chars]]) is None:
            return read(cell)
        return moment_of(*found, end)

    return quick


def _other_than(form: str, cell: str) -> str:
    if SERIAL.fullmatch(cell):
        return (
            f"is {quoted(cell)}, the number that a spreadsheet keeps for a date: give the column "
            "the format of a date, and export it again"
        )
    if form == EXCEL_TIME:
        return (
            f"is {quoted(cell)}, a text and no date of Excel's: it makes dates of those texts that "
            "it can read, perhaps with day and month changed over, so look at the others as well"
        )
    if cell[:1] == MOMENT:
        return (
            f'is a date of Excel, and time_form in the map is for texts: set it to "{EXCEL_TIME}" '
            "if all cells of the column are dates"
        )
    return f"is {quoted(cell)}, not of the form {form}: correct it, or time_form in the map"


def _pattern_of(form: str) -> re.Pattern[str]:
    names = _NAMED.findall(form)
    if unknown := [name for name in names if name not in _PARTS]:
        known = " ".join(f"%{name}" for name in _PARTS)
        raise FormError(f"has %{unknown[0]}: known are {known}")
    if missing := [f"%{name}" for name in "Ymd" if name not in names]:
        raise FormError(f"has no {missing[0]}: a time needs its whole day, %Y %m %d in some order")
    if len(names) != len(set(names)):
        raise FormError("has a part twice")
    if ("I" in names) != ("p" in names) or ("H" in names and "I" in names):
        raise FormError("has an hour of twelve (%I) without %p, or %p without it")
    hours = "H" in names or "I" in names
    if (set("MSfz") & {*names}) and not (hours and "M" in names):
        raise FormError("has a part of the time of day, but not its hour and minute")
    pieces = _NAMED.split(form)  # text, name, text, name, …, text
    texts, named = pieces[::2], pieces[1::2]
    pattern = re.escape(texts[0])
    for at, name in enumerate(named):
        # Without a sign between them, only digits of a known number can be told apart.
        before = at > 0 and not texts[at]
        behind = not texts[at + 1] and at + 1 < len(named)
        digits = _PARTS[name]
        if (before or behind) and digits == r"\d\d?":
            digits = r"\d\d"
        pattern += f"(?P<{name}>{digits}){re.escape(texts[at + 1])}"
    return re.compile(pattern, re.ASCII)


def _moment(parts: dict[str, str]) -> datetime:
    hour = int(parts.get("H") or parts.get("I") or 0)
    if "p" in parts:
        if not 1 <= hour <= 12:
            raise ValueError("is no time of a clock with twelve hours")
        hour = hour % 12 + (12 if parts["p"][0] in "Pp" else 0)
    fraction = (parts.get("f") or "").ljust(6, "0")[:6]
    try:
        day = date(*map(int, (parts["Y"], parts["m"], parts["d"])))
        at = time(hour, int(parts.get("M") or 0), int(parts.get("S") or 0), int(fraction))
        return datetime.combine(day, at)
    except ValueError:
        raise ValueError("is no day or time that there is") from None


def _in_utc(moment: datetime, offset: str) -> datetime:
    if offset in "Zz":
        return moment
    hours, minutes = int(offset[1:3]), int(offset[-2:])
    if hours > 23 or minutes > 59:
        raise ValueError("has an offset that no clock has")
    ahead = timedelta(hours=hours, minutes=minutes) * (-1 if offset[0] == "-" else 1)
    try:
        return moment.replace(tzinfo=timezone(ahead)).astimezone(UTC).replace(tzinfo=None)
    except OverflowError:
        raise ValueError("is of no year from 1 to 9999") from None
