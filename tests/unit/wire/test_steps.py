"""A transaction in two steps against a broker that loses, delays and repeats."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, ProducerFenced
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.breaking.coordinator import Broker, Fate
from wire import transactions
from wire.transactions import NO_TIME_MS, Brokers, RecordBatch, TransactionalProducer, batch_builder

TPS = [TopicPartition("rows", 0), TopicPartition("letters", 0)]


def over(broker: Broker) -> Brokers:
    brokers = Brokers({}, [])
    brokers._client = broker
    return brokers


async def opened(broker: Broker) -> TransactionalProducer:
    return await TransactionalProducer.open(over(broker), "id", 30_000, lane=0)


def batches(number: int, parts: int) -> list[RecordBatch]:
    """Of one group: so many partitions, each with as many records."""
    found = []
    for tp in TPS[:parts]:
        builder = batch_builder(2**20)
        for n in range(parts):
            builder.append(n, NO_TIME_MS, b"key", b"%d" % number, [])
        found.append(RecordBatch(tp, builder, parts))
    return found


def payloads(number: int, parts: int) -> dict[TopicPartition, bytes]:
    """The same batches, but for who wrote them."""
    return {batch.tp: bytes(batch.builder.build())[61:] for batch in batches(number, parts)}


def logs(broker: Broker) -> dict[TopicPartition, list[bytes]]:
    return {tp: broker.leaders[tp].committed[:] for tp in TPS if tp in broker.leaders}


@pytest.fixture(autouse=True)
def hurry() -> Iterator[None]:
    with patch.object(transactions, "_BACKOFF_S", 0), patch.object(transactions, "_MARKERS_S", 0):
        yield


@settings(max_examples=300, deadline=None)
@given(
    fates=st.lists(st.sampled_from(list(Fate)), max_size=60),
    groups=st.lists(st.integers(1, 2), min_size=1, max_size=12),
    last_epoch=st.integers(2, 6),
)
async def test_whatever_is_lost_or_late_each_group_is_there_once_or_was_refused(
    fates: list[Fate], groups: list[int], last_epoch: int
) -> None:
    broker = Broker(last_epoch)
    left = iter(fates)
    producer = await opened(broker)
    broker.fates = lambda: next(left, Fate.ANSWERED)
    expected: dict[TopicPartition, list[bytes]] = {}
    for number, parts in enumerate(groups):
        before = {tp: its[:] for tp, its in expected.items()}
        for tp, payload in payloads(number, parts).items():
            expected.setdefault(tp, []).append(payload)
        try:
            await producer.commit(batches(number, parts))
        except KafkaError:  # the take-over: the id is initialised anew, then the log is read
            producer = await opened(broker)
            found = {tp: its for tp, its in logs(broker).items() if its}
            assert found in (before, expected)
            expected = found
        assert {tp: its for tp, its in logs(broker).items() if its} == expected


async def test_without_faults_no_commit_is_refused_though_producer_ids_run_out() -> None:
    broker = Broker(last_epoch=3)
    producer = await opened(broker)

    for number in range(20):
        await producer.commit(batches(number, 2))

    assert logs(broker) == {tp: [payloads(n, 2)[tp] for n in range(20)] for tp in TPS}
    assert broker.producer[0] > 3


async def test_answers_that_are_lost_refuse_no_commit() -> None:
    broker = Broker(last_epoch=3)
    producer = await opened(broker)
    fates = iter([Fate.ANSWER_LOST, Fate.NOT_YET, Fate.LOST, Fate.ANSWERED] * 30)
    broker.fates = lambda: next(fates)

    for number in range(10):
        await producer.commit(batches(number, 2))

    assert logs(broker) == {tp: [payloads(n, 2)[tp] for n in range(10)] for tp in TPS}


async def test_a_transaction_that_the_broker_gave_up_is_not_said_to_be_committed() -> None:
    broker = Broker()
    producer = await opened(broker)
    with pytest.raises(KafkaError):
        await producer.commit(batches(1, 1), lambda offsets: broker.abort_by_time())

    assert logs(broker) == {TPS[0]: []}
    with pytest.raises(KafkaError, match="refused"):
        await producer.commit(batches(2, 1))


async def test_who_was_overtaken_is_fenced() -> None:
    broker = Broker()
    older = await opened(broker)
    await older.commit(batches(1, 1))
    await opened(broker)

    with pytest.raises(ProducerFenced):
        await older.commit(batches(2, 1))
    assert logs(broker) == {TPS[0]: [payloads(1, 1)[TPS[0]]]}
