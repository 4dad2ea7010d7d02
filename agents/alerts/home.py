"""The topic of what was told: compacted, without a version, a transactional id per partition.

A message is in the partition of its row. Whoever initialises the partition's transactional id has
the right to write it, and ends the right of everybody before; a commit is then all or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import UnknownTopicOrPartitionError

from agents.alerts.told import ToldAlert
from agents.committed import CommittedReader
from tables.home import rights
from wire.batches import Unreadable
from wire.fetch import Stored
from wire.filling import BatchFiller
from wire.transactions import Brokers, TransactionalProducer

_TRANSACTION_TIMEOUT_MS: Final = 30_000


class KafkaTold:
    """`ToldHome` in a topic.

    Args:
        kafka: keyword arguments of an aiokafka client.
        topic: of what was told; it has as many partitions as the sources.
        transactional_id: of a partition, without a version.
    """

    def __init__(
        self, kafka: Mapping[str, Any], topic: str, transactional_id: Callable[[int], str]
    ) -> None:
        self._topic, self._id_of = topic, transactional_id
        self._brokers, self._reader = Brokers(kafka, [topic]), CommittedReader(kafka)
        #: Where each partition ends, if nobody else has written since.
        self._ends: dict[int, int] = {}

    async def start(self) -> None:
        """Connect; raises KafkaError."""
        await self._brokers.start()

    async def stop(self) -> None:
        """Close all connections."""
        await self._reader.stop()
        await self._brokers.stop()

    async def incarnation(self) -> str:
        """Kafka's id of the topic; raises KafkaError."""
        found = (await self._brokers.topics([self._topic])).get(self._topic)
        if found is None:
            raise UnknownTopicOrPartitionError(self._topic)
        return found.id

    async def fence(self, partition: int) -> TopicWriter:
        """See `ToldHome`; raises RightMissing, too."""
        self._ends.pop(partition, None)
        transactional_id = self._id_of(partition)
        with rights.writing(transactional_id):
            producer = await TransactionalProducer.open(
                self._brokers, transactional_id, _TRANSACTION_TIMEOUT_MS, lane=partition
            )
        place = TopicPartition(self._topic, partition)
        return TopicWriter(producer, place, transactional_id, self._ends)

    async def read(self, partition: int) -> dict[bytes, ToldAlert]:
        """See `ToldHome`; waits while a transaction is open there.

        Raises:
            KafkaError: try again.
            Unreadable: somebody must look at the topic.
        """
        place, found = TopicPartition(self._topic, partition), dict[bytes, ToldAlert]()

        def take(record: Stored) -> None:
            told = _told(record.value, f"{place.topic}-{partition}@{record.offset}")
            found[told.key] = told

        self._ends[partition] = await self._reader.read(place, take)
        return found

    async def written_elsewhere(self, partitions: Collection[int]) -> set[int]:
        """Those of the partitions that have more than was read and written here.

        Raises KafkaError.
        """
        places = [TopicPartition(self._topic, one) for one in partitions if one in self._ends]
        if not places:
            return set()
        ends = await self._reader.ends(places, committed=False)
        # A commit's own mark may not be there yet, so it may end before.
        return {tp.partition for tp, end in ends.items() if end > self._ends.get(tp.partition, end)}


class TopicWriter:
    """`ToldWriter` of one partition."""

    def __init__(
        self,
        producer: TransactionalProducer,
        place: TopicPartition,
        transactional_id: str,
        ends: dict[int, int],
    ) -> None:
        self._producer, self._place, self._id = producer, place, transactional_id
        self._ends = ends

    async def write(self, told: Sequence[ToldAlert]) -> None:
        """See there; raises RightMissing, too."""
        filler = BatchFiller()
        for one in told:
            filler.add(self._place, one.key, msgspec.json.encode(one), ())
        batches = filler.all()
        with rights.writing(self._id, self._place.topic):
            offsets = await self._producer.commit(batches)
        # Behind the last record lies the transaction's mark. The broker may not know where.
        known, end = self._ends.get(self._place.partition), offsets[-1] + batches[-1].size + 1
        if known is not None and offsets[-1] >= 0:
            self._ends[self._place.partition] = max(known, end)
        else:
            self._ends.pop(self._place.partition, None)


def _told(value: bytes | None, position: str) -> ToldAlert:
    try:
        return msgspec.json.decode(value or b"", type=ToldAlert)
    except msgspec.MsgspecError as error:
        raise Unreadable(
            f"The record {position} is no message of this build ({error}): if a newer build told "
            "before, run that one; if somebody else writes there, delete the record."
        ) from None
