"""Records of the source topics, as they came."""

from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

#: (offset, timestamp in ms since the epoch by the broker, key, value, headers).
#: A plain tuple: one is built per event, and a Struct would cost three times as much.
Record: TypeAlias = tuple[int, int, bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


class Address(Struct, frozen=True):
    """Where records came from.

    topic: full name, with the prefix.
    role: what events call it: shipments, sales or adjustments.
    partition: 0 to `partitions` - 1.
    partitions: how many each source topic has.
    """

    topic: str
    role: str
    partition: int
    partitions: int
