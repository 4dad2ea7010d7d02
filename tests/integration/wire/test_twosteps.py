"""Transactions that end in two steps: each has its own epoch, and what comes late ends nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import groupby
from typing import Any, TypeAlias

import pytest
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    InvalidProducerEpoch,
    KafkaError,
    MessageSizeTooLargeError,
    ProducerFenced,
    RequestTimedOutError,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest

from dev.kafka import Kafka
from tests.support.topics.logs import a_name, make
from tests.support.topics.transacting import value_batch, values_of
from wire.requests.twosteps import EndAndMoveOn, FeaturesRequest, ProduceAndAdd
from wire.transactions import (
    Brokers,
    TransactionalProducer,
)

PARTITIONS = 3
GoOn: TypeAlias = Callable[[], Awaitable[Any]]
#: What is done with a request: `go_on` sends it and brings the answer.
Meet: TypeAlias = Callable[[GoOn, Any], Awaitable[Any]]


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return make(kafka.bootstrap, partitions=PARTITIONS)


async def opened(brokers: Brokers, name: str | None = None) -> TransactionalProducer:
    return await TransactionalProducer.open(brokers, name or a_name(), 30_000, lane=0)


def meet(brokers: Brokers, patch: pytest.MonkeyPatch, what: Meet) -> list[Any]:
    """Do this with each request; returns those that were sent, as they come."""
    real, seen = brokers.client.send, []

    async def met(node: int, request: Any, **more: Any) -> Any:
        async def go_on() -> Any:
            return await real(node, request, **more)

        seen.append(request)
        return await what(go_on, request)

    patch.setattr(brokers.client, "send", met)
    return seen


async def as_it_is(go_on: GoOn, request: Any) -> Any:
    return await go_on()


async def as_before_kafka_4(go_on: GoOn, request: Any) -> Any:
    """A cluster that has agreed on nothing."""
    answer = await go_on()
    if isinstance(request, FeaturesRequest):
        answer.tags = {}
    return answer


async def test_a_commit_is_two_requests_and_each_begins_to_count_anew(
    kafka: Kafka, topic: str, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await opened(brokers)
    seen = meet(brokers, monkeypatch, as_it_is)

    for n in range(5):
        assert await producer.commit([value_batch(topic, 0, b"%d" % n, b"and")]) == [3 * n]

    # The one before may still be on its way to all partitions: then records are sent again.
    assert [kind for kind, _ in groupby(map(type, seen))] == [ProduceAndAdd, EndAndMoveOn] * 5
    ends = [each for each in seen if isinstance(each, EndAndMoveOn)]
    epochs = sorted({each._producer_epoch for each in ends})
    assert epochs == list(range(epochs[0], epochs[0] + 5))
    written = [value for n in range(5) for value in (b"%d" % n, b"and")]
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == written


async def test_a_cluster_that_has_not_agreed_is_asked_in_three_steps(
    kafka: Kafka, topic: str, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = meet(brokers, monkeypatch, as_before_kafka_4)
    producer = await opened(brokers)
    seen.clear()

    await producer.commit([value_batch(topic, 0, b"1")])
    await producer.commit([value_batch(topic, 0, b"2")])

    steps = [AddPartitionsToTxnRequest, ProduceRequest, EndTxnRequest]
    assert [kind for kind, _ in groupby(map(type, seen))] == steps * 2
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"1", b"2"]


async def test_one_way_takes_over_from_the_other_with_its_transaction_open(
    kafka: Kafka, topic: str, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = a_name()
    ways: list[Meet] = [as_before_kafka_4, as_it_is, as_before_kafka_4, as_it_is]
    for n, way in enumerate(ways):
        with monkeypatch.context() as patch:
            meet(brokers, patch, way)
            producer = await opened(brokers, name)
            await producer.commit([value_batch(topic, 0, b"%d" % n)])

            def refuse(offsets: Any) -> None:
                raise KafkaError("the worker ends here")

            with pytest.raises(KafkaError, match="ends here"):
                await producer.commit([value_batch(topic, 0, b"in vain")], refuse)

    await (await opened(brokers, name)).commit([value_batch(topic, 0, b"last")])
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"0", b"1", b"2", b"3", b"last"]


@pytest.mark.parametrize("lost", [ProduceAndAdd, EndAndMoveOn])
@pytest.mark.parametrize("times", [1, 3])
async def test_an_answer_that_is_lost_makes_nothing_twice_and_the_next_is_committed(
    kafka: Kafka,
    topic: str,
    brokers: Brokers,
    monkeypatch: pytest.MonkeyPatch,
    lost: type,
    times: int,
) -> None:
    producer = await opened(brokers)
    left = times

    async def lose(go_on: GoOn, request: Any) -> Any:
        nonlocal left
        answer = await go_on()
        if isinstance(request, lost) and left:
            left -= 1
            raise RequestTimedOutError
        return answer

    meet(brokers, monkeypatch, lose)

    for n in range(3):
        await producer.commit([value_batch(topic, p, b"%d" % n) for p in range(PARTITIONS)])

    assert not left
    for partition in range(PARTITIONS):
        assert await asyncio.to_thread(values_of, kafka, topic, partition) == [b"0", b"1", b"2"]


async def test_an_end_that_comes_late_ends_no_later_transaction(
    kafka: Kafka, topic: str, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await opened(brokers)
    late: list[GoOn] = []

    async def keep_the_first(go_on: GoOn, request: Any) -> Any:
        if isinstance(request, EndAndMoveOn) and not late:
            late.append(go_on)
            raise RequestTimedOutError
        return await go_on()

    meet(brokers, monkeypatch, keep_the_first)
    await producer.commit([value_batch(topic, 0, b"whole")])
    too_late = []

    def refuse(offsets: Any) -> None:
        raise KafkaError("the worker ends here")

    with pytest.raises(KafkaError, match="ends here"):
        await producer.commit([value_batch(topic, 0, b"half")], refuse)
    too_late.append(await late[0]())  # the half is in an open transaction now

    assert too_late[0].error_code != 0
    await opened(brokers, producer._id)
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"whole"]


async def test_records_that_come_late_are_in_no_later_transaction(
    kafka: Kafka, topic: str, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await opened(brokers)
    late: list[GoOn] = []

    async def keep(go_on: GoOn, request: Any) -> Any:
        if isinstance(request, ProduceAndAdd) and not late:
            late.append(go_on)
        return await go_on()

    meet(brokers, monkeypatch, keep)
    first = await producer.commit([value_batch(topic, 0, b"1")])
    answer = await late[0]()

    # Refused, or while the first is on its way to all partitions known as what was written.
    [(_, [(_, code, offset, *_)], *_)] = answer.topics
    assert code != 0 or [offset] == first
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"1"]
    again = await late[0]()
    [(_, [(_, code, *_)], *_)] = again.topics
    assert for_code(code) is InvalidProducerEpoch
    await producer.commit([value_batch(topic, 0, b"2")])
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"1", b"2"]


async def test_who_is_overtaken_commits_nothing_in_whatever_step_it_is(
    kafka: Kafka, topic: str, brokers: Brokers
) -> None:
    older = await opened(brokers)
    await older.commit([value_batch(topic, 0, b"1")])
    newer = await opened(brokers, older._id)
    with pytest.raises(ProducerFenced):
        await older.commit([value_batch(topic, 0, b"too late")])

    await newer.commit([value_batch(topic, 0, b"2")])
    with pytest.raises(KafkaError, match="refused"):
        await older.commit([value_batch(topic, 0, b"too late")])
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"1", b"2"]


async def test_who_is_overtaken_between_its_steps_commits_nothing(
    kafka: Kafka, topic: str, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await opened(brokers)
    newer: list[TransactionalProducer] = []

    async def overtake(go_on: GoOn, request: Any) -> Any:
        if isinstance(request, EndAndMoveOn) and not newer:
            newer.append(await opened(brokers, older._id))
        return await go_on()

    meet(brokers, monkeypatch, overtake)
    with pytest.raises(ProducerFenced):
        await older.commit([value_batch(topic, 0, b"too late")])

    await newer[0].commit([value_batch(topic, 0, b"1")])
    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"1"]


async def test_after_a_refused_batch_it_goes_on_with_the_epoch_of_the_abort(
    kafka: Kafka, topic: str, narrow: str, brokers: Brokers
) -> None:
    producer = await opened(brokers)
    for first in (narrow, topic):  # also where nothing else was in the transaction
        with pytest.raises(MessageSizeTooLargeError):
            await producer.commit(
                [value_batch(first, 0, b"in vain"), value_batch(narrow, 0, bytes(range(256)) * 4)][
                    first == narrow :
                ]
            )
        await producer.abort()
        await producer.commit([value_batch(topic, 0, b"x", b"y"), value_batch(narrow, 0, b"x")])

    assert await asyncio.to_thread(values_of, kafka, topic, 0) == [b"x", b"y"] * 2
    assert await asyncio.to_thread(values_of, kafka, narrow, 0) == [b"x"] * 2


async def test_the_last_epoch_of_a_producer_id_is_followed_by_another_id(
    kafka: Kafka, topic: str, brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    producer = await opened(brokers)
    was = producer._producer

    async def answer_with_another(go_on: GoOn, request: Any) -> Any:
        answer = await go_on()
        if isinstance(request, EndAndMoveOn):
            answer.producer_id, answer.producer_epoch = other._producer
        return answer

    other = await opened(brokers)
    with monkeypatch.context() as patch:
        meet(brokers, patch, answer_with_another)
        await producer.commit([value_batch(topic, 0, b"1")])

    assert producer._producer == other._producer
    assert producer._producer[0] != was[0]


async def test_a_broker_without_the_requests_is_not_asked_in_other_words(
    brokers: Brokers, topic: str
) -> None:
    for request in (ProduceAndAdd("id", -1, 1, []), EndAndMoveOn("id", 1, 1, True)):
        with pytest.raises(IncompatibleBrokerVersion):
            request.prepare({0: (3, 11), 26: (0, 4)})
