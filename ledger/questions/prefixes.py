"""Words for prefixes of the log, for those who ask too: nothing here knows SQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple, TypeAlias

#: First offset that does not count, by number of the topic; one that is not there counts nothing.
Cut: TypeAlias = Mapping[int, int]
#: The same of several partitions, by topic's number and partition.
Cuts: TypeAlias = Mapping[tuple[int, int], int]
#: What a datetime can say.
_FIRST: Final = -62_135_596_800_000_000
_LAST: Final = 253_402_300_799_999_999


def time_text(us: int) -> str:
    """Microseconds since the epoch as RFC 3339, to the millisecond where that says it all."""
    time = datetime(1970, 1, 1) + timedelta(microseconds=min(max(us, _FIRST), _LAST))  # noqa: DTZ001
    return time.isoformat(timespec="microseconds" if us % 1000 else "milliseconds") + "Z"


class NotThatFar(Exception):
    """The ledger has not come so far; the message says how far it has."""


class BeforeHistory(Exception):
    """What was before this ledger's history begins is not known any more.

    begins: from when on it is, µs since the epoch.
    """

    def __init__(self, begins: int) -> None:
        super().__init__(
            f"The history that this ledger keeps begins at {time_text(begins)}; what was before "
            "is in it as one sum for each row."
        )
        self.begins = begins


class Prefix(NamedTuple):
    """Up to where an answer counts.

    cut: by topic's number. occurred: only what happened up to this time, µs since the epoch.
    """

    cut: Cut
    occurred: int | None = None
