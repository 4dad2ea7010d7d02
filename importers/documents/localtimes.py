"""What a clock on a wall said, made an instant by the zone it hangs in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAY_CHARS = 10
_MINUTE = re.compile(r":[0-5][0-9]:[0-5][0-9](?:\.[0-9]{6})?")


def zone_of(name: str) -> ZoneInfo:
    """The zone of an IANA name such as Europe/Berlin; raises ValueError with the remedy."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            f"{name[:60]!a} is no time zone that this machine knows: use a name such as "
            "Europe/Berlin, and install tzdata where even that is not known"
        ) from None


def instant_of(local: str, zone: ZoneInfo) -> str:
    """As RFC 3339 with Z.

    Args:
        local: YYYY-MM-DDTHH:MM:SS, or YYYY-MM-DD for the moment at which that day began.
        zone: of the clock. Of an hour that comes twice, the first is taken.

    Raises:
        ValueError: this clock never said so; the text says it, without a full stop.
    """
    # Neighbours are of the same hour, and a zone takes long to ask.
    if len(local) > _DAY_CHARS and _is_minute(local[13:]) and (hour := _hour(local[:13], zone)):
        return f"{hour}{local[13:]}Z"
    return _exactly(local, zone)


@lru_cache(maxsize=4096)
def _is_minute(text: str) -> bool:
    return _MINUTE.fullmatch(text) is not None


@lru_cache(maxsize=4096)
def _hour(local: str, zone: ZoneInfo) -> str | None:
    """Which hour of UTC it is, if all of its minutes are the same there."""
    try:
        first, last = (_exactly(f"{local}{minute}", zone) for minute in (":00:00", ":59:59"))
    except ValueError:
        return None
    hour = first[:13]
    return hour if (first, last) == (f"{hour}:00:00Z", f"{hour}:59:59Z") else None


def _exactly(local: str, zone: ZoneInfo) -> str:
    try:
        moment = datetime.fromisoformat(local)
        instant = moment.replace(tzinfo=zone).astimezone(UTC)
        back = instant.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError):
        raise ValueError(f"{local!a} is no day of a calendar") from None
    # A day may begin at 01:00; then it is the instant at which the clock would have said 00:00.
    if back != moment and len(local) > _DAY_CHARS:
        raise ValueError(
            f"{local} never was in {zone}, where the clock was put forward: check the zone"
        )
    return f"{instant.replace(tzinfo=None).isoformat()}Z"
