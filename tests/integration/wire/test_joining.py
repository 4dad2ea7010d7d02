"""`Joining` against a real Kafka and aiokafka's own `send`, whose batches it shares.

A failure after an upgrade of aiokafka says which private name, or which habit, changed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaProducer

from dev.kafka import Kafka
from tests.support.topics.logs import Reader, a_name, make
from wire import clients
from wire.filling import Joining

HEADERS = [("content-type", b"text/plain")]


async def test_records_that_join_are_where_their_batch_says(kafka: Kafka) -> None:
    topic = make(kafka.bootstrap)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True, max_batch_size=4096
    )
    joined: list[tuple[asyncio.Future[Any], int, bytes]] = []
    sent: list[tuple[asyncio.Future[Any], bytes]] = []
    async with asyncio.timeout(60), clients.running(producer):
        joining = Joining(producer)
        for number in range(600):
            value = b"%d " % number * 20
            place = joining.join(topic, 0, b"k", value, HEADERS) if number % 7 else None
            if place is not None:
                joined.append((*place, value))
                continue
            # Of these two kinds: every seventh, and those for which a batch has no room.
            sent.append((await producer.send(topic, value=value, key=b"k", partition=0), value))
        told = {(await batch).offset + at: value for batch, at, value in joined}
        told |= {(await one).offset: value for one, value in sent}

    records = Reader(kafka.bootstrap).records(topic)
    assert {record.offset: record.value for record in records} == told
    assert len(sent) > 600 // 7 + 1


async def test_many_that_join_at_once_follow_each_other_in_one_batch(kafka: Kafka) -> None:
    topic = make(kafka.bootstrap)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, acks="all", enable_idempotence=True, max_batch_size=4096
    )
    told: dict[int, bytes] = {}
    waiting: list[tuple[asyncio.Future[Any], int, list[bytes]]] = []
    cut = 0
    async with asyncio.timeout(60), clients.running(producer):
        joining = Joining(producer)
        for number in range(200):
            values = [b"%d.%d " % (number, at) * 20 for at in range(number % 9 + 1)]
            alone = joining.join(topic, 0, b"k", values[0], HEADERS) if number % 3 else None
            if alone is not None:
                waiting.append((*alone, values[:1]))
                values = values[1:]
            joined = joining.join_all(topic, 0, ((b"k", value) for value in values), HEADERS)
            count = 0
            if joined is not None:
                batch, first, count = joined
                waiting.append((batch, first, values[:count]))
            cut += 0 < count < len(values)
            for value in values[count:]:
                sent = await producer.send(topic, value=value, key=b"k", partition=0)
                told[(await sent).offset] = value
        for batch, first, values in waiting:
            told |= dict(enumerate(values, (await batch).offset + first))

    records = Reader(kafka.bootstrap).records(topic)
    assert {record.offset: record.value for record in records} == told
    assert cut  # a batch had room for some of them only


async def test_nothing_joins_a_producer_that_is_closed_or_does_not_know_the_place(
    kafka: Kafka,
) -> None:
    topic = make(kafka.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    async with clients.running(producer):
        joining = Joining(producer)
        assert joining.join(a_name(), 0, b"k", b"v", HEADERS) is None
        assert joining.join(topic, 7, b"k", b"v", HEADERS) is None
        assert joining.join_all(topic, 7, [(b"k", b"v")], HEADERS) is None
    assert joining.join(topic, 0, b"k", b"v", HEADERS) is None
    assert joining.join_all(topic, 0, [(b"k", b"v")], HEADERS) is None
