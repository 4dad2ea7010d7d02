"""A slice of the log as columns: what may be folded, and what is refused.

Made by a projection (`core/projection.py`) from the records alone, so that another process
may do it; what needs a partition's memory is the fold (`core/fold.py`).
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.refusals import DeadLetter

#: How each projection's line begins: what the fold itself reads of an event.
#: offset: where it stands. time_ms: when it was recorded. identity: `IDENTITY_BITS` of a hash
#: of what makes it this event and no other. content: 32 bits of a hash of what it says. The
#: last two are 0 in a projection without identity.
HEAD: Final = (
    ("offset", "<i8"),
    ("time_ms", "<i8"),
    ("identity", "<u8"),
    ("content", "<u4"),
)


class Columns(Struct, frozen=True):
    """Consecutive records of one topic-partition, at least one.

    keys: of the rows that the events belong to, or whatever bytes the projection's memory
    needs of each. A record without ids may give several, or none. events: for each key a line,
    by offset; it begins with `HEAD`. refused: the other records, by offset. first, last: offset
    and recorded time, in ms, of the first and
    the last record, whatever became of it. last_crc: CRC-32 of the last one's key and value.
    """

    keys: list[bytes]
    events: NDArray[np.void]
    refused: list[DeadLetter]
    first: tuple[int, int]
    last: tuple[int, int]
    last_crc: int

    @property
    def size(self) -> int:
        """How many events and refused records."""
        return len(self.keys) + len(self.refused)

    def since(self, position: int) -> Columns:
        """Without records below this offset."""
        if self.first[0] >= position:
            return self
        below = int(np.searchsorted(self.events["offset"], position))
        return msgspec.structs.replace(
            self,
            keys=self.keys[below:],
            events=self.events[below:],
            refused=[letter for letter in self.refused if letter.offset >= position],
        )

    def without(self, dropped: Container[int]) -> Columns:
        """Leave out the events at these indexes."""
        kept = [i for i in range(len(self.keys)) if i not in dropped]
        return msgspec.structs.replace(
            self, keys=[self.keys[i] for i in kept], events=self.events[kept]
        )
