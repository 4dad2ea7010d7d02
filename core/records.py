"""Records of the source topics, as they came."""

import hashlib
import zlib
from collections.abc import Sequence
from typing import Final, TypeAlias

from msgspec import Struct

#: Name and content of each, in their order; a name may come twice.
Headers: TypeAlias = Sequence[tuple[str, bytes | None]]

#: (offset, timestamp in ms since the epoch by the broker, key, value, headers).
#: A plain tuple: one is built per event, and a Struct would cost three times as much.
#: A header's name that is not UTF-8 has its bytes as Python's surrogate escapes.
Record: TypeAlias = tuple[int, int, bytes | None, bytes | None, Headers]

#: Largest record that may be applied, as `size_of` counts it.
MAX_RECORD_BYTES: Final = 2**20
#: What a header counts besides its name and value: at least its two lengths, so that no record
#: counts more than it takes in a batch.
_HEADER_BYTES: Final = 2


class TooLarge(bytes):
    """Stands for the value of a record that is too large: its size and hash, as text."""


def too_large(size: int, sha256: str) -> TooLarge:
    """What stands for a record: how many bytes its key and value have, and their SHA-256."""
    return TooLarge(f"{size} {sha256}".encode())


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of a record, wherever it stands: its framing depends on its batch."""
    size = len(key or b"") + len(value or b"")
    for name, content in headers:
        # A name of any bytes counts these: each escape stands for one.
        size += len(name.encode(errors="surrogateescape")) + len(content or b"") + _HEADER_BYTES
    return size


def as_kept(record: Record, limit: int) -> Record:
    """The record, or what stands for one of more bytes: position, time, size and hash."""
    offset, time_ms, key, value, headers = record
    if size_of(key, value, headers) <= limit:
        return record
    content = (key or b"") + (value or b"")
    return offset, time_ms, None, too_large(len(content), hashlib.sha256(content).hexdigest()), ()


def crc_of(record: Record) -> int:
    """CRC-32 of key and value: tells a record from another one at the same offset."""
    _, _, key, value, _ = record
    return zlib.crc32(value or b"", zlib.crc32(key or b""))


class Address(Struct, frozen=True):
    """Where records came from.

    topic: full name, with the prefix.
    role: what the projection calls it, such as shipments, sales or adjustments.
    partition: 0 to `partitions` - 1.
    partitions: how many each source topic has.
    """

    topic: str
    role: str
    partition: int
    partitions: int
