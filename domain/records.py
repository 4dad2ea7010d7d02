"""What comes off a topic: records as they were fetched, many at a time.

A record is a plain tuple, since a hundred thousand of them pass each second.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from msgspec import Struct

Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

# (offset, timestamp in ms, key, value, headers), untouched since the broker.
Record: TypeAlias = tuple[int, int, bytes | None, bytes | None, Headers]


class Batch(Struct, frozen=True):
    """Records of one topic-partition, in offset order.

    Attributes:
        topic: full name, with any prefix.
        role: what the topic is for: `shipments`, `sales` or `adjustments`.
        partition: 0 to count - 1.
        records: may be empty, when only transaction markers were fetched.
        next_offset: where reading goes on; past the last record's offset, and
            further where markers follow it.
        nbytes: size as fetched, to bound what waits in memory.
    """

    topic: str
    role: str
    partition: int
    records: Sequence[Record]
    next_offset: int
    nbytes: int = 0

    def slices(self, size: int) -> Iterator["Batch"]:
        """Cut into batches of at most `size` records, together the same as this one."""
        total = len(self.records)
        if total <= size:
            yield self
            return
        for start in range(0, total, size):
            end = start + size
            next_offset = self.records[end][0] if end < total else self.next_offset
            part = self.records[start:end]
            nbytes = self.nbytes * len(part) // total
            yield Batch(self.topic, self.role, self.partition, part, next_offset, nbytes)
