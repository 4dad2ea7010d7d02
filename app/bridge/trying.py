"""`onhand bridge --dry-run`: what the first records of a topic would become. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from agents.learning import RegistryAway
from agents.translating import Translator
from app.admin import TopicsError, kafka_failed
from app.bridge.mapping import learning_of, map_of
from app.config import Settings
from app.topics import exists
from core.records import Record
from wire import clients
from wire.batches import Unreadable
from wire.fetch import Stored, fetch, stored
from wire.whole import committed_reader

_POLL_S = 0.5
_PATIENCE_S = 20.0


class Tried(msgspec.Struct, frozen=True):
    """What one record would become: some facts, a dead letter, or nothing.

    position: `topic-partition@offset`. reason: of a dead letter; "" for facts, or for what the
    map leaves out.
    """

    position: str
    facts: list[dict[str, Any]]
    reason: str = ""
    detail: str = ""


async def tried(settings: Settings, limit: int) -> list[Tried]:
    """Translate the first records, of each partition in turn.

    Raises:
        SettingsError: the map cannot be used.
        TopicsError: no Kafka, or no such topic.
    """
    by = map_of(settings)
    topic = settings.bridge_topic
    if not await exists(settings, topic):
        raise TopicsError(f"There is no topic {topic}: create it, or name another.")
    translator = Translator(topic, by, settings.partitions)
    learning = learning_of(settings, by, None)
    consumer = committed_reader(settings.client_kwargs())
    try:
        await clients.start(consumer)
        found = await _first(consumer, topic, limit)
        if learning is not None:
            await learning.learn(record for _, record in found)
    except (KafkaError, OSError, TimeoutError) as error:
        raise TopicsError(kafka_failed(settings, error)) from error
    except Unreadable as error:
        raise TopicsError(f"Topic {topic}: {error}") from error
    except RegistryAway as error:
        raise TopicsError(str(error)) from error
    finally:
        await clients.let_go(consumer)
        if learning is not None:
            await learning.stop()
    return [_tried(translator, topic, partition, record) for partition, record in found]


async def _first(consumer: AIOKafkaConsumer, topic: str, limit: int) -> list[tuple[int, Record]]:
    """At most so many records, a share of each partition, by partition and offset."""
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.end_offsets([TopicPartition(topic, 0)])
    tps = [
        TopicPartition(topic, partition)
        for partition in sorted(consumer.partitions_for_topic(topic))
    ]
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    ends = await consumer.end_offsets(tps)
    open_ = {tp for tp in tps if await consumer.position(tp) < ends[tp]}
    found: dict[TopicPartition, list[Record]] = {tp: [] for tp in tps}
    deadline = time.monotonic() + _PATIENCE_S
    while open_ and time.monotonic() < deadline:
        for tp, part in (await fetch(consumer, _POLL_S, limit, open_)).items():
            if part.error is not None:
                raise part.error
            found[tp] += (_bare(record) for record in stored(tp, part))
            if part.next_offset >= ends[tp] or len(found[tp]) >= limit:
                open_.discard(tp)
    return list(_in_turn(found, limit))


def _bare(record: Stored) -> Record:
    return (record.offset, record.timestamp, record.key, record.value, record.headers)


def _in_turn(found: dict[TopicPartition, list[Record]], limit: int) -> Iterator[tuple[int, Record]]:
    """The first of each partition, then the second of each, until there are enough."""
    left = limit
    for place in range(limit):
        for tp, records in sorted(found.items()):
            if place < len(records) and left:
                left -= 1
                yield tp.partition, records[place]


def _tried(translator: Translator, topic: str, partition: int, record: Record) -> Tried:
    made = translator.translate(partition, [record])
    position = f"{topic}-{partition}@{record[0]}"
    facts = [msgspec.json.decode(fact.value) for fact in made.facts]
    for letter in made.letters:
        return Tried(position, [], letter.reason, letter.detail)
    return Tried(position, facts)
