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
        self._asking = asyncio.Lock()

    async def start(self) -> None:
        """Connect; raises KafkaError where no broker answers."""
        self._consumer = AIOKafkaConsumer(
            **self._kafka,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            fetch_max_wait_ms=100,
            # A fetch answers with at least one batch however small this is (KIP-74).
            max_partition_fetch_bytes=1,
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
        ends = await self.ends([partition])
        for topic, position in meta.positions.items():
            end = ends.get((topic, partition), (0, 0))[0]
            if end < position:
                raise SourceChanged(
                    _advice(topic, partition, f"it ends at {end}, before offset {position}")
                )
        first_records = await self._first(partition, meta.fingerprints, ends)
        for topic, first in first_records.items():
            if first != meta.fingerprints[topic]:
                raise SourceChanged(_advice(topic, partition, "its first record is another one"))
        return {topic: found for (topic, _), found in ends.items()}

    async def _first(
        self,
        partition: int,
        topics: Iterable[str],
        ends: Mapping[tuple[str, int], tuple[int, int]],
    ) -> dict[str, tuple[int, int] | None]:
        """Fingerprint of each topic's first record; None where there is none left."""
        tps = [TopicPartition(topic, partition) for topic in topics]
        if not tps:
            return {}
        async with self._asking:
            starts = await self._consumer.beginning_offsets(tps)
            self._consumer.assign(tps)
            for tp, start in starts.items():
                self._consumer.seek(tp, start)
            found: dict[str, tuple[int, int] | None] = dict.fromkeys(topics)
            end = {tp: ends[tp.topic, partition][0] for tp in tps}
            missing = {tp for tp in tps if starts[tp] < end[tp]}
            try:
                async with asyncio.timeout(_ASK_S):
                    while missing:
                        fetched = await fetch(self._consumer, 1.0, 1, wanted=missing)
                        for tp, part in fetched.items():
                            if part.error is not None:
                                raise part.error
                            if part.records:
                                found[tp.topic] = fingerprint(part.records[0])
                            if part.records or part.next_offset >= end[tp]:
                                missing.discard(tp)
            except TimeoutError as error:
                raise KafkaTimeoutError("the first records of the sources do not come") from error
            finally:
                self._consumer.unsubscribe()
            return found


def _advice(topic: str, partition: int, what: str) -> str:
    return (
        f"Topic {topic} was cut or recreated under partition {partition}: {what}. Restore the "
        "topic from its backup, or count anew from what it holds with the next ONHAND_VERSION."
    )
