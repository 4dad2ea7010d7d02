"""Consumers as ours are, and looks into what they hold."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from core.records import Record
from dev.kafka import Kafka
from dev.workers import until
from tests.support.topics.logs import Put, Writer, make
from wire.batches import pieces
from wire.fetch import Fetched, fetch

WAIT_S = 60.0
_LZ4 = 3


def as_sent(records: Sequence[Record]) -> bytes:
    """One record batch, as a broker sends it."""
    if not records:
        return b""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=_LZ4,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=2**30,
    )
    base = records[0][0]
    for offset, time_ms, key, value, headers in records:
        assert builder.append(offset - base, time_ms, key, value, list(headers))
    return base.to_bytes(8) + bytes(builder.build()[8:])


def records_of(part: Fetched) -> list[Record]:
    return list(chain.from_iterable(pieces(part.data, part.start)))


@asynccontextmanager
async def a_consumer(
    kafka: Kafka, *topics: str, at: int = 0, **settings: Any
) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap,
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        isolation_level="read_committed",
        fetch_max_wait_ms=50,
        **settings,
    )
    await consumer.start()
    try:
        tps = [TopicPartition(topic, 0) for topic in topics]
        consumer.assign(tps)
        for tp in tps:
            consumer.seek(tp, at)
        yield consumer
    finally:
        await consumer.stop()


async def take(consumer: AIOKafkaConsumer, limit: int = 5000) -> Fetched:
    """The next part of the only partition."""
    parts = await fetch(consumer, WAIT_S, limit)
    (part,) = parts.values()
    return part


async def read(consumer: AIOKafkaConsumer, end: int, limit: int = 5000) -> list[Fetched]:
    """Parts up to an end offset."""
    parts: list[Fetched] = []
    async with asyncio.timeout(WAIT_S):
        while not parts or parts[-1].next_offset < end:
            parts.append(await take(consumer, limit))
    return parts


async def buffered(consumer: AIOKafkaConsumer, topic: str) -> None:
    """Wait until the prefetch holds something of the topic that nobody has taken."""

    async def held() -> bool:
        return TopicPartition(topic, 0) in consumer._fetcher._records

    await until(held, "buffered", WAIT_S, every_s=0.005)


async def has_waiter(consumer: AIOKafkaConsumer) -> None:
    """Wait until somebody waits in a fetch."""

    async def waits() -> bool:
        return bool(consumer._fetcher._fetch_waiters)

    await until(waits, "waited for", WAIT_S, every_s=0.005)


def some(first: int, count: int) -> list[Put]:
    return [Put(b"k%d" % n, b"v%d" % n) for n in range(first, first + count)]


def two_batches(kafka: Kafka) -> str:
    """A topic of offsets 0 to 9 and 10 to 19."""
    name = make(kafka.bootstrap)
    writer = Writer(kafka.bootstrap)
    writer.write(name, some(0, 10))
    writer.write(name, some(10, 10))
    return name
