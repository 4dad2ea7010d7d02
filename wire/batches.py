"""Kafka's record batches, read whatever is in them: what a broker took must end no worker.

aiokafka's reader is quick, and made for what clients usually send. It is used wherever it
can be; what it cannot read, or could only read by unpacking a gigabyte at once, is read
step by step, in bounded pieces (`wire/unpacking.py`).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, TypeAlias

import cramjam
from aiokafka.errors import CorruptRecordException, UnsupportedCodecError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from core.records import MAX_RECORD_BYTES, Record, TooLarge, as_kept, size_of
from wire.codecs import NONE, Damaged, unpack_whole
from wire.framing import (
    ATTRIBUTES_AT,
    CODEC,
    HEAD_BYTES,
    TODAY,
    Packed,
    Unreadable,
    next_batch,
    unreadable,
)
from wire.unpacking import Plain, read_records

# For those who read batches.
__all__ = [
    "PIECE_BYTES",
    "PIECE_RECORDS",
    "UNUSUAL",
    "Packed",
    "Unreadable",
    "aborts",
    "batches",
    "next_batch",
    "pieces",
    "records",
    "slowly",
]

#: Records that are handed on together: decoded, and then folded, in about 1.5 ms.
PIECE_RECORDS = 500
#: A piece that holds so many bytes is handed on at once.
PIECE_BYTES = 2**20
#: A batch is unpacked at once if it has at most so many bytes then, else bit by bit.
WHOLE_BYTES = 16 * 2**20
#: No record of a changelog is larger: its batches have at most 4 MiB.
_LARGEST_KEPT = 16 * 2**20
#: What a record takes in memory besides.
_OVERHEAD: Final = 256
#: What a codec, by its number, makes of a byte at most. Of zstd, and of those not known,
#: nobody can say.
_RATIOS: Final = (1, 1032, 64, 255, *(2**40,) * 4)
#: To how much a small batch was unpacked is not told: by codec, a byte counts as so many, which
#: is far more than it usually becomes and a small part of what it can.
_WEIGHTS: Final = (1, 32, 4, 16, *(1,) * 4)
#: Of what follows a batch's offset: length, format and the byte with the codec.
_QUICK_HEAD: Final = struct.Struct(">i4xB5xB").unpack_from
#: Records, bytes unpacked for them, and how many records make a piece.
_Part: TypeAlias = tuple[list[Record], int, int]
_NO_MORE: Final[tuple[_Part, ...]] = (([], 0, PIECE_RECORDS),)
#: A marker's type, behind its version.
_ABORT: Final = 0
#: What aiokafka's reader and its codecs say of a header's name that is not UTF-8, or of damage:
#: `slowly` can tell them apart.
UNUSUAL: Final = (
    *(ValueError, OSError, EOFError, struct.error, zlib.error),
    *(CorruptRecordException, UnsupportedCodecError, cramjam.DecompressionError),
)


def aborts(marker: Packed) -> bool:
    """Whether its producer's transaction, if it was open, ended with an abort.

    A control batch that compaction has emptied counts too: it was a transaction's marker, and
    behind it none of the producer's is open. One of an unknown kind does not.
    """
    if not marker.count:
        return True
    try:
        found = next(read_records(marker, marker.base_offset, MAX_RECORD_BYTES), None)
    except Damaged:
        return False
    key = found.key if found is not None else None
    return key is not None and len(key) >= 4 and int.from_bytes(key[2:4]) == _ABORT


def _quickly(batch: Packed) -> tuple[Any, int] | None:
    """Aiokafka's reader of it and its bytes unpacked; None: too many, or an old format."""
    if batch.format != TODAY:
        return None
    if batch.codec == NONE:
        return DefaultRecordBatch(batch.raw), len(batch.raw)
    found = unpack_whole(batch.codec, batch.body, WHOLE_BYTES, HEAD_BYTES)
    if found is None:
        return None
    buffer, size = found
    buffer[:HEAD_BYTES] = batch.raw[:HEAD_BYTES]
    buffer[ATTRIBUTES_AT] &= 0xFF ^ CODEC
    return DefaultRecordBatch(buffer[: HEAD_BYTES + size]), size


def records(batch: Packed, start: int) -> Iterable[Any]:
    """All records from an offset on, with `offset`, `timestamp`, `key`, `value`, `headers`.

    Raises:
        UNUSUAL: while iterating; `slowly` helps.
        Unreadable: it cannot be read, or holds what no writer of ours writes.
    """
    found = _quickly(batch)
    if found is None:
        return slowly(batch, start)
    # The broker answers with the whole batch that holds the offset asked for.
    whole = batch.base_offset >= start
    return found[0] if whole else (r for r in found[0] if r.offset >= start)


def slowly(batch: Packed, start: int) -> Iterator[Plain]:
    """The same for any header; a record of more than 16 MiB is Unreadable."""
    try:
        for record in read_records(batch, start, _LARGEST_KEPT):
            if record is not None:
                if isinstance(record.value, TooLarge):
                    raise Damaged("it holds a record of more than 16 MiB")
                yield record
    except Damaged as error:
        raise unreadable(batch.base_offset, str(error)) from error


def batches(data: bytes) -> Iterator[Packed]:
    """Whole record batches, each checked when its turn comes.

    Raises:
        Unreadable: here, or from here on.
    """
    at = 0
    while at < len(data):
        batch = next_batch(data, at)
        if batch is None:
            raise unreadable(-1, "it was cut short")
        batch.check()
        yield batch
        at += len(batch.raw)


def pieces(
    data: bytes, start: int, limit: int = MAX_RECORD_BYTES, spent: list[int] | None = None
) -> Iterator[list[Record]]:
    """Records from an offset on, some hundreds together and of bounded size.

    A piece may be empty: it took long to get on, and the loop should have its turn.

    Args:
        data: whole record batches.
        start: first offset wanted.
        limit: a record of more bytes is represented (`core.records.TooLarge`). By itself,
            so what a record is does not depend on its neighbours.
        spent: its only number grows by the bytes that were unpacked, as far as is known.

    Raises:
        Unreadable: what came before was handed on.
    """
    piece: list[Record] = []
    size = at = 0
    reading, take = _Reading(data, start, limit), MemoryRecords(data).next_batch
    small = [limit // ratio for ratio in _RATIOS]
    while at < len(data):
        # Thin traffic is many batches of a record or two: what is done for each counts.
        held = len(piece)
        parts: Iterable[_Part] = _NO_MORE
        try:
            length, magic, codec = _QUICK_HEAD(data, at + 8)
            nbytes, codec = 12 + length, codec & CODEC
            batch = take()
            if (
                batch is not None
                and magic == TODAY
                and nbytes <= small[codec]
                and batch.validate_crc()
            ):
                for r in batch:
                    piece.append((r.offset, r.timestamp, r.key, r.value, r.headers))
                size += nbytes * _WEIGHTS[codec]
                if batch.base_offset < start:
                    piece[held:] = [record for record in piece[held:] if record[0] >= start]
                if len(piece) < PIECE_RECORDS and size < PIECE_BYTES:
                    at += nbytes
                    continue
            else:
                parts = reading.parts(at, held)
        except UNUSUAL:
            del piece[held:]
            parts = reading.parts(at, held)
        for more, spent_bytes, most in parts:
            piece += more
            size += spent_bytes
            if len(piece) < most and size < PIECE_BYTES:
                continue
            if spent is not None:
                spent[0] += size
            while len(piece) > PIECE_RECORDS:
                yield piece[:PIECE_RECORDS]
                piece = piece[PIECE_RECORDS:]
            if len(piece) >= most or size >= PIECE_BYTES:
                yield piece
                piece = []
            size = 0
        if reading.failed is not None:
            yield piece
            raise reading.failed
        at += nbytes
    if spent is not None:
        spent[0] += size
    yield piece


class _Reading:
    """Reads batches that are not small and usual part by part, the quick way while it goes.

    failed: why the last batch could not be read to its end.
    """

    def __init__(self, data: bytes, start: int, limit: int) -> None:
        self._data, self._start, self._limit, self._at = data, start, limit, start
        self.failed: Unreadable | None = None

    def parts(self, at: int, held: int) -> Iterator[_Part]:
        """Records of the batch at a place, bytes unpacked for them, and how many make a piece."""
        try:
            batch = next_batch(self._data, at)
            if batch is None:
                raise unreadable(self._at, "it was cut short")
            batch.check()
            found = _quickly(batch)
            if found is not None:
                try:
                    yield from self._quick_parts(batch, *found, held)
                    return
                except UNUSUAL:
                    pass  # the rest of this batch is read slowly
            yield from self._slow_parts(batch)
        except Unreadable as error:
            self.failed = error

    def _quick_parts(self, batch: Packed, reader: Any, nbytes: int, held: int) -> Iterator[_Part]:
        start, limit, most, spent = self._start, self._limit, PIECE_RECORDS, nbytes
        if nbytes > PIECE_BYTES:
            most = max(1, min(most, batch.count * PIECE_BYTES // nbytes))
        quick = chain(reader)  # aiokafka's can be made an iterator only once
        while part := [
            (r.offset, r.timestamp, r.key, r.value, r.headers)
            for r in islice(quick, max(1, most - held))
        ]:
            self._at = part[-1][0] + 1
            if part[0][0] < start:
                part = [record for record in part if record[0] >= start]
            if nbytes > limit:
                part = [as_kept(record, limit) for record in part]
            yield part, spent, most
            held = spent = 0

    def _slow_parts(self, batch: Packed) -> Iterator[_Part]:
        try:
            for record in read_records(batch, max(self._start, self._at), self._limit):
                if record is None:
                    yield [], PIECE_BYTES, PIECE_RECORDS
                else:
                    nbytes = size_of(record.key, record.value, record.headers) + _OVERHEAD
                    yield [record], nbytes, PIECE_RECORDS
        except Damaged as error:
            raise unreadable(batch.base_offset, str(error)) from error
