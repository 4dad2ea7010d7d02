"""Days and times of X12, which have a zone only where it says Greenwich."""

from __future__ import annotations

from importers.documents.values import CannotRead, clip, day_of, time_of_day

_UTC = ("GM", "UT", "Z")


def x12_moment(date: str, time: str, zone: str, what: str) -> tuple[str | None, str | None]:
    """Return the instant, or else what the local clock said: one of them is None.

    Args:
        date: CCYYMMDD or YYMMDD.
        time: HHMM or longer, or "".
        zone: element 623.
        what: the segment, for the sentence.

    Raises:
        CannotRead: there is no such day or time.
    """
    if not date:
        raise CannotRead(f"{clip(date)} in {what} is no day: ask its sender for the day.")
    day = day_of(date, what)
    if not time:
        return None, day
    local = f"{day}T{time_of_day(time, what)}"
    return (f"{local}Z", None) if zone in _UTC else (None, local)
