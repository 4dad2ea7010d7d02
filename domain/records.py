"""What the transport hands to the fold: records as fetched."""

from collections.abc import Sequence
from typing import TypeAlias

import msgspec

#: (offset, timestamp in ms since the epoch by the broker, key, value, headers).
#: A plain tuple: one is built per event, and a Struct would cost three times as much.
Record: TypeAlias = tuple[int, int, bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


class Batch(msgspec.Struct, gc=False):
    """Consecutive records of one source topic-partition.

    topic: full name, with the prefix.
    start: offset that was asked for; the first record's may be higher.
    next_offset: offset to read after this batch; beyond the last record's where
        transaction markers follow, so a batch without records is progress too.
    nbytes: sum of the values' sizes, for flow control.
    epoch: number of the assignment that it was fetched under.
    """

    topic: str
    partition: int
    records: list[Record]
    start: int
    next_offset: int
    nbytes: int
    epoch: int
