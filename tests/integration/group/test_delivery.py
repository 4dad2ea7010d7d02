"""A batch on its way from the fetch to the commit, in a worker of this process."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer import fetcher
from faust.types import TP

import app.group.shares
import app.group.transport
from app.group.assignment import PartitionManager
from app.group.assignor import OnhandAssignor
from app.group.messages import BatchConductor, BatchMessage, by_partition
from app.group.shares import BUDGET_BYTES, STUCK_S, Undone, watch_agents
from app.group.transport import (
    BatchConsumer,
    BatchConsumerThread,
)
from dev.workers import until
from tests.support.inside.deployment import WAIT_S, Deployment, in_worker
from tests.support.topics.fetching import as_sent
from tests.support.topics.logs import Put
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
        return not any(worker.consumer._budget.used.values())

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
        return not any(worker.consumer._budget.used.values())

    await until(free, "given back", 60)


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


def of_all(topic: str) -> str:
    return "one"


async def test_the_budget_holds_and_gives_back() -> None:
    freed: list[int] = []
    budget = Undone(of_all, lambda: freed.append(1))
    budget.take("sales", BUDGET_BYTES - 1)
    assert budget.has_room("shipments")
    budget.take("shipments", 1)
    assert not budget.has_room("sales")
    budget.free("shipments", 1)
    assert budget.has_room("sales")
    budget.free("sales", BUDGET_BYTES - 1)
    assert freed == [1]


async def test_a_reader_whose_share_is_full_takes_nothing_from_another() -> None:
    budget = Undone(lambda topic: topic)
    budget.take("lines", BUDGET_BYTES)

    assert budget.has_room("words")
    assert await budget.some_room(["lines", "words"])
    assert not await budget.some_room(["lines"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The newest is now, in seconds."""
    moments = [1_000.0]
    monkeypatch.setattr(app.group.shares, "monotonic", lambda: moments[-1])
    monkeypatch.setattr(app.group.shares, "_LOOK_S", 0.001)
    return moments


class _Watched:
    """A worker whose agents are watched."""

    def __init__(self) -> None:
        self.budget, self.is_away, self.looks = Undone(lambda topic: topic), False, 0
        self.failed: list[str] = []

    async def watch(self) -> None:
        def may_wait() -> bool:
            self.looks += 1
            return self.is_away

        await watch_agents(lambda: self.budget, may_wait, self.fail)

    async def fail(self, sentence: str, error: BaseException | None) -> None:
        self.failed.append(sentence)

    async def looked(self) -> None:
        """Some looks later."""
        goal = self.looks + 3

        async def enough() -> bool:
            return self.looks >= goal

        await until(enough, "looked", WAIT_S, 0.001)


async def test_an_agent_that_stands_still_while_kafka_answers_ends_the_worker(
    clock: list[float],
) -> None:
    worker = _Watched()
    worker.budget.take("words", 1)
    worker.budget.take("lines", BUDGET_BYTES)
    watching = asyncio.create_task(worker.watch())
    await worker.looked()
    clock.append(clock[-1] + STUCK_S - 1)
    await worker.looked()
    assert worker.failed == []

    clock.append(clock[-1] + 2)
    await worker.looked()
    watching.cancel()
    assert "The agent of lines has not finished a batch" in worker.failed[0]


async def test_an_agent_that_gets_on_may_have_all_its_share_whenever_somebody_looks(
    clock: list[float],
) -> None:
    worker = _Watched()
    worker.budget.take("lines", BUDGET_BYTES)
    watching = asyncio.create_task(worker.watch())
    for _ in range(3):
        await worker.looked()
        clock.append(clock[-1] + STUCK_S - 1)
        worker.budget.free("lines", 1_000)
        worker.budget.take("lines", 1_000)
    await worker.looked()

    watching.cancel()
    assert worker.failed == []


async def test_neither_an_outage_nor_a_rebalance_is_held_against_the_agent(
    clock: list[float],
) -> None:
    worker = _Watched()
    worker.budget.take("lines", BUDGET_BYTES)
    worker.is_away = True
    watching = asyncio.create_task(worker.watch())
    await worker.looked()
    clock.append(clock[-1] + 1_000)
    await worker.looked()
    worker.is_away = False  # Kafka is back; the commit needs a moment still
    await worker.looked()
    clock.append(clock[-1] + STUCK_S - 1)
    await worker.looked()
    worker.budget = Undone(lambda topic: topic)
    worker.budget.take("lines", BUDGET_BYTES)
    await worker.looked()
    clock.append(clock[-1] + STUCK_S - 1)
    await worker.looked()

    watching.cancel()
    assert worker.failed == []
