"""Times as the world reads them."""

import time
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

# What the schema says and decoding (of another worker's rows) need not check.
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]

_LAST_MS = 253_402_300_799_999


# To write a number with its zeros takes longer than to look it up.
_MINUTES = tuple(f"{number:02d}:" for number in range(60))
_SECONDS = tuple(f"{number:02d}." for number in range(60))
_MILLISECONDS = tuple(f"{number:03d}Z" for number in range(1000))


# Rows of a shop are of few hours and of many seconds.
@lru_cache(maxsize=4096)
def _until_the_hour(hours: int) -> str:
    return "{:04d}-{:02d}-{:02d}T{:02d}:".format(*time.gmtime(hours * 3600)[:4])


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as `2026-11-23T10:00:00.123Z`."""
    if not 0 <= ms <= _LAST_MS:
        # A heartbeat may tell any number; beyond the year 9999 there is no such text.
        ms = min(max(ms, 0), _LAST_MS)
    s, ms = divmod(ms, 1000)
    hour, minute, second = _until_the_hour(s // 3600), _MINUTES[s // 60 % 60], _SECONDS[s % 60]
    return f"{hour}{minute}{second}{_MILLISECONDS[ms]}"
