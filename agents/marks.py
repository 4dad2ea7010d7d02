"""How far each bridge has come, as the topic of documents remembers.

A mark is written in the transaction of what it stands for, and is the truth. The offsets of
the consumer group are not: Kafka forgets them when a bridge stands still for a week.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from aiokafka import TopicPartition

from agents.committed import CommittedReader
from wire.fetch import Stored


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
        self._reader, self._tp = CommittedReader(kafka), TopicPartition(topic, 0)
        self._prefix = mark_key(bridge, 0).removesuffix(b"0")
        self._found: dict[int, Mark] = {}
        self._next = 0

    async def stop(self) -> None:
        """Close its connections."""
        await self._reader.stop()

    async def read(self, partition: int) -> Mark | None:
        """The newest committed mark of a partition; None: there never was one.

        The caller has initialised the partition's transactional id: whatever was written by it
        is committed or aborted by now. Waits while another's transaction is open there.

        Raises:
            KafkaError: try again.
            Unreadable: somebody must look at the topic.
        """
        self._next = await self._reader.read(self._tp, self._note, self._next)
        return self._found.get(partition)

    async def beginning(self, tp: TopicPartition) -> int:
        """The first offset of a partition that is still there. Raises KafkaError."""
        return await self._reader.beginning(tp)

    async def end(self, tp: TopicPartition, *, committed: bool = True) -> int:
        """The offset behind the last record of a partition, as `end_offsets` means it.

        Raises KafkaError.
        """
        return (await self._reader.ends([tp], committed=committed))[tp]

    def _note(self, record: Stored) -> None:
        key, value = record.key, record.value
        if key is None or value is None or not key.startswith(self._prefix):
            return
        number = key.removeprefix(self._prefix)
        if number.isdigit():
            self._found[int(number)] = msgspec.json.decode(value, type=Mark)
