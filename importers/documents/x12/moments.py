"""Days and times of X12, and the zones that it has two letters or digits for (element 623)."""

from __future__ import annotations

from typing import Final

from importers.documents.localtimes import instant_of, zone_of
from importers.documents.values import CannotRead, clip, day_of, rfc3339_of, time_of_day

#: The clock of the place, as without a code.
_LOCAL: Final = ("", "LT")
#: Codes of one offset from UTC, in minutes. `Z` is none of X12's; senders write it all the same.
_OFFSETS: Final = {
    **dict.fromkeys(("UT", "GM", "Z"), 0),
    **{f"{hours:02}": hours * 60 for hours in range(1, 13)},
    **{f"{25 - hours:02}": -hours * 60 for hours in range(1, 13)},
    "25": -150, "26": -210, "27": 330, "28": 570, "29": 630,
    "NS": -210, "ND": -150, "TS": -240, "TD": -180, "ES": -300, "ED": -240,
    "CS": -360, "CD": -300, "MS": -420, "MD": -360, "PS": -480, "PD": -420,
    "AS": -540, "AD": -480, "HS": -600, "HD": -540,
}  # fmt: skip
#: Codes of a clock that is put forward in summer: the day says which offset it had. In the zone of
#: Hawaii and the Aleutians only the islands of Alaska do that; in winter both say the same.
_CLOCKS: Final = {
    "NT": ("America/St_Johns",),
    "TT": ("America/Halifax",),
    "ET": ("America/New_York",),
    "CT": ("America/Chicago",),
    "MT": ("America/Denver",),
    "PT": ("America/Los_Angeles",),
    "AT": ("America/Anchorage",),
    "HT": ("Pacific/Honolulu", "America/Adak"),
}


def x12_moment(date: str, time: str, zone: str, what: str) -> tuple[str | None, str | None]:
    """Return the instant, or else what the local clock said: one of them is None.

    Args:
        date: CCYYMMDD or YYMMDD.
        time: HHMM or longer, or "".
        zone: element 623, or "".
        what: the segment, for the sentence.

    Raises:
        CannotRead: there is no such day, time or zone.
    """
    if not date:
        raise CannotRead(f"{clip(date)} in {what} is no day: ask its sender for the day.")
    day = day_of(date, what)
    if not time:
        return None, day
    local = f"{day}T{time_of_day(time, what)}"
    if zone in _LOCAL:
        return None, local
    if (minutes := _OFFSETS.get(zone)) is not None:
        sign = "-" if minutes < 0 else "+"
        hours, rest = divmod(abs(minutes), 60)
        return rfc3339_of(f"{local}{sign}{hours:02}:{rest:02}"), None
    if zone not in _CLOCKS:
        raise CannotRead(
            f"The time code {clip(zone)} in {what} is no zone that is known here: ask its sender "
            "for one of X12's, such as UT, ES or ED."
        )
    try:
        instants = {instant_of(local, zone_of(name)) for name in _CLOCKS[zone]}
    except ValueError as why:
        raise CannotRead(f"The time in {what} is wrong: {why}. Or ask its sender.") from None
    if len(instants) > 1:
        raise CannotRead(
            f"{local} of the time code {zone} in {what} is summer, when Hawaii and the Aleutians "
            "differ by an hour: ask its sender for HS or HD."
        )
    return instants.pop(), None
