"""Reads what is committed in a partition, to its very end: for what must not be told twice.

There are two readers of whole topics, since they end at two places. A service must know of every
transaction that was begun before it asked: `CommittedReader` goes to the log's end and waits for
those that are open. A command must come to an end, whoever left a transaction open:
`wire.whole.whole_topic` reads all partitions at once, only as far as is settled now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from wire import clients
from wire.fetch import Stored, end_offsets, fetch, stored
from wire.whole import committed_reader

_POLL_S = 0.2
_AT_ONCE = 5_000
_CLOSE_S = 2.0


class CommittedReader:
    """Connects when it is first asked; of several who read, one after the other.

    Args:
        kafka: keyword arguments of an aiokafka client.
    """

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        self._kafka = kafka
        self._consumer: AIOKafkaConsumer | None = None
        self._starting, self._turn = asyncio.Lock(), asyncio.Lock()

    async def stop(self) -> None:
        """Close its connections."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await clients.let_go(consumer, _CLOSE_S)

    async def read(self, tp: TopicPartition, take: Callable[[Stored], None], begin: int = 0) -> int:
        """Take each record from an offset on, or from the first behind it that is still there.

        Waits while a transaction is open before the end.

        Returns:
            The offset behind the last that was taken.

        Raises:
            KafkaError: try again.
            Unreadable: somebody must look at the topic.
        """
        async with self._turn:
            consumer = await self._started()
            end = (await self.ends([tp], committed=False))[tp]
            position = max(begin, await self.beginning(tp))
            consumer.assign([tp])
            consumer.seek(tp, position)
            while position < end:
                for at, part in (await fetch(consumer, _POLL_S, _AT_ONCE, [tp])).items():
                    if part.error is not None:
                        raise part.error
                    for record in stored(at, part):
                        take(record)
                    position = part.next_offset
        return position

    async def beginning(self, tp: TopicPartition) -> int:
        """The first offset of a partition that is still there. Raises KafkaError."""
        found: dict[TopicPartition, int] = await (await self._started()).beginning_offsets([tp])
        return found[tp]

    async def ends(
        self, tps: Sequence[TopicPartition], *, committed: bool
    ) -> dict[TopicPartition, int]:
        """As `wire.fetch.end_offsets`. Raises KafkaError."""
        return await end_offsets(await self._started(), tps, committed=committed)

    async def _started(self) -> AIOKafkaConsumer:
        async with self._starting:
            if self._consumer is None:
                consumer = committed_reader(self._kafka)
                try:
                    await clients.start(consumer)
                except BaseException:  # a cancellation, too: no connection is left behind
                    await clients.let_go(consumer, _CLOSE_S)
                    raise
                self._consumer = consumer
            return self._consumer
