"""What `wire/fetch.py` delivers while somebody seeks, pauses, assigns, waits or closes."""

import asyncio
import time

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError

from dev.kafka import Kafka
from dev.workers import until
from tests.support.topics.fetching import (
    WAIT_S,
    a_consumer,
    buffered,
    has_waiter,
    read,
    records_of,
    some,
    take,
)
from tests.support.topics.logs import Writer, make
from wire.fetch import End, end_of, fetch, interrupt


async def test_what_was_fetched_before_a_seek_is_never_delivered_after_it(
    kafka: Kafka, topic: str
) -> None:
    async with a_consumer(kafka, topic) as consumer:
        await buffered(consumer, topic)
        consumer.seek(TopicPartition(topic, 0), 10)
        part = await take(consumer)
        await take_first_half_then_seek_back(consumer, topic)

    assert (part.start, records_of(part)[0][0]) == (10, 10)


async def take_first_half_then_seek_back(consumer: AIOKafkaConsumer, topic: str) -> None:
    consumer.seek(TopicPartition(topic, 0), 0)
    assert (await take(consumer, limit=1)).next_offset == 10
    consumer.seek(TopicPartition(topic, 0), 5)
    assert (await take(consumer, limit=1)).start == 5


async def test_a_paused_partition_delivers_nothing_and_goes_on_where_it_was(
    kafka: Kafka, topic: str
) -> None:
    tp = TopicPartition(topic, 0)
    async with a_consumer(kafka, topic) as consumer:
        first = await take(consumer, limit=1)
        consumer.pause(tp)
        nothing = await fetch(consumer, 0.2, 100)
        consumer.resume(tp)
        second = await take(consumer)

    assert (first.next_offset, nothing, second.start) == (10, {}, 10)


async def test_a_partition_that_is_not_wanted_keeps_what_was_fetched(
    kafka: Kafka, topic: str
) -> None:
    other = make(kafka.bootstrap)
    Writer(kafka.bootstrap).write(other, some(0, 1))
    async with a_consumer(kafka, topic, other) as consumer:
        await buffered(consumer, topic)
        await buffered(consumer, other)
        parts = await fetch(consumer, WAIT_S, 100, wanted={TopicPartition(other, 0)})
        rest = await fetch(consumer, WAIT_S, 100)

    assert [tp.topic for tp in parts] == [other]
    assert [(tp.topic, part.start) for tp, part in rest.items()] == [(topic, 0)]


async def test_a_new_assignment_drops_what_was_fetched_under_the_old_one(
    kafka: Kafka, topic: str
) -> None:
    other = make(kafka.bootstrap)
    Writer(kafka.bootstrap).write(other, some(0, 1))
    async with a_consumer(kafka, topic) as consumer:
        await buffered(consumer, topic)
        consumer.assign([TopicPartition(other, 0)])
        consumer.seek(TopicPartition(other, 0), 0)
        parts = await fetch(consumer, WAIT_S, 100)

    assert [tp.topic for tp in parts] == [other]


async def test_records_that_come_while_it_waits_wake_it(kafka: Kafka) -> None:
    topic = make(kafka.bootstrap)
    async with a_consumer(kafka, topic) as consumer:
        waiting = asyncio.create_task(fetch(consumer, WAIT_S, 100))
        await asyncio.to_thread(Writer(kafka.bootstrap).write, topic, some(0, 1))
        parts = await waiting

    assert [len(records_of(part)) for part in parts.values()] == [1]


async def test_it_gives_up_after_its_time(kafka: Kafka) -> None:
    topic = make(kafka.bootstrap)
    async with a_consumer(kafka, topic) as consumer:
        began = time.monotonic()
        async with asyncio.timeout(WAIT_S):
            assert await fetch(consumer, 0.3, 100) == {}
        assert time.monotonic() - began > 0.25


async def test_it_takes_nothing_once_told_not_to_proceed(kafka: Kafka, topic: str) -> None:
    async with a_consumer(kafka, topic) as consumer:
        await buffered(consumer, topic)
        assert await fetch(consumer, WAIT_S, 100, proceed=lambda: False) == {}
        assert (await take(consumer)).start == 0


async def test_who_waits_can_be_told_not_to_proceed(kafka: Kafka) -> None:
    async with a_consumer(kafka, make(kafka.bootstrap)) as consumer:
        proceed = [True]
        waiting = asyncio.create_task(fetch(consumer, 60, 100, proceed=lambda: proceed[0]))
        await has_waiter(consumer)
        interrupt(consumer)  # asks, and goes on waiting
        await has_waiter(consumer)
        assert not waiting.done()

        proceed[0] = False
        interrupt(consumer)

        assert await asyncio.wait_for(waiting, WAIT_S) == {}


async def test_a_consumer_that_is_closed_says_so_also_to_who_waits(kafka: Kafka) -> None:
    topic = make(kafka.bootstrap)
    async with a_consumer(kafka, topic) as consumer:
        waiting = asyncio.create_task(fetch(consumer, WAIT_S, 100))
        await has_waiter(consumer)

        await consumer.stop()

        with pytest.raises(ConsumerStoppedError):
            await waiting
        with pytest.raises(ConsumerStoppedError):
            await fetch(consumer, WAIT_S, 100)


# ---- what is known without asking


async def test_the_end_is_what_the_last_response_said_for_committed_readers(
    kafka: Kafka, topic: str
) -> None:
    tp = TopicPartition(topic, 0)
    async with a_consumer(kafka, topic) as consumer:
        assert end_of(consumer, TopicPartition("another", 0)) == End(None, 0, None)
        before_ms = time.time() * 1000
        await take(consumer, limit=1)
        known = end_of(consumer, tp)

        assert (known.offset, known.position) == (20, 10)
        assert before_ms - 1 <= known.at_ms <= time.time() * 1000

        consumer.assign([tp])
        assert end_of(consumer, tp) == End(None, 0, None)


async def test_the_end_moves_and_is_dated_also_when_nothing_comes(kafka: Kafka, topic: str) -> None:
    tp = TopicPartition(topic, 0)
    async with a_consumer(kafka, topic) as consumer:
        await read(consumer, 20)
        first = end_of(consumer, tp)

        async def is_dated_anew() -> bool:
            assert await fetch(consumer, 0.1, 100) == {}
            return end_of(consumer, tp).at_ms > first.at_ms

        await until(is_dated_anew, "dated anew", WAIT_S)
