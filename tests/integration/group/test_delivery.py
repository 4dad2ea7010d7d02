"""A batch on its way from the fetch to the commit, in a worker of this process."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from faust.types import TP

import app.group.messages
import app.group.transport
from app.group.assignment import PartitionManager
from app.group.assignor import OnhandAssignor
from app.group.messages import BatchConductor, BatchMessage, Undone, by_partition
from app.group.ports import Worker
from app.group.transport import (
    BatchConsumer,
    BatchConsumerThread,
)
from dev.workers import until
from tests.support.deployment import WAIT_S, Deployment, in_worker
from tests.support.fetching import as_sent
from tests.support.logs import Put
from wire.fetch import Fetched


@in_worker
async def test_faust_builds_our_parts(worker: Deployment) -> None:
    assert type(worker.app.consumer) is BatchConsumer
    assert type(worker.thread) is BatchConsumerThread
    assert type(worker.app.topics) is BatchConductor
    assert type(worker.app.tables) is PartitionManager
    assert type(worker.app.assignor) is OnhandAssignor
    assert worker.kafka_consumer._coordinator._assignors == [worker.app.assignor]


@in_worker
async def test_the_fetcher_has_the_settings_that_were_set_before_it_was_made(
    worker: Deployment,
) -> None:
    made = worker.kafka_consumer._fetcher
    assert made._isolation_level == fetcher.READ_COMMITTED
    assert made._fetch_max_bytes == app.group.transport.MAX_FETCH_BYTES
    assert made._fetch_max_wait_ms <= 150  # Faust's own is 1,500: Pace has set it
    assert made._default_reset_strategy == fetcher.OffsetResetStrategy.NONE


@in_worker
async def test_only_sources_are_fetched_and_only_once_taken_over(worker: Deployment) -> None:
    consumer = worker.kafka_consumer
    changelog = {TopicPartition(worker.settings.changelog_topic, p) for p in (0, 1)}

    assert consumer.assignment() == worker.sources() | changelog
    assert consumer.paused() == changelog


@in_worker
async def test_a_record_passes_from_fetch_to_commit_and_the_budget_is_given_back(
    worker: Deployment,
) -> None:
    applied = worker.app.table.stats.applied[worker.shipments]

    await worker.send(700)

    assert worker.app.table.stats.applied[worker.shipments] == applied + 700

    async def free() -> bool:
        return worker.consumer._budget.used == 0

    await until(free, "given back", WAIT_S)
    assert not worker.failed


@in_worker
async def test_one_message_is_one_batch_undecoded_on_the_agents_queue(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[TP, BatchMessage]] = []
    deliver = BatchConductor.deliver

    def look(conductor: BatchConductor, tp: TP, message: BatchMessage) -> None:
        seen.append((tp, message))
        deliver(conductor, tp, message)

    monkeypatch.setattr(BatchConductor, "deliver", look)
    first = worker.sent
    await worker.send(50)

    records: list[Any] = [r for _, message in seen for r in message.value.originals()]  # type: ignore[union-attr]  # a Batch
    assert [record[0] for record in records] == list(range(first, first + 50))
    assert len(seen) < 10
    assert all(message.refcount == 0 and message.acked for _, message in seen)
    # One agent reads all three topics; the changelog's records go nowhere.
    conductor: Any = worker.app.topics
    index = conductor._tp_index
    assert {len(index[TP(*tp)]) for tp in worker.sources()} == {1}


@in_worker
async def test_what_is_delivered_between_two_assignments_is_not_charged_to_the_next(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust clears it from the queue, or skips it, and does not acknowledge it."""
    assign = worker.app.on_assigned

    async def deliver_late(actives: set[int], *more: Any) -> None:
        tp = TP(worker.shipments, 0)
        part = Fetched(as_sent([(0, 0, b"k", b"v" * 100, ())]), 0, 1)
        await worker.consumer._deliver(tp, part, 1, more=False)
        await assign(actives, *more)

    monkeypatch.setattr(worker.app, "on_assigned", deliver_late)
    await worker.rebalance()

    async def free() -> bool:
        return worker.consumer._budget.used == 0

    await until(free, "given back", 30)


@in_worker
async def test_what_is_fetched_carries_the_number_of_the_seek_before_it(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the fetch began, and waited, under the earlier one."""
    tp = TopicPartition(worker.shipments, 1)
    seen: list[tuple[int, int]] = []

    async def look(consumer: BatchConsumer, tp_: TP, part: Any, epoch: int, more: bool) -> None:
        if tp_ == TP(*tp):
            seen.append((part.start, epoch))

    # A fetch waits in the thread all the time; nothing comes on this partition.
    monkeypatch.setattr(BatchConsumer, "_deliver", look)
    epoch = worker.thread.epochs[tp]
    position = await worker.kafka_consumer.position(tp)
    for number in range(epoch + 1, epoch + 20):
        worker.writer.write(worker.shipments, [Put(b"no", b"{}")], 1)
        await worker.consumer.stop_delivery(1, worker.app.source_topics)
        await worker.thread.seek_and_resume({tp: position}, number)

        async def came(number: int = number) -> bool:
            return (position, number) in seen

        await until(came, f"delivered from {position} as {number}: {seen}", WAIT_S, 0.002)

    # From the position again under each number, and never from behind it first.
    firsts = {number: next(s for s, n in seen if n == number) for _, number in seen}
    assert {start for number, start in firsts.items() if number > epoch} == {position}
    monkeypatch.undo()
    await worker.rebalance()


@in_worker
async def test_the_end_of_a_fetched_partition_is_known_in_the_other_thread(
    worker: Deployment,
) -> None:
    await worker.send(2)

    async def known() -> bool:
        return worker.consumer.end(worker.shipments, 0).offset == worker.sent

    await until(known, "known", WAIT_S)


# ---- the order of delivery


def test_the_topics_of_a_partition_come_one_after_the_other_and_the_last_says_so() -> None:
    sales, shipments = ([TopicPartition(topic, p) for p in range(3)] for topic in ("sa", "sh"))

    assert list(by_partition([*sales[:2], shipments[2], shipments[0]], lambda topic: "one")) == [
        (sales[0], True),
        (shipments[0], False),
        (sales[1], False),
        (shipments[2], False),
    ]
    assert list(by_partition([], lambda topic: "one")) == []


def test_what_another_table_reads_of_the_partition_does_not_follow() -> None:
    """Or a table would wait for it with its commit, and it never comes."""
    lines, more, words = (TopicPartition(topic, 0) for topic in ("lines", "more", "words"))
    reader = {"lines": "split", "more": "split", "words": "counts"}

    assert list(by_partition([lines, words, more], reader.__getitem__)) == [
        (words, False),
        (lines, True),
        (more, False),
    ]


@in_worker
async def test_stopping_one_tables_topics_leaves_the_others_of_the_partition_alone(
    worker: Deployment,
) -> None:
    stopped, *others = worker.app.source_topics

    await worker.consumer.stop_delivery(1, {stopped})

    left = {TopicPartition(topic, 1) for topic in others}
    assert {tp for tp in worker.thread.epochs if tp.partition == 1} == left
    assert worker.kafka_consumer.paused() >= {TopicPartition(stopped, 1)}
    assert not worker.kafka_consumer.paused() & left
    await worker.rebalance()


# ---- the budget


async def test_the_budget_holds_and_gives_back() -> None:
    budget = Undone()
    budget.take(app.group.messages.BUDGET_BYTES - 1)
    assert budget.room.is_set()
    budget.take(1)
    assert not budget.room.is_set()
    budget.free(1)
    assert budget.room.is_set()


class _Stuck(BatchConsumer):
    """Only what waiting for room needs."""

    def __init__(self, confirmed_at: float) -> None:
        self._budget, self.flow_active = Undone(), True
        self._budget.take(app.group.messages.BUDGET_BYTES)
        self._confirmed_at = confirmed_at
        self.app = cast(Worker, self)
        self.failed: list[str] = []

    def confirmed_at(self) -> float:
        return self._confirmed_at or monotonic()

    async def fail(self, sentence: str, error: BaseException | None) -> None:
        self.failed.append(sentence)


async def test_an_agent_that_stands_still_while_kafka_answers_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app.group.transport, "_STUCK_S", 1.5)
    stuck = _Stuck(confirmed_at=0)

    await asyncio.wait_for(stuck._await_room(), WAIT_S)

    assert "has not finished a batch" in stuck.failed[0]


async def test_an_outage_is_not_held_against_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.group.transport, "_STUCK_S", 1.5)
    waiting = _Stuck(confirmed_at=monotonic() - 1000)
    room = asyncio.create_task(waiting._await_room())
    await asyncio.wait([room], timeout=2.5)
    waiting._confirmed_at = 0  # Kafka is back; the commit needs a moment still
    await asyncio.wait([room], timeout=1.2)
    waiting._budget.free(1)
    await asyncio.wait_for(room, WAIT_S)

    assert waiting.failed == []
