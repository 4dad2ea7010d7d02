"""What the sources look like from outside: ends, and whether they are still the same.

A meta record says "read shipments-3 from offset 1,000". That is only true of the topic
that it was written for: one that was deleted and created again, cut, restored from a backup
or copied to another cluster has other records behind the same numbers. Three things tell:
Kafka's id of the topic, the first record, and the last one that was handled.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import LeaderNotAvailableError, UnknownTopicOrPartitionError

from core.records import Record, crc_of
from tables.home.changelog import Meta
from wire import clients
from wire.batches import Unreadable, pieces
from wire.fetch import assign_paused, end_offsets, fetch, leaderless, pause
from wire.requests.topicids import Describe
from wire.rounds import Rounds

_ASK_S = 20.0


class Wanted(NamedTuple):
    """A question: a partition, and the offset of the last record handled of each topic."""

    partition: int
    last: tuple[tuple[str, int], ...]

    @classmethod
    def by(cls, partition: int, meta: Meta) -> Wanted:
        """What a meta record has to be compared with."""
        return cls(partition, tuple((topic, mark[0]) for topic, mark in sorted(meta.last.items())))


class Shown(NamedTuple):
    """One partition of the sources, as a broker showed it; all by topic.

    wanted: what was asked. ids: Kafka's, of the topics.
    ends: high watermark, and when, ms since the epoch.
    first: fingerprint of the first record; none where none is left.
    last: fingerprint of the record at the offset wanted; none where it is no longer there.
    unreadable: why one of these cannot be read.
    """

    wanted: Wanted
    ids: dict[str, str]
    ends: dict[str, tuple[int, int]]
    first: dict[str, tuple[int, int]]
    last: dict[str, tuple[int, int]]
    unreadable: dict[str, str]


class SourceChanged(Exception):
    """A source was cut, recreated or copied; the message says what to do."""


def fingerprint(record: Record) -> tuple[int, int]:
    """(timestamp in ms, CRC-32 of key and value) of a record."""
    return record[1], crc_of(record)


class Sources:
    """Asks the broker about source topics; one connection, no group.

    Args:
        kafka: keyword arguments of an aiokafka client.
        topics: full names. partitions: of each.
        describe: tells what Kafka says of topics now.
    """

    def __init__(
        self, kafka: Mapping[str, Any], topics: Iterable[str], partitions: int, describe: Describe
    ) -> None:
        self._kafka, self.topics, self._partitions = kafka, tuple(topics), partitions
        self._describe = describe
        self._rounds: Rounds[Wanted, Shown] = Rounds(self._answer, _ASK_S)

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
        await clients.start(self._consumer)
        assign_paused(self._consumer, self._tps(range(self._partitions)))

    def _tps(self, partitions: Iterable[int]) -> list[TopicPartition]:
        return [
            TopicPartition(topic, partition) for partition in partitions for topic in self.topics
        ]

    async def stop(self) -> None:
        """Leave."""
        await clients.let_go(self._consumer)

    async def ends(self, partitions: Iterable[int]) -> dict[tuple[str, int], tuple[int, int]]:
        """(high watermark, ms since the epoch), by topic and partition.

        Not where committed readers end: what lies behind somebody's open transaction was
        acknowledged, and no answer may say that it is counted.
        """
        tps = self._tps(partitions)
        found = await end_offsets(self._consumer, tps, committed=False) if tps else {}
        now_ms = int(time.time() * 1000)
        return {(tp.topic, tp.partition): (end, now_ms) for tp, end in found.items()}

    async def lost(self, partitions: Iterable[int]) -> set[int]:
        """Those of which some topic has no leader: `ends` would wait for them, and with them."""
        return {tp.partition for tp in await leaderless(self._consumer, self._tps(partitions))}

    async def starts(self, partition: int) -> dict[str, int]:
        """First offset of each source topic: 0, unless it was cut."""
        starts = await self._consumer.beginning_offsets(self._tps([partition]))
        return {tp.topic: start for tp, start in starts.items()}

    async def all_starts(self) -> dict[tuple[str, int], int]:
        """First offsets, by topic and partition."""
        tps = self._tps(range(self._partitions))
        starts = await self._consumer.beginning_offsets(tps)
        return {(tp.topic, tp.partition): start for tp, start in starts.items()}

    async def look(self, wanted: Wanted) -> Shown:
        """Ask the broker for one partition of each, together with all that ask now.

        Raises:
            KafkaError: try again.
        """
        return await self._rounds.ask(wanted)

    def check(self, partition: int, meta: Meta, look: Shown) -> None:
        """Compare the sources with what the meta record was written for.

        Raises:
            SourceChanged: a source ends before the meta's position, begins otherwise, holds
                another record where the last one was handled, or is another topic.
            Unreadable: nobody can tell what a source holds there.
        """
        if strange := meta.positions.keys() - set(self.topics):
            raise SourceChanged(
                f"The table counts {', '.join(sorted(strange))}, which this worker does not "
                "read: set ONHAND_TOPIC_PREFIX back, or count anew with the next ONHAND_VERSION."
            )
        for topic, known in meta.topic_ids.items():
            if look.ids[topic] != known:
                what = f"Kafka's id of it is {look.ids[topic]} and was {known}"
                raise SourceChanged(_advice(topic, partition, what))
        for topic, position in meta.positions.items():
            end = look.ends[topic][0]
            if end < position:
                raise SourceChanged(
                    _advice(topic, partition, f"it ends at {end}, before offset {position}")
                )
        for topic, why in look.unreadable.items():
            if topic in meta.fingerprints or topic in meta.last:
                raise Unreadable(f"Topic {topic}, partition {partition}: {why}")
        for topic, expected in meta.fingerprints.items():
            if look.first.get(topic) != expected:
                raise SourceChanged(_advice(topic, partition, "its first record is another one"))
        for topic, (offset, *mark) in meta.last.items():
            if look.last.get(topic) != tuple(mark):
                what = f"the last record that was handled, at offset {offset}, is another one"
                raise SourceChanged(_advice(topic, partition, what))

    async def _answer(self, asked: Sequence[Wanted]) -> Mapping[Wanted, Shown | Exception]:
        """One round for all that ask."""
        topics = await self._describe(self.topics)
        if missing := sorted(set(self.topics) - topics.keys()):
            raise UnknownTopicOrPartitionError(", ".join(missing))
        answers: dict[Wanted, Shown | Exception] = {}
        lost = await self.lost({wanted.partition for wanted in asked})
        why = LeaderNotAvailableError("a source of the partition has no leader")
        answers |= {wanted: why for wanted in asked if wanted.partition in lost}
        asked = [wanted for wanted in asked if wanted.partition not in lost]
        tps = self._tps({wanted.partition for wanted in asked})
        ends = await self.ends({wanted.partition for wanted in asked})
        starts = await self._consumer.beginning_offsets(tps) if tps else {}
        offsets: dict[TopicPartition, set[int]] = {tp: {starts[tp]} for tp in tps}
        for wanted in asked:
            for topic, offset in wanted.last:
                tp = TopicPartition(topic, wanted.partition)
                if starts.get(tp, offset + 1) <= offset:
                    offsets[tp].add(offset)
        wanted_at = {tp: sorted(at) for tp, at in offsets.items()}
        # Behind an open transaction there is nothing yet for a reader of committed records.
        stable = await end_offsets(self._consumer, tps, committed=True) if tps else {}
        found, unreadable = await self._records(wanted_at, stable)
        ids = {topic: topics[topic].id for topic in self.topics}
        for wanted in asked:
            mine = self._tps([wanted.partition])
            firsts = {tp.topic: found.get((tp, starts[tp])) for tp in mine}
            lasts = {
                topic: found.get((TopicPartition(topic, wanted.partition), offset))
                for topic, offset in wanted.last
            }
            answers[wanted] = Shown(
                wanted,
                ids,
                {tp.topic: ends[tp.topic, tp.partition] for tp in mine},
                {topic: fingerprint(record) for topic, record in firsts.items() if record},
                {
                    topic: fingerprint(record)
                    for topic, record in lasts.items()
                    if record and record[0] == dict(wanted.last)[topic]
                },
                {tp.topic: unreadable[tp] for tp in mine if tp in unreadable},
            )
        return answers

    async def _records(
        self,
        offsets: Mapping[TopicPartition, Sequence[int]],
        ends: Mapping[TopicPartition, int],
    ) -> tuple[dict[tuple[TopicPartition, int], Record], dict[TopicPartition, str]]:
        """The first record at or behind each offset; none where none is left. Why not, if so."""
        found: dict[tuple[TopicPartition, int], Record] = {}
        unreadable: dict[TopicPartition, str] = {}
        for turn in zip_longest(*offsets.values()):  # the first offset of each, then the second
            missing = {
                tp: offset
                for tp, offset in zip(offsets, turn, strict=True)
                if offset is not None and offset < ends[tp]
            }
            for tp, offset in missing.items():
                self._consumer.seek(tp, offset)
            self._consumer.resume(*missing)
            try:
                while missing:
                    fetched = await fetch(self._consumer, 1.0, 1, wanted=missing)
                    for tp, part in fetched.items():
                        if part.error is not None:
                            raise part.error
                        record = None
                        try:
                            record = next(chain.from_iterable(pieces(part.data, part.start)), None)
                        except Unreadable as error:
                            unreadable[tp] = str(error)
                        if record is not None:
                            found[tp, missing[tp]] = record
                        elif tp not in unreadable and part.next_offset < ends[tp]:
                            continue
                        del missing[tp]
                        pause(self._consumer, [tp])
            finally:
                pause(self._consumer, missing)
        return found, unreadable


def _advice(topic: str, partition: int, what: str) -> str:
    return (
        f"Topic {topic} was cut or recreated under partition {partition}: {what}. Restore the "
        "topic from its backup, or count anew from what it holds with the next ONHAND_VERSION."
    )
