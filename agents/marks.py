"""How far each bridge has come, as the topic of documents remembers.

A mark is written in the transaction of what it stands for, and is the truth. The offsets of
the consumer group are not: Kafka forgets them when a bridge stands still for a week.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from tables.home.letters import committed_reader
from wire import clients
from wire.fetch import end_offsets, fetch, stored

_POLL_S = 0.2
_AT_ONCE = 5_000
_CLOSE_S = 2.0


class Mark(msgspec.Struct, frozen=True):
    """Where a bridge goes on in one partition.

    topic: that it reads. topic_id: Kafka's id of it. next: offset of the next record.
    """

    topic: str
    topic_id: str
    next: int


def mark_key(bridge: str, partition: int) -> bytes:
    """Under which a bridge's mark of a partition is kept."""
    return f"bridge/{bridge}/{partition}".encode()


class Marks:
    """Reads the marks of one bridge; each time only what is new.

    Args:
        kafka: keyword arguments of an aiokafka client.
        topic: of documents; it has one partition.
        bridge: whose marks.
    """

    def __init__(self, kafka: Mapping[str, Any], topic: str, bridge: str) -> None:
        self._kafka, self._tp = kafka, TopicPartition(topic, 0)
        self._prefix = mark_key(bridge, 0).removesuffix(b"0")
        self._consumer: AIOKafkaConsumer | None = None
        self._found: dict[int, Mark] = {}
        self._next = 0
        self._turn = asyncio.Lock()

    async def stop(self) -> None:
        """Close its connections."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await clients.close(consumer, _CLOSE_S)

    async def read(self, partition: int) -> Mark | None:
        """The newest committed mark of a partition; None: there never was one.

        The caller has initialised the partition's transactional id: whatever was written by it
        is committed or aborted by now. Waits while another's transaction is open there.

        Raises:
            KafkaError: try again.
            Unreadable: somebody must look at the topic.
        """
        async with self._turn:
            consumer = await self._started()
            end = (await end_offsets(consumer, [self._tp], committed=False))[self._tp]
            while self._next < end:
                for tp, part in (await fetch(consumer, _POLL_S, _AT_ONCE)).items():
                    if part.error is not None:
                        raise part.error
                    for record in stored(tp, part):
                        self._note(record.key, record.value)
                    self._next = part.next_offset
            return self._found.get(partition)

    async def beginning(self, tp: TopicPartition) -> int:
        """The first offset of a partition that is still there. Raises KafkaError."""
        consumer = await self._started()
        found: dict[TopicPartition, int] = await consumer.beginning_offsets([tp])
        return found[tp]

    async def end(self, tp: TopicPartition, *, committed: bool = True) -> int:
        """The offset behind the last record of a partition, as `end_offsets` means it.

        Raises KafkaError.
        """
        consumer = await self._started()
        return (await end_offsets(consumer, [tp], committed=committed))[tp]

    async def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = committed_reader(self._kafka)
            try:
                await clients.start(consumer)
                consumer.assign([self._tp])
                consumer.seek(self._tp, self._next)
            except BaseException:
                await clients.close(consumer, _CLOSE_S)
                raise
            self._consumer = consumer
        return self._consumer

    def _note(self, key: bytes | None, value: bytes | None) -> None:
        if key is None or value is None or not key.startswith(self._prefix):
            return
        number = key.removeprefix(self._prefix)
        if number.isdigit():
            self._found[int(number)] = msgspec.json.decode(value, type=Mark)
