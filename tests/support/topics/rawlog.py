"""Record batches byte by byte, as any client may send them, and a way to send them."""

import gzip
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cramjam
from aiokafka import TopicPartition
from aiokafka.codec import lz4_encode
from aiokafka.errors import for_code
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.util import calc_crc32c

from wire.transactions import Brokers

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
CONTROL, TRANSACTIONAL = 0x20, 0x10
HEAD = struct.Struct(">qiibIhiqqqhii")


class Raw(NamedTuple):
    """A record, the names of its headers as bytes."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


def varint(number: int) -> bytes:
    raw, out = (number << 1) ^ (number >> 63), bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    return bytes([*out, raw])


def sized(content: bytes | None) -> bytes:
    return varint(-1) if content is None else varint(len(content)) + content


def body(records: Iterable[Raw]) -> bytes:
    found = []
    for n, (key, value, headers) in enumerate(records):
        named = b"".join(sized(name) + sized(content) for name, content in headers)
        record = (
            b"\x00" + varint(0) + varint(n) + sized(key) + sized(value) + varint(len(headers))
        ) + named
        found.append(varint(len(record)) + record)
    return b"".join(found)


def packed(codec: int, content: bytes) -> bytes:
    if codec == GZIP:
        return gzip.compress(content)
    if codec == SNAPPY:
        return bytes(cramjam.snappy.compress_raw(content))
    if codec == LZ4:
        return bytes(lz4_encode(content))  # a broker takes no linked blocks
    return bytes(cramjam.zstd.compress(content)) if codec == ZSTD else content


def framed(
    content: bytes, count: int, *, base: int = 0, attributes: int = 0, time_ms: int = 7,
    producer_id: int = -1, magic: int = 2,
) -> bytes:  # fmt: skip
    """A batch around packed records, its checksum right."""
    head = bytearray(
        HEAD.pack(
            base, HEAD.size - 12 + len(content), 0, magic, 0, attributes, max(0, count - 1),
            time_ms, time_ms, producer_id, 0 if producer_id >= 0 else -1, -1, count,
        )
    )  # fmt: skip
    head[17:21] = calc_crc32c(bytes(head[21:]) + content).to_bytes(4)
    return bytes(head) + content


def a_batch(records: Sequence[Raw], codec: int = NONE, base: int = 0, time_ms: int = 7) -> bytes:
    content = packed(codec, body(records))
    return framed(content, len(records), base=base, attributes=codec, time_ms=time_ms)


def an_old_message(
    key: bytes | None, value: bytes | None, *, offset: int, magic: int, codec: int = NONE
) -> bytes:
    """Of format 0 or 1; with a codec, `value` is packed messages."""
    content = b"".join(
        struct.pack(">i", -1) if each is None else struct.pack(">i", len(each)) + each
        for each in (key, value)
    )
    rest = struct.pack(">bb", magic, codec) + (struct.pack(">q", 5) if magic else b"") + content
    message = struct.pack(">I", zlib.crc32(rest)) + rest
    return struct.pack(">qi", offset, len(message)) + message


async def send(kafka: str, topic: str, batch: bytes, partition: int = 0) -> int:
    """Append a batch; its offset. Raises what the broker says."""
    brokers = Brokers({"bootstrap_servers": kafka}, [topic])
    await brokers.start()
    try:
        node = await brokers.leader(TopicPartition(topic, partition))
        request = ProduceRequest(None, -1, 20_000, [(topic, [(partition, batch)])])
        response = await brokers.client.send(node, request)
        [(_, [(_, code, offset, *_)])] = response.topics
        if code:
            raise for_code(code)
        return int(offset)
    finally:
        await brokers.stop()
