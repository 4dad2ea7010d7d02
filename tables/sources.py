"""What the sources look like from outside: ends, and whether they are still the same.

A meta record says "read shipments-3 from offset 1,000". That is only true of the topic
that it was written for: one that was deleted and created again, or cut, has other
records behind the same numbers. aiokafka speaks Metadata up to v5 and so sees no topic
ids; the fingerprint of the first record stands in for them.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from domain.records import Record
from tables.changelog import Meta
from tables.fetch import fetch

_ASK_S = 20.0
_GATHER_S = 0.005

#: Of one partition: (end offset, ms since the epoch) and first record's fingerprint, by topic.
_Look = tuple[dict[str, tuple[int, int]], dict[str, tuple[int, int]]]


class SourceChanged(Exception):
    """A source was cut or recreated; the message says what to do."""


def fingerprint(record: Record) -> tuple[int, int]:
    """(timestamp in ms, CRC-32 of key and value) of a topic-partition's first record."""
    _, timestamp_ms, key, value, _ = record
    return timestamp_ms, zlib.crc32(value or b"", zlib.crc32(key or b""))


class Sources:
    """Asks the broker about source topics; one connection, no group."""

    def __init__(self, kafka: Mapping[str, Any], topics: Iterable[str]) -> None:
        self._kafka, self.topics = kafka, tuple(topics)
        self._asked: dict[int, asyncio.Future[_Look]] = {}
        self._wanted: dict[int, set[str]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect; raises KafkaError where no broker answers."""
        self._consumer = AIOKafkaConsumer(
            **self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
            # Enough for most first batches. Of those that are larger a fetch answers with
            # one at least (KIP-74), so they come one by one.
            max_partition_fetch_bytes=128 * 1024,
        )
        await self._consumer.start()

    async def stop(self) -> None:
        """Leave."""
        await self._consumer.stop()

    async def ends(self, partitions: Iterable[int]) -> dict[tuple[str, int], tuple[int, int]]:
        """(end offset for committed readers, ms since the epoch), by topic and partition."""
        tps = [TopicPartition(t, p) for t in self.topics for p in partitions]
        found = await self._consumer.end_offsets(tps) if tps else {}
        now_ms = int(time.time() * 1000)
        return {(tp.topic, tp.partition): (end, now_ms) for tp, end in found.items()}

    async def starts(self, partition: int) -> dict[str, int]:
        """First offset of each source topic: 0, unless it was cut."""
        tps = [TopicPartition(topic, partition) for topic in self.topics]
        starts = await self._consumer.beginning_offsets(tps)
        return {tp.topic: start for tp, start in starts.items()}

    async def check(self, partition: int, meta: Meta) -> dict[str, tuple[int, int]]:
        """Compare the sources with what the meta record was written for.

        Returns:
            (end offset, ms since the epoch), by topic.

        Raises:
            SourceChanged: a source ends before the meta's position, or begins otherwise.
            KafkaError: the broker does not answer.
        """
        if strange := meta.positions.keys() - set(self.topics):
            raise SourceChanged(
                f"The table counts {', '.join(sorted(strange))}, which this worker does not "
                "read: set ONHAND_TOPIC_PREFIX back, or count anew with the next ONHAND_VERSION."
            )
        asked = self._asked.setdefault(partition, asyncio.get_running_loop().create_future())
        self._wanted.setdefault(partition, set()).update(meta.fingerprints)
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="look at the sources")
        ends, first_records = await asyncio.shield(asked)
        for topic, position in meta.positions.items():
            end = ends[topic][0]
            if end < position:
                raise SourceChanged(
                    _advice(topic, partition, f"it ends at {end}, before offset {position}")
                )
        for topic, expected in meta.fingerprints.items():
            if first_records.get(topic) != expected:
                raise SourceChanged(_advice(topic, partition, "its first record is another one"))
        return ends

    async def _ask(self) -> None:
        """Answer all that ask, in one round: take-overs come a dozen at a time."""
        await asyncio.sleep(_GATHER_S)
        while self._asked:
            asked, self._asked = self._asked, {}
            wanted, self._wanted = self._wanted, {}
            try:
                async with asyncio.timeout(_ASK_S):
                    ends = await self.ends(asked)
                    first = await self._first(wanted, ends)
            except Exception as error:
                passing = KafkaTimeoutError("the sources do not answer")
                for future in asked.values():
                    future.set_exception(passing if isinstance(error, TimeoutError) else error)
                continue
            for partition, future in asked.items():
                mine = {topic: ends[topic, partition] for topic in self.topics}
                future.set_result((mine, first.get(partition, {})))

    async def _first(
        self, wanted: Mapping[int, set[str]], ends: Mapping[tuple[str, int], tuple[int, int]]
    ) -> dict[int, dict[str, tuple[int, int]]]:
        """Fingerprints of first records by partition and topic; none where none is left."""
        tps = [TopicPartition(topic, p) for p, topics in wanted.items() for topic in topics]
        found: dict[int, dict[str, tuple[int, int]]] = {p: {} for p in wanted}
        if not tps:
            return found
        starts = await self._consumer.beginning_offsets(tps)
        missing = {tp for tp in tps if starts[tp] < ends[tp][0]}
        if not missing:
            return found
        self._consumer.assign(tps)
        try:
            for tp, start in starts.items():
                self._consumer.seek(tp, start)
            while missing:
                for tp, part in (await fetch(self._consumer, 1.0, 1, wanted=missing)).items():
                    if part.error is not None:
                        raise part.error
                    if part.records:
                        found[tp.partition][tp.topic] = fingerprint(part.records[0])
                    if part.records or part.next_offset >= ends[tp][0]:
                        missing.discard(tp)
                        # What it goes on to fetch would hold up the others for 100 ms.
                        self._consumer.pause(tp)
        finally:
            # Paused, not unsubscribed: without a subscription aiokafka's fetch task may
            # die for good (0.14.0, fetcher.py:529).
            self._consumer.pause(*tps)
        return found


def _advice(topic: str, partition: int, what: str) -> str:
    return (
        f"Topic {topic} was cut or recreated under partition {partition}: {what}. Restore the "
        "topic from its backup, or count anew from what it holds with the next ONHAND_VERSION."
    )
