"""How record batches lie one behind the other in what a broker sends, and what each says of itself.

Nothing here reads a record: that is `wire/unpacking.py`, and what everybody uses is
`wire/batches.py`.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from aiokafka.record.util import calc_crc32c
from msgspec import Struct

#: Of all formats: offset, length of what follows; the format's number stands at one place.
_OLD: Final = struct.Struct(">qi")
_LENGTH_ENDS: Final = _OLD.size
FORMAT_AT: Final = 16
#: Today's format, which is 2: offset, length, leader's epoch, format, CRC, attributes, last
#: offset - first, first and greatest timestamp in ms, producer's id, its epoch, first
#: sequence number, count.
_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
TODAY: Final = 2
_CRC_AT, _CRC_ENDS = 17, 21
HEAD_BYTES: Final = _HEAD.size
_LEAST_OLD_BYTES: Final = 26
#: Of the attributes, whose lower byte stands here.
CODEC, _TRANSACTIONAL, _CONTROL = 0x07, 0x10, 0x20
_APPEND_TIME: Final = 0x08
ATTRIBUTES_AT: Final = 22


class Unreadable(Exception):
    """Nobody could read on here; the message says where and what to do."""


def unreadable(offset: int, what: str) -> Unreadable:
    """The batch at an offset cannot be read, because of this."""
    return Unreadable(
        f"The record batch at offset {offset} cannot be read: {what}. If another replica of the "
        "partition is sound, make it the leader; else see docs/runbook.md."
    )


class Packed(Struct, frozen=True, gc=False):
    """One record batch as the broker sent it. Nothing of it is proved before `check`.

    attributes: of old formats the codec alone.
    producer_id: -1 for none.
    count: of its records, as it says; at most.
    """

    raw: bytes
    format: int
    base_offset: int
    next_offset: int
    attributes: int
    producer_id: int
    count: int

    @property
    def is_control(self) -> bool:
        """A marker of a transaction, or what a newer broker may write; never for readers."""
        return bool(self.attributes & _CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Part of a transaction that a marker commits or aborts."""
        return bool(self.attributes & _TRANSACTIONAL)

    @property
    def codec(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; others are not known."""
        return self.attributes & CODEC

    @property
    def body(self) -> memoryview:
        """What is packed: the records of today's format."""
        return memoryview(self.raw)[HEAD_BYTES:]

    @property
    def times(self) -> tuple[int, int | None]:
        """First timestamp in ms; and the one of all records, where the broker's time counts."""
        *_, attributes, _, first_ms, greatest_ms, _, _, _, _ = _HEAD.unpack_from(self.raw)
        return first_ms, greatest_ms if attributes & _APPEND_TIME else None

    def is_sound(self) -> bool:
        """Whether its checksum is right."""
        view = memoryview(self.raw)
        if self.format == TODAY:
            crc = int.from_bytes(self.raw[_CRC_AT:_CRC_ENDS])
            return bool(crc == calc_crc32c(view[_CRC_ENDS:]))
        return int.from_bytes(self.raw[12:16]) == zlib.crc32(view[16:])

    def check(self) -> None:
        """Raise Unreadable unless its checksum is right and its format is known."""
        if not 0 <= self.format <= TODAY:
            raise unreadable(self.base_offset, f"its format {self.format} is not known")
        if not self.is_sound():
            raise unreadable(self.base_offset, "it fails its checksum")


def next_batch(data: bytes, at: int) -> Packed | None:
    """The batch at a place in what was fetched; None where it is not there whole.

    Raises:
        Unreadable: this is no batch.
    """
    if at + _LEAST_OLD_BYTES > len(data):
        return None
    magic = data[at + FORMAT_AT]
    if magic == TODAY and at + HEAD_BYTES <= len(data):
        base, length, _, _, _, attributes, last, _, _, producer_id, _, _, count = _HEAD.unpack_from(
            data, at
        )
        next_offset, least = base + last + 1, HEAD_BYTES - _LENGTH_ENDS
    else:
        base, length = _OLD.unpack_from(data, at)
        next_offset, least = base + 1, _LEAST_OLD_BYTES - _LENGTH_ENDS
        attributes, producer_id, count = data[at + 17] & CODEC, -1, 1
    end = at + _LENGTH_ENDS + length
    if length < least:
        raise unreadable(base, f"it says that it has {length} bytes")
    if end > len(data):
        return None
    return Packed(data[at:end], magic, base, next_offset, attributes, producer_id, count)
