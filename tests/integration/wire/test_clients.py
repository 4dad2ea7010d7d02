"""Contract with aiokafka 0.14 (wire/clients.py): whenever it is stopped, nothing stays open."""

import asyncio
import gc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient

from dev.kafka import Kafka
from dev.workers import until
from tests.support.topics.logs import make
from wire import clients

MAKERS: list[Callable[..., Any]] = [
    lambda **where: AIOKafkaProducer(**where, enable_idempotence=True),
    lambda **where: AIOKafkaConsumer(**where, group_id=None),
    AIOKafkaAdminClient,
]


def left_open() -> list[str]:
    """What is let go of while it is open."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gc.collect()
    return [str(one.message) for one in caught]


@pytest.mark.parametrize("make", MAKERS, ids=["producer", "consumer", "admin"])
async def test_a_start_cancelled_at_any_moment_leaves_no_connection(
    kafka: Kafka, make: Callable[..., Any]
) -> None:
    left_open()
    steps, ended = 0, False
    while not ended:
        client = make(bootstrap_servers=kafka.bootstrap)
        starting = asyncio.create_task(clients.start(client))
        for _ in range(steps):
            # A pass of the loop that does something: the kernel's answers take their time.
            await asyncio.sleep(0.0002)
        ended = starting.done()
        starting.cancel()
        await asyncio.wait([starting])
        await clients.close(client, 5)
        del client, starting
        assert left_open() == [], f"cancelled after {steps} steps"
        # Each of the first ones; a slow broker would make a long row of all others.
        steps += max(1, steps // 8)
    assert steps > 3


async def is_reconnecting(producer: AIOKafkaProducer) -> bool:
    return bool(producer.client._get_conn_lock.locked())


async def test_a_stop_that_is_cut_off_leaves_no_connection(own_kafka: Kafka) -> None:
    left_open()
    topic = make(own_kafka.bootstrap)
    producer = AIOKafkaProducer(
        bootstrap_servers=own_kafka.bootstrap, enable_idempotence=True, request_timeout_ms=1000
    )
    await clients.start(producer)
    await producer.send_and_wait(topic, b"1", partition=0)
    own_kafka.pause()
    await producer.send(topic, b"2", partition=0)

    # Its connection is given up, the next one waits for a broker that says nothing.
    await until(partial(is_reconnecting, producer), "reconnecting", 60, 0.01)
    with pytest.raises(TimeoutError):
        await clients.close(producer, 0.5)
    own_kafka.resume()
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    del producer
    # What still ran when this one came has had its chance to open something.
    later = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await clients.start(later)
    await clients.close(later, 30)
    del later
    assert not [name for name in names if name.startswith(("Sender.", "AIOKafkaClient."))]
    assert left_open() == []
