"""Headers of a record whose names are no UTF-8: confluent-kafka (2.16) cannot give them.

librdkafka, Go and C send any bytes as a name. So the record's batch is fetched once more and read
byte by byte, here and not by the service's own reader: what judges it shares no code with it.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient
from aiokafka.codec import gzip_decode, lz4_decode, snappy_decode, zstd_decode
from aiokafka.protocol.fetch import FetchRequest

Headers = tuple[tuple[str, bytes | None], ...]

_HEAD = struct.Struct(">qiibIhiqqqhii")
_UNPACK: tuple[Callable[[bytes], bytes], ...] = (
    bytes, gzip_decode, snappy_decode, lz4_decode, zstd_decode,
)  # fmt: skip
_LARGEST_BATCH = 16 * 2**20


def headers_at(kafka: str, topic: str, partition: int, offset: int) -> Headers:
    """Of one record; bytes of a name that are no UTF-8 as surrogates. Blocks, in any thread.

    Raises:
        LookupError: no such record.
    """
    fetching = _fetched(kafka, TopicPartition(topic, partition), offset)
    with ThreadPoolExecutor(1) as thread:  # this one may have a loop of its own
        data = thread.submit(asyncio.run, fetching).result()
    for at, headers in _records(data):
        if at == offset:
            return headers
    raise LookupError(f"{topic}-{partition} has no record at {offset}")


async def _fetched(kafka: str, tp: TopicPartition, offset: int) -> bytes:
    client = AIOKafkaClient(bootstrap_servers=kafka)
    await client.bootstrap()
    try:
        await client.set_topics([tp.topic])
        node = client.cluster.leader_for_partition(tp)
        places = [(tp.topic, [(tp.partition, offset, _LARGEST_BATCH)])]
        response = await client.send(node, FetchRequest(500, 1, _LARGEST_BATCH, 0, places))
        [(_, [part])] = response.topics
        return bytes(part[-1] or b"")
    finally:
        await client.close()


def _records(data: bytes) -> Iterator[tuple[int, Headers]]:
    """(offset, headers) of all records of whole batches."""
    at = 0
    while len(data) - at >= _HEAD.size:
        base, length, _, _, _, attributes, *_, count = _HEAD.unpack_from(data, at)
        end = at + 12 + length
        if end > len(data):
            return
        body = _Body(_UNPACK[attributes & 7](data[at + _HEAD.size : end]))
        for _ in range(count):
            delta, headers = body.record()
            yield base + delta, headers
        at = end


class _Body:
    """The records of one batch, unpacked."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def _number(self) -> int:
        raw = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            raw |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (raw >> 1) ^ -(raw & 1)

    def _sized(self) -> bytes | None:
        size = self._number()
        if size < 0:
            return None
        self._at += size
        return self._data[self._at - size : self._at]

    def record(self) -> tuple[int, Headers]:
        """(offset within the batch, headers) of the next one."""
        end = self._number()
        end += self._at
        self._at += 1  # attributes
        self._number()  # time
        delta = self._number()
        self._sized(), self._sized()  # key and value
        named = [(self._sized() or b"", self._sized()) for _ in range(self._number())]
        self._at = end
        return delta, tuple((name.decode(errors="surrogateescape"), its) for name, its in named)
