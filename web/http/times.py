"""Times as the world reads them."""

import time
from functools import lru_cache
from typing import Annotated

from msgspec import Meta

# What the schema says and decoding (of another worker's rows) need not check.
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]

_LAST_MS = 253_402_300_799_999


_TWO_DIGITS = tuple(f"{number:02d}" for number in range(60))


# Rows of a shop are of few hours and of many seconds.
@lru_cache(maxsize=4096)
def _until_the_hour(hours: int) -> str:
    return "{:04d}-{:02d}-{:02d}T{:02d}:".format(*time.gmtime(hours * 3600)[:4])


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as `2026-11-23T10:00:00.123Z`."""
    # A heartbeat may tell any number; beyond the year 9999 there is no such text.
    hours, rest = divmod(min(max(ms, 0), _LAST_MS), 3_600_000)
    seconds, rest = divmod(rest, 1000)
    minute, second = _TWO_DIGITS[seconds // 60], _TWO_DIGITS[seconds % 60]
    return f"{_until_the_hour(hours)}{minute}:{second}.{rest:03d}Z"
