"""Unpacks what the codecs of Kafka packed, in chunks of bounded size."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator
from threading import Thread
from typing import Any, Final

import cramjam

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
#: Bytes unpacked at a time.
_CHUNK: Final = 256 * 1024
#: A usual batch unpacks to no more than so many times its size.
_USUAL_RATIO: Final = 32
#: Buffers of `_CHUNK` bytes that nobody uses at the moment.
_spare: Final[list[memoryview]] = []
#: Snappy cannot pack better than 1 : 21.3.
_SNAPPY_RATIO: Final = 64
_XERIAL: Final = b"\x82SNAPPY\x00"
_XERIAL_HEAD: Final = 16
_ZLIB_GZIP: Final = 31
_INT: Final = struct.Struct(">i")


class Damaged(Exception):
    """This is no record batch; the message says why."""


def unpack_whole(
    codec: int, packed: memoryview, limit: int, room: int
) -> tuple[memoryview, int] | None:
    """Unpack at once, behind `room` free bytes; None if it has more bytes than `limit`.

    Also None where it is damaged: `unpacked` says how.
    """
    if codec in (LZ4, ZSTD):
        module = cramjam.lz4 if codec == LZ4 else cramjam.zstd
        usual = min(limit, _USUAL_RATIO * len(packed))
        if usual <= _CHUNK and (found := _through_spare(module, packed, limit, room)) is not None:
            return found
        import numpy as np  # here: `onhand dlq` reads letters too, and should start in 0.3 s

        for size in (usual, limit) if _CHUNK < usual < limit else (limit,):
            buffer = np.empty(room + size, np.uint8).data
            try:
                return buffer, module.decompress_into(packed, buffer[room:])
            except cramjam.DecompressionError:
                continue
        return None
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in unpacked(codec, packed):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit:
                return None
    except Damaged:
        return None
    return memoryview(bytearray(b"".join((bytes(room), *chunks)))), size


def _through_spare(
    module: Any, packed: memoryview, limit: int, room: int
) -> tuple[memoryview, int] | None:
    """The same by a buffer that is kept: new pages cost a small batch half as much again."""
    try:
        spare = _spare.pop()  # at once, so that no other thread has it too
    except IndexError:
        spare = memoryview(bytearray(_CHUNK))
    try:
        size = module.decompress_into(packed, spare[:limit])
        whole = memoryview(bytearray(room + size))
        whole[room:] = spare[:size]
    except cramjam.DecompressionError:
        return None
    finally:
        _spare.append(spare)
    return whole, size


def unpacked(codec: int, packed: memoryview) -> Iterator[bytes]:
    """Unpack in chunks, none larger than a small multiple of what is packed.

    Raises:
        Damaged: the codec is not known, or this is not packed by it.
    """
    if codec == NONE:
        yield from (bytes(packed[at : at + _CHUNK]) for at in range(0, len(packed), _CHUNK))
    elif codec == GZIP:
        yield from _gunzipped(packed)
    elif codec == SNAPPY:
        yield from _unsnapped(packed)
    elif codec == LZ4:
        yield from _through_a_pipe(cramjam.lz4.decompress_into, packed)
    elif codec == ZSTD:
        yield from _through_a_pipe(cramjam.zstd.decompress_into, packed)
    else:
        raise Damaged(f"its codec {codec} is not known")


def _gunzipped(packed: memoryview) -> Iterator[bytes]:
    left = bytes(packed)
    try:
        while left:
            member = zlib.decompressobj(_ZLIB_GZIP)
            while not member.eof:
                chunk = member.decompress(left, _CHUNK)
                left = member.unconsumed_tail
                if chunk:
                    yield chunk
                elif not member.eof:
                    raise Damaged("it is cut short")
            left = member.unused_data
    except zlib.error as error:
        raise Damaged(f"it is not gzip ({error})") from error


def _unsnapped(packed: memoryview) -> Iterator[bytes]:
    if bytes(packed[: len(_XERIAL)]) != _XERIAL:
        yield _unsnapped_block(packed)
        return
    at = _XERIAL_HEAD
    while at < len(packed):
        if at + 4 > len(packed):
            raise Damaged("it is cut short")
        (size,) = _INT.unpack_from(packed, at)
        at += 4
        if not 0 < size <= len(packed) - at:
            raise Damaged("it is cut short")
        yield _unsnapped_block(packed[at : at + size])
        at += size


def _unsnapped_block(block: memoryview) -> bytes:
    try:
        # It says how much it unpacks to, and so much would be set aside for it.
        if cramjam.snappy.decompress_raw_len(block) > _SNAPPY_RATIO * (len(block) + 64):
            raise Damaged("it is not snappy (it says too much of its size)")
        return bytes(cramjam.snappy.decompress_raw(block))
    except cramjam.DecompressionError as error:
        raise Damaged(f"it is not snappy ({error})") from error


def _through_a_pipe(unpack: Callable[[Any, Any], int], packed: memoryview) -> Iterator[bytes]:
    """Let a thread unpack into a pipe, which holds it up until somebody reads.

    cramjam unpacks a whole frame at a time (2.14.0, even its `Decompressor`), but to a file
    it writes as it goes.
    """
    read_end, write_end = os.pipe()
    failed: list[str] = []

    def work() -> None:
        out = None
        try:
            out = cramjam.File(f"/dev/fd/{write_end}", read=False, write=True, truncate=False)
            unpack(packed, out)
        except (cramjam.DecompressionError, OSError) as error:
            failed.append(str(error))
        finally:
            del out  # closes it: the reader sees the end
            os.close(write_end)

    thread = Thread(target=work, name="unpacking", daemon=True)
    thread.start()
    try:
        while chunk := os.read(read_end, _CHUNK):
            yield chunk
    finally:
        os.close(read_end)  # who still writes gets an error
        thread.join()
    if failed:
        raise Damaged(f"it cannot be unpacked ({failed[0]})")
