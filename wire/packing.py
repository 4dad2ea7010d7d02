"""Record batches whose headers have names of any bytes, as strangers send them.

aiokafka's builder takes names that are UTF-8. This one has its four methods, is slower, and is
used only where such a record must be kept as it came.
"""

from __future__ import annotations

import struct
import time
from typing import Final

import cramjam
from aiokafka.record.util import calc_crc32c

from core.records import Headers

_HEAD: Final = struct.Struct(">qiibIhiqqqhii")
_AFTER_LENGTH: Final = 12
_FORMAT: Final = 2
_CRC_BEGINS, _CRC_ENDS = 17, 21
_ZSTD, _TRANSACTIONAL = 0x04, 0x10


def is_escaped(name: str) -> bool:
    """Whether a header's name came as bytes that are not UTF-8."""
    return not name.isascii() and any("\ud800" <= letter <= "\udfff" for letter in name)


class AnyHeaders:
    """A batch of a transaction of at most `limit` bytes before compression, by zstd."""

    def __init__(self, limit: int) -> None:
        self._limit, self._body, self._count = limit, bytearray(), 0
        self._first_ms = self._greatest_ms = 0
        self._producer = -1, -1, -1

    def append(
        self, offset: int, time_ms: int | None, key: bytes | None, value: bytes | None,
        headers: Headers,
    ) -> int | None:  # fmt: skip
        """Add a record, `offset` of the batch; None, and nothing added, where it is full."""
        time_ms = int(time.time() * 1000) if time_ms is None else time_ms
        if not self._count:
            self._first_ms = self._greatest_ms = time_ms
        record = bytearray(b"\x00")
        _number(record, time_ms - self._first_ms)
        _number(record, offset)
        _content(record, key)
        _content(record, value)
        _number(record, len(headers))
        for name, content in headers:
            _content(record, name.encode(errors="surrogateescape"))
            _content(record, content)
        if self._count and _HEAD.size + len(self._body) + len(record) + 5 > self._limit:
            return None
        self._greatest_ms = max(self._greatest_ms, time_ms)
        _number(self._body, len(record))
        self._body += record
        self._count += 1
        return offset

    def set_producer_state(self, producer_id: int, epoch: int, sequence: int) -> None:
        """Say whose batch it is, and its first record's sequence number."""
        self._producer = producer_id, epoch, sequence

    def size(self) -> int:
        """Bytes before compression."""
        return _HEAD.size + len(self._body)

    def build(self) -> bytearray:
        """The batch, whole."""
        body = bytes(cramjam.zstd.compress(bytes(self._body)))
        batch = bytearray(
            _HEAD.pack(
                0, _HEAD.size - _AFTER_LENGTH + len(body), -1, _FORMAT, 0, _ZSTD | _TRANSACTIONAL,
                self._count - 1, self._first_ms, self._greatest_ms, *self._producer, self._count,
            )
        )  # fmt: skip
        batch += body
        crc = calc_crc32c(bytes(batch[_CRC_ENDS:]))
        batch[_CRC_BEGINS:_CRC_ENDS] = crc.to_bytes(4)
        return batch


def _number(into: bytearray, number: int) -> None:
    """Kafka's varint: zigzag, seven bits to a byte."""
    raw = number << 1 if number >= 0 else (-number << 1) - 1
    while raw > 0x7F:
        into.append(raw & 0x7F | 0x80)
        raw >>= 7
    into.append(raw)


def _content(into: bytearray, content: bytes | None) -> None:
    if content is None:
        into.append(1)
        return
    _number(into, len(content))
    into += content
