"""Which records `onhand bridge --again` reads once more, and what is known of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TypeAlias

import msgspec
import xxhash
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from agents.marks import Marks
from app.admin import kafka_failed
from app.config import Settings
from core.records import Record, too_large
from core.refusals import Refused
from domain.rules.held import CURRENT
from tables.home.letters import letters
from wire.transactions import Brokers
from wire.whole import RecordsError, whole_topic

#: (partition, record) of the foreign topic.
Candidate: TypeAlias = tuple[int, Record]
Said: TypeAlias = Callable[[int], None]
_POSITION = re.compile(r"(?P<topic>.+)-(?P<partition>[0-9]{1,9})@(?P<offset>[0-9]{1,18})")


class Since(msgspec.Struct, frozen=True):
    """From where on all records are read: a time, or a place in one partition."""

    time_ms: int | None = None
    partition: int = -1
    offset: int = 0


def since_of(text: str, topic: str) -> Since:
    """Read what `--since` says.

    Raises:
        ValueError: a sentence.
    """
    if found := _POSITION.fullmatch(text):
        if found["topic"] != topic:
            raise ValueError(f"--since {text} is a place in {found['topic']}, not in {topic}.")
        return Since(partition=int(found["partition"]), offset=int(found["offset"]))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - without an offset, as what is refused below
    if moment.tzinfo is None:
        raise ValueError(
            f"--since {text} is no time and no place: write 2026-11-23T10:00:00Z, or "
            f"{topic}-PARTITION@OFFSET."
        )
    return Since(time_ms=round(moment.timestamp() * 1000))


async def refused_before(
    consumer: AIOKafkaConsumer, settings: Settings, said: Said
) -> AsyncIterator[Candidate]:
    """What the dead letters of this version have of the foreign topic."""
    async for letter in letters(consumer, settings.dlq_topic, None, said):
        if letter.topic == settings.bridge_topic:
            value = too_large(letter.size, letter.sha256) if letter.sha256 else letter.value
            record = letter.offset, letter.recorded_ms, letter.key, value, letter.headers
            yield letter.partition, record


async def read_before(
    consumer: AIOKafkaConsumer, settings: Settings, spans: dict[int, tuple[int, int]], said: Said
) -> AsyncIterator[Candidate]:
    """What stands in the foreign topic."""
    if not spans:
        return
    async for one in whole_topic(consumer, settings.bridge_topic, None, said, spans):
        yield one.partition, (one.offset, one.timestamp, one.key, one.value, one.headers)


async def spans_since(
    consumer: AIOKafkaConsumer, settings: Settings, bridge: str, since: Since
) -> dict[int, tuple[int, int]]:
    """From there to where the bridge has come: what lies behind, it reads itself.

    Raises:
        RecordsError: there is nothing of it, or Kafka is away.
    """
    topic = settings.bridge_topic
    marks = Marks(settings.client_kwargs(), settings.documents_topic, bridge)
    brokers = Brokers(settings.client_kwargs(), [topic])
    try:
        await brokers.start()
        now = (await brokers.topics([topic])).get(topic)
        if now is None:
            raise RecordsError(f"There is no topic {topic}: name another.")
        tps = [TopicPartition(topic, p) for p in range(now.partitions)]
        consumer.assign(tps)
        if since.time_ms is None:
            tps = [tp for tp in tps if tp.partition == since.partition]
        begins = await consumer.beginning_offsets(tps)
        times = {}
        if since.time_ms is not None:
            times = await consumer.offsets_for_times(dict.fromkeys(tps, since.time_ms))
        spans = {}
        for tp in tps:
            mark = await marks.read(tp.partition)
            if mark is None or mark.topic != topic:
                continue
            if mark.topic_id != now.id:
                raise RecordsError(
                    f"{topic} was deleted and created again since the bridge {bridge} read it, so "
                    "its offsets name other records: give the map another `name`."
                )
            if since.time_ms is None:
                start = since.offset
            elif (found := times.get(tp)) is not None:
                start = found.offset
            else:
                continue
            if max(start, begins[tp]) < mark.next:
                spans[tp.partition] = max(start, begins[tp]), mark.next
        return spans
    except (KafkaError, OSError, TimeoutError) as error:
        raise RecordsError(kafka_failed(settings, error)) from error
    finally:
        await marks.stop()
        await brokers.stop()


def digest_of(role: str, source: str, id_: str) -> int:
    """Names a fact in 128 bits: a million of them fit into memory. One id in two topics is two."""
    return xxhash.xxh3_128_intdigest(f"{role}:{len(source)}:{source}{id_}".encode())


async def facts_there(
    consumer: AIOKafkaConsumer, settings: Settings, wanted: set[int], may_be_cut: bool, said: Said
) -> set[int]:
    """Which of these facts stand in the source topics, whoever wrote them, in any mode.

    Raises:
        RecordsError: records are gone from there, so nobody can tell.
    """
    there: set[int] = set()
    if not wanted:
        return there
    count = 0
    for topic in settings.source_topics.values():
        tps = [TopicPartition(topic, p) for p in range(settings.partitions)]
        consumer.assign(tps)
        if not may_be_cut and any((await consumer.beginning_offsets(tps)).values()):
            raise RecordsError(
                f"{topic} no longer holds its first records, so it cannot be told which facts were "
                "sent: leave --since out, which sends only what was refused."
            )
        async for record in whole_topic(consumer, topic, None, lambda _: None):
            count += 1
            if count % 10_000 == 0:
                said(count)
            if record.value is None:
                continue
            event = CURRENT.decode(record.value, record.headers)
            if not isinstance(event, Refused):
                digest = digest_of(event.role, event.source, event.id)
                if digest in wanted:
                    there.add(digest)
    return there
