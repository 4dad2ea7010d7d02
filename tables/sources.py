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
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError, LeaderNotAvailableError

from domain.records import Record
from tables.changelog import Meta
from tables.fetch import assign_paused, fetch, leaderless, pause, unpack

_ASK_S = 20.0
_GATHER_S = 0.005


class Look(NamedTuple):
    """One partition of the sources, as a broker showed it.

    ends: end offset for committed readers, and when, ms since the epoch; by topic.
    first: fingerprint of the first record; by topic, none where none is left.
    """

    ends: dict[str, tuple[int, int]]
    first: dict[str, tuple[int, int]]


class SourceChanged(Exception):
    """A source was cut or recreated; the message says what to do."""


def fingerprint(record: Record) -> tuple[int, int]:
    """(timestamp in ms, CRC-32 of key and value) of a topic-partition's first record."""
    _, timestamp_ms, key, value, _ = record
    return timestamp_ms, zlib.crc32(value or b"", zlib.crc32(key or b""))


class Sources:
    """Asks the broker about source topics; one connection, no group."""

    def __init__(self, kafka: Mapping[str, Any], topics: Iterable[str], partitions: int) -> None:
        self._kafka, self.topics, self._partitions = kafka, tuple(topics), partitions
        self._asked: dict[int, asyncio.Future[Look]] = {}
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
        assign_paused(self._consumer, self._tps(range(self._partitions)))

    def _tps(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [TopicPartition(topic, p) for p in partitions for topic in self.topics]

    async def stop(self) -> None:
        """Leave."""
        await self._consumer.stop()

    async def ends(self, partitions: Iterable[int]) -> dict[tuple[str, int], tuple[int, int]]:
        """(end offset for committed readers, ms since the epoch), by topic and partition."""
        tps = self._tps(partitions)
        found = await self._consumer.end_offsets(tps) if tps else {}
        now_ms = int(time.time() * 1000)
        return {(tp.topic, tp.partition): (end, now_ms) for tp, end in found.items()}

    async def lost(self, partitions: Iterable[int]) -> set[int]:
        """Those of which some topic has no leader: `ends` would wait for them, and with them."""
        return {tp.partition for tp in await leaderless(self._consumer, self._tps(partitions))}

    async def starts(self, partition: int) -> dict[str, int]:
        """First offset of each source topic: 0, unless it was cut."""
        starts = await self._consumer.beginning_offsets(self._tps([partition]))
        return {tp.topic: start for tp, start in starts.items()}

    async def look(self, partition: int) -> Look:
        """Ask the broker for one partition of each; raises KafkaError."""
        asked = self._asked.setdefault(partition, asyncio.get_running_loop().create_future())
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="look at the sources")
        return await asyncio.shield(asked)

    def check(self, partition: int, meta: Meta, look: Look) -> None:
        """Compare the sources with what the meta record was written for.

        Raises:
            SourceChanged: a source ends before the meta's position, or begins otherwise.
        """
        if strange := meta.positions.keys() - set(self.topics):
            raise SourceChanged(
                f"The table counts {', '.join(sorted(strange))}, which this worker does not "
                "read: set ONHAND_TOPIC_PREFIX back, or count anew with the next ONHAND_VERSION."
            )
        for topic, position in meta.positions.items():
            end = look.ends[topic][0]
            if end < position:
                raise SourceChanged(
                    _advice(topic, partition, f"it ends at {end}, before offset {position}")
                )
        for topic, expected in meta.fingerprints.items():
            if look.first.get(topic) != expected:
                raise SourceChanged(_advice(topic, partition, "its first record is another one"))

    async def _ask(self) -> None:
        """Answer all that ask, in one round: take-overs come a dozen at a time."""
        await asyncio.sleep(_GATHER_S)
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                async with asyncio.timeout(_ASK_S):
                    for number in await self.lost(asked):
                        why = f"a source of partition {number} has no leader"
                        _refuse(asked.pop(number), LeaderNotAvailableError(why))
                    ends = await self.ends(asked)
                    first = await self._first(ends)
            except Exception as error:
                passing = KafkaTimeoutError("the sources do not answer")
                for future in asked.values():
                    _refuse(future, passing if isinstance(error, TimeoutError) else error)
                continue
            for partition, future in asked.items():
                mine = {topic: ends[topic, partition] for topic in self.topics}
                future.set_result(Look(mine, first[partition]))

    async def _first(
        self, ends: Mapping[tuple[str, int], tuple[int, int]]
    ) -> dict[int, dict[str, tuple[int, int]]]:
        """Fingerprints of first records by partition and topic; none where none is left."""
        tps = [TopicPartition(*each) for each in ends]
        found: dict[int, dict[str, tuple[int, int]]] = {tp.partition: {} for tp in tps}
        starts = await self._consumer.beginning_offsets(tps)
        missing = {tp for tp in tps if starts[tp] < ends[tp.topic, tp.partition][0]}
        for tp in missing:
            self._consumer.seek(tp, starts[tp])
        self._consumer.resume(*missing)
        try:
            while missing:
                for tp, part in (await fetch(self._consumer, 1.0, 1, wanted=missing)).items():
                    if part.error is not None:
                        raise part.error
                    record = next(unpack(part.data, part.start), None)
                    if record is not None:
                        found[tp.partition][tp.topic] = fingerprint(record)
                    if record is not None or part.next_offset >= ends[tp.topic, tp.partition][0]:
                        missing.discard(tp)
                        pause(self._consumer, [tp])
        finally:
            pause(self._consumer, missing)
        return found


def _refuse(asked: asyncio.Future[Look], why: Exception) -> None:
    asked.set_exception(why)
    asked.exception()  # whoever asked may have gone


def _advice(topic: str, partition: int, what: str) -> str:
    return (
        f"Topic {topic} was cut or recreated under partition {partition}: {what}. Restore the "
        "topic from its backup, or count anew from what it holds with the next ONHAND_VERSION."
    )
