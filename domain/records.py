"""Records of the source topics, as they came."""

import zlib
from collections.abc import Sequence
from typing import TypeAlias

from msgspec import Struct

#: (offset, timestamp in ms since the epoch by the broker, key, value, headers).
#: A plain tuple: one is built per event, and a Struct would cost three times as much.
Record: TypeAlias = tuple[int, int, bytes | None, bytes | None, Sequence[tuple[str, bytes | None]]]


def crc_of(record: Record) -> int:
    """CRC-32 of key and value: tells a record from another one at the same offset."""
    _, _, key, value, _ = record
    return zlib.crc32(value or b"", zlib.crc32(key or b""))


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
