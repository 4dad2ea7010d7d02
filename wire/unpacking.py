"""Unpacks record batches in bounded pieces and reads their records byte by byte.

A megabyte may unpack to gigabytes (zstd: thirty thousand to one), and a broker takes it. So
nothing here holds more than a few MiB of it at a time, and a single record that is too large
is read past, hashed and represented. Slow, ten microseconds a record: the usual batch is
read by aiokafka (`wire/batches.py`).
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from core.records import Headers, size_of, too_large
from wire.codecs import Damaged, unpacked
from wire.framing import TODAY, Packed

#: Bytes read past before the caller gets its turn.
_BREATH: Final = 4 * 2**20
#: The lengths in a record take no more than 1/64 of what they tell, and these few bytes.
_FRAMING: Final = 64
_OLD_HEAD: Final = struct.Struct(">qiIbb")
_MS: Final = struct.Struct(">q")
_INT: Final = struct.Struct(">i")


class Plain(NamedTuple):
    """A record, also by name: what aiokafka's have of it. It is a `core.records.Record`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class _Stream:
    """Reads from chunks; holds no more than what is asked for and one chunk."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._held, self._at = iter(chunks), b"", 0

    def _more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise Damaged("it is cut short")
        self._held, self._at = self._held[self._at :] + chunk, 0

    def read(self, size: int) -> bytes:
        if len(self._held) - self._at < size:
            parts = [self._held[self._at :]]
            left = size - len(parts[0])
            self._held, self._at = b"", 0
            while left > 0:
                self._more()
                parts.append(self._held[:left])
                self._at = len(parts[-1])
                left -= self._at
            return b"".join(parts)
        self._at += size
        return self._held[self._at - size : self._at]

    def varint(self) -> tuple[int, int]:
        """A number, and how many bytes it took."""
        raw = shift = taken = 0
        while True:
            byte = self.read(1)[0]
            taken += 1
            raw |= (byte & 0x7F) << shift
            if byte < 0x80:
                return raw >> 1 ^ -(raw & 1), taken
            shift += 7
            if shift > 63:
                raise Damaged("a number in it has no end")

    def passed(self, size: int, see: Callable[[bytes], object]) -> Iterator[None]:
        """Read past so many bytes, which `see` is shown; gives the caller turns meanwhile."""
        since = 0
        while size > 0:
            if self._at == len(self._held):
                self._more()
            part = self._held[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            see(part)
            since += len(part)
            if since >= _BREATH:
                since = 0
                yield None

    def is_at_end(self) -> bool:
        while self._at == len(self._held):
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._held, self._at = chunk, 0
        return False


# ---- records


def read_records(batch: Packed, start: int, limit: int) -> Iterator[Plain | None]:
    """Records from an offset on; None where a turn of the loop is due.

    Args:
        batch: of any format, its checksum right.
        start: first offset wanted.
        limit: in bytes, as `size_of` counts: a larger record is represented by `too_large`.

    Raises:
        Damaged: what came before was handed on.
    """
    records = _read(batch, limit) if batch.format == TODAY else _read_old(batch, limit)
    try:
        for record in records:
            if record is None or record.offset >= start:
                yield record
    except (IndexError, ValueError, struct.error) as error:
        raise Damaged(f"a record in it is damaged ({error})") from error


def _read(batch: Packed, limit: int) -> Iterator[Plain | None]:
    stream = _Stream(unpacked(batch.codec, batch.body))
    first_ms, same_ms = batch.times
    since = 0
    for _ in range(batch.count):
        size, _ = stream.varint()
        if size < 0:
            raise Damaged("a record in it has less than no bytes")
        if size <= limit + limit // 64 + _FRAMING:
            plain, rest = _parsed(stream.read(size), limit)
            since += size
        else:
            stray: list[Plain] = []
            yield from _passed_over(stream, size, stray)
            plain, rest, since = stray[0], 0, 0
        if rest:
            raise Damaged("a record in it is longer than it says")
        time_ms = first_ms + plain.timestamp if same_ms is None else same_ms
        yield plain._replace(offset=batch.base_offset + plain.offset, timestamp=time_ms)
        if since >= _BREATH:
            since = 0
            yield None
    if not stream.is_at_end():
        raise Damaged("it holds more records than it says")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = raw[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number >> 1 ^ -(number & 1), at
        shift += 7
        if shift > 63:
            raise ValueError("a number has no end")


def _parsed(raw: bytes, limit: int) -> tuple[Plain, int]:
    """A record, its offset and timestamp relative to its batch; and how many bytes are left."""

    def content(at: int) -> tuple[bytes | None, int]:
        size, at = _varint(raw, at)
        if size > len(raw) - at:
            raise ValueError("it is cut short")
        return (None, at) if size < 0 else (raw[at : at + size], at + size)

    delta_ms, at = _varint(raw, 1)
    delta, at = _varint(raw, at)
    key, at = content(at)
    value, at = content(at)
    count, at = _varint(raw, at)
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, at = content(at)
        its, at = content(at)
        # Kafka's protocol demands UTF-8 and no broker asks for it: the escapes keep the bytes.
        headers.append(((name or b"").decode(errors="surrogateescape"), its))
    if size_of(key, value, headers) > limit:
        digest = hashlib.sha256((key or b"") + (value or b"")).hexdigest()
        stands = too_large(len(key or b"") + len(value or b""), digest)
        return Plain(delta, delta_ms, None, stands, ()), len(raw) - at
    return Plain(delta, delta_ms, key, value, headers), len(raw) - at


def _passed_over(stream: _Stream, size: int, found: list[Plain]) -> Iterator[None]:
    """Read past a record that is too large; `found` gets what stands for it."""
    digest = hashlib.sha256()
    stream.read(1)
    delta_ms, a = stream.varint()
    delta, b = stream.varint()
    left, kept = size - 1 - a - b, 0
    for _ in ("key", "value"):
        length, taken = stream.varint()
        length = max(0, length)
        if length > left - taken:
            raise Damaged("a record in it is shorter than it says")
        yield from stream.passed(length, digest.update)
        left -= taken + length
        kept += length
    yield from stream.passed(left, lambda headers: None)
    found.append(Plain(delta, delta_ms, None, too_large(kept, digest.hexdigest()), ()))


def _read_old(batch: Packed, limit: int) -> Iterator[Plain | None]:
    """Formats 0 and 1 (before Kafka 0.11): a message, or one whose value is packed messages."""
    offset, _, _, magic, attributes = _OLD_HEAD.unpack_from(batch.raw)
    at = _OLD_HEAD.size + (8 if magic else 0)
    wrapped_ms = _MS.unpack_from(batch.raw, _OLD_HEAD.size)[0] if magic else -1
    if not attributes & 0x07:
        yield from _old_messages(_Stream([batch.raw]), limit, 0, None)
        return
    (key_size,) = _INT.unpack_from(batch.raw, at)
    at += 4 + max(0, key_size)
    (size,) = _INT.unpack_from(batch.raw, at)
    packed = memoryview(batch.raw)[at + 4 : at + 4 + size]
    codec = attributes & 0x07
    base = 0
    if magic:
        # Offsets inside count from the first one, and the outer one is the last's.
        stream, last = _Stream(unpacked(codec, packed)), 0
        while not stream.is_at_end():
            last, length = struct.unpack(">qi", stream.read(12))
            yield from stream.passed(length, lambda message: None)
        base = offset - last
    same_ms = wrapped_ms if attributes & 0x08 else None
    yield from _old_messages(_Stream(unpacked(codec, packed)), limit, base, same_ms)


def _old_messages(
    stream: _Stream, limit: int, base: int, same_ms: int | None
) -> Iterator[Plain | None]:
    since = 0
    while not stream.is_at_end():
        offset, _, _, magic, attributes = _OLD_HEAD.unpack(stream.read(_OLD_HEAD.size))
        if attributes & 0x07:
            raise Damaged("a packed message in it is packed again")
        time_ms = _MS.unpack(stream.read(8))[0] if magic else -1
        contents: list[bytes | None] = []
        digest, kept, is_large = hashlib.sha256(), 0, False
        for _ in ("key", "value"):
            (size,) = _INT.unpack(stream.read(4))
            kept += max(0, size)
            since += max(0, size)
            if kept > limit:
                is_large = True
                for each in contents:
                    digest.update(each or b"")
                contents = []
                yield from stream.passed(max(0, size), digest.update)
            else:
                contents.append(None if size < 0 else stream.read(size))
        if is_large:
            contents = [None, too_large(kept, digest.hexdigest())]
        key, value = contents
        yield Plain(base + offset, time_ms if same_ms is None else same_ms, key, value, ())
        if since >= _BREATH:
            since = 0
            yield None
