"""How the batches of a transaction travel: few requests, and each partition keeps its order."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from aiokafka.errors import MessageSizeTooLargeError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest

from dev.kafka import Kafka
from tests.support.topics.logs import a_name, make
from tests.support.topics.transacting import value_batch, values_of
from wire.transactions import (
    Brokers,
    TransactionalProducer,
)

PARTITIONS = 6
Send: TypeAlias = Callable[..., Awaitable[Any]]


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return make(kafka.bootstrap, partitions=PARTITIONS)


@pytest.fixture
async def producer(brokers: Brokers) -> TransactionalProducer:
    return await TransactionalProducer.open(brokers, a_name(), 30_000, lane=0)


def meet(brokers: Brokers, patch: pytest.MonkeyPatch, send: Callable[[Send, Any], Any]) -> None:
    """Let this be done with each request that carries batches."""
    real = brokers.client.send

    async def met(node: int, request: Any, **more: Any) -> Any:
        async def go_on() -> Any:
            return await real(node, request, **more)

        return await (send(go_on, request) if isinstance(request, ProduceRequest) else go_on())

    patch.setattr(brokers.client, "send", met)


async def test_batches_of_different_partitions_travel_together_each_partitions_in_their_order(
    kafka: Kafka,
    topic: str,
    brokers: Brokers,
    producer: TransactionalProducer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = []

    async def count(go_on: Send, request: Any) -> Any:
        requests.append(request)
        return await go_on()

    meet(brokers, monkeypatch, count)
    batches = [
        value_batch(topic, partition, b"%d" % (2 * piece), b"%d" % (2 * piece + 1))
        for piece in range(3)
        for partition in range(PARTITIONS)
    ]

    offsets = await producer.commit(batches)

    assert len(requests) == 3
    assert offsets == [0] * PARTITIONS + [2] * PARTITIONS + [4] * PARTITIONS
    for partition in range(PARTITIONS):
        assert values_of(kafka, topic, partition) == [b"%d" % n for n in range(6)]


async def test_what_is_taken_beside_a_refused_batch_uses_up_its_numbers(
    kafka: Kafka, topic: str, narrow: str, producer: TransactionalProducer
) -> None:
    with pytest.raises(MessageSizeTooLargeError):
        await producer.commit(
            [
                value_batch(topic, 0, b"in vain"),
                value_batch(narrow, 0, bytes(range(256)) * 4),
                value_batch(topic, 1, b"in vain"),
            ]
        )
    await producer.abort()

    await producer.commit([value_batch(topic, 0, b"x"), value_batch(narrow, 0, b"x")])
    await producer.commit([value_batch(topic, 0, b"y"), value_batch(topic, 1, b"y")])

    assert values_of(kafka, topic, 0) == [b"x", b"y"]
    assert values_of(kafka, topic, 1) == [b"y"]
    assert values_of(kafka, narrow, 0) == [b"x"]


async def test_an_answer_that_is_lost_makes_nothing_twice(
    kafka: Kafka,
    topic: str,
    brokers: Brokers,
    producer: TransactionalProducer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lost: list[Any] = []

    async def lose_the_first(go_on: Send, request: Any) -> Any:
        answer = await go_on()
        if not lost:
            lost.append(answer)
            raise RequestTimedOutError
        return answer

    meet(brokers, monkeypatch, lose_the_first)

    offsets = await producer.commit([value_batch(topic, n, b"a", b"b") for n in range(PARTITIONS)])

    assert offsets == [0] * PARTITIONS
    for partition in range(PARTITIONS):
        assert values_of(kafka, topic, partition) == [b"a", b"b"]


async def test_only_what_a_broker_did_not_take_is_sent_again(
    kafka: Kafka,
    topic: str,
    brokers: Brokers,
    producer: TransactionalProducer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent = []

    async def one_leads_no_more(go_on: Send, request: Any) -> Any:
        sent.append([partition for _, parts in request._topics for partition, _ in parts])
        answer = await go_on()
        if len(sent) == 1:
            [(name, parts, *tags)] = answer.topics
            not_leader = 6
            answer.topics = [
                (
                    name,
                    [(p, not_leader if p == 3 else code, *more) for p, code, *more in parts],
                    *tags,
                )
            ]
        return answer

    meet(brokers, monkeypatch, one_leads_no_more)

    await producer.commit([value_batch(topic, n, b"a") for n in range(PARTITIONS)])

    assert [sorted(each) for each in sent] == [list(range(PARTITIONS)), [3]]
    for partition in range(PARTITIONS):
        assert values_of(kafka, topic, partition) == [b"a"]
