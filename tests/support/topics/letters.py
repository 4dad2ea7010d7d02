"""Dead letters of a deployment of a test's own, as the service writes them."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Message, Producer, TopicPartition

from app import topics
from app.config import Settings
from core.refusals import DeadLetter
from dev.kafka import Kafka
from domain.events import Refusal
from domain.stock import STOCK
from tables.home.changelog import letter_record
from tests.support.topics.logs import TIMEOUT_S, reader

HEADERS = [("trace", b"\x00\xff"), ("trace", None), ("onhand-reason", b"not ours")]


async def a_deployment(kafka: Kafka) -> Settings:
    """Settings of a name of its own on the shared broker, with topics."""
    name = f"n{uuid.uuid4().hex[:8]}"
    made = Settings.from_env({}, kafka=kafka.bootstrap, name=name, topic_prefix=f"{name}.")
    await topics.create(made)
    return made


def an_event(sku: str, number: int = 1) -> bytes:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": f"{sku}-{number}",
            "source": "till-17",
            "type": "inventory.sale.completed.v1",
            "time": "2026-11-23T10:00:00.123Z",
            "data": {"sku": sku, "location": "store-007", "quantity": 2},
        }
    ).encode()


def a_letter(settings: Settings, offset: int = 7, **changes: Any) -> DeadLetter:
    fields: dict[str, Any] = {
        "topic": settings.source_topics["sales"],
        "partition": 3,
        "offset": offset,
        "timestamp_ms": 1_795_000_000_123,
        "key": b"wrong",
        "value": an_event("SKU-1", offset),
        "headers": HEADERS,
        "reason": Refusal.MISROUTED,
        "detail": "it is in partition 3",
    }
    return DeadLetter(**{**fields, **changes})


def refuse(settings: Settings, letters: Sequence[DeadLetter], *, commit: bool = True) -> None:
    """Write dead letters as the service does: its own records, in a transaction."""
    producer = refusing(settings, letters)
    if commit:
        producer.commit_transaction(TIMEOUT_S)
    else:
        producer.abort_transaction(TIMEOUT_S)
    for partition in {letter.partition for letter in letters}:
        reader(settings.kafka).has_markers(settings.dlq_topic, partition)


def refusing(settings: Settings, letters: Sequence[DeadLetter]) -> Producer:
    """Write them, and leave the transaction open."""
    producer = Producer(
        {
            "bootstrap.servers": settings.kafka,
            "transactional.id": uuid.uuid4().hex,
            "message.max.bytes": 4 * 2**20,
            "transaction.timeout.ms": 600_000,
            "log_level": 0,
        }
    )
    producer.init_transactions(TIMEOUT_S)
    producer.begin_transaction()
    for letter in letters:
        key, value, headers = letter_record(letter, STOCK.naming)
        producer.produce(
            settings.dlq_topic, value, key, partition=letter.partition, headers=headers
        )
    producer.flush(TIMEOUT_S)
    return producer


def committed(settings: Settings, topic: str) -> list[Message]:
    """Every record there for a reader of committed ones, by an independent client."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka,
            "group.id": "unused",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )
    count = len(consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions)
    for partition in range(count):
        reader(settings.kafka).has_markers(topic, partition)
    consumer.assign(
        [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(count)]
    )
    found: list[Message] = []
    ended = 0
    while ended < count:
        message = consumer.poll(TIMEOUT_S)
        assert message is not None, "Kafka stopped sending"
        if message.error() is None:
            found.append(message)
        else:
            ended += 1
    consumer.close()
    return found
