"""A worker of this process as a member of its group: heartbeats, offsets, rebalances."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place
from faust.types import TP

from app.group.assignor import OnhandAssignor
from dev.workers import until
from tables.ports import NotAMember
from tests.support.inside.deployment import WAIT_S, Deployment, in_worker


@in_worker
async def test_heartbeats_confirm_membership_by_themselves(worker: Deployment) -> None:
    began = monotonic()

    async def confirmed() -> bool:
        return worker.consumer.confirmed_at() > began

    await until(confirmed, "confirmed", WAIT_S)
    assert worker.consumer.confirmed_at() <= monotonic()


@in_worker
async def test_confirm_asks_the_coordinator_now(worker: Deployment) -> None:
    began = monotonic()
    await worker.consumer.confirm()

    assert began <= worker.consumer.confirmed_at() <= monotonic()


@in_worker
async def test_the_groups_offsets_are_the_positions_of_the_meta_record(worker: Deployment) -> None:
    await worker.send(5)
    await worker.consumer.commit()

    reader = Consumer(
        {"bootstrap.servers": worker.settings.kafka, "group.id": worker.settings.group}
    )
    (place,) = reader.committed([Place(worker.shipments, 0)], timeout=60)
    reader.close()
    assert place.offset == worker.sent


@in_worker
async def test_offsets_that_cannot_be_committed_end_nobody_and_do_not_count(
    worker: Deployment,
) -> None:
    tp = TP(worker.shipments, 0)
    known = worker.consumer._committed_offset[tp]

    unassigned = await worker.thread.commit({TP("no-such-topic", 0): 1})
    given_away = await worker.consumer._commit_offsets({TP("no-such-topic", 0): 1})

    assert (unassigned, given_away) == (False, False)
    assert worker.consumer._committed_offset[tp] == known
    assert not worker.app.should_stop


@in_worker
async def test_a_rebalance_gives_back_before_and_takes_over_anew_after(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.send(3)
    calls: list[tuple[str, int, bool, int]] = []
    revoke, assign = worker.app.on_revoked, worker.app.on_assigned

    def note(what: str) -> None:
        generation = worker.app.consumer_generation_id
        calls.append((what, generation, worker.consumer.flow_active, len(worker.thread.epochs)))

    async def revoked() -> None:
        note("revoked")
        await revoke()

    async def assigned(actives: set[int], *more: Any) -> None:
        note(f"assigned {sorted(actives)}")
        await assign(actives, *more)

    monkeypatch.setattr(worker.app, "on_revoked", revoked)
    monkeypatch.setattr(worker.app, "on_assigned", assigned)
    old = worker.app.consumer_generation_id
    epochs = dict(worker.thread.epochs)
    budget = worker.consumer._budget

    await worker.rebalance()

    # Revoked in the old generation while it still flows; assigned in the new one with nothing
    # to fetch and the flow held.
    assert [call[:3] for call in calls] == [
        ("revoked", old, True),
        ("assigned [0, 1]", worker.app.consumer_generation_id, False),
    ]
    assert calls[1][3] == 0
    assert worker.consumer._budget is not budget
    assert all(worker.thread.epochs[tp] > epoch for tp, epoch in epochs.items())
    await worker.send(3)


@in_worker
async def test_a_coordination_that_has_died_is_noticed_by_the_next_fetch(
    worker: Deployment,
) -> None:
    coordinator = worker.kafka_consumer._coordinator
    coordinator._pending_exception = KafkaError("the coordination ended")
    try:

        async def told() -> bool:
            return any("the coordination ended" in sentence for sentence in worker.failed)

        await until(told, "told", WAIT_S)
    finally:
        worker.failed.clear()
    assert coordinator._pending_exception is None
    # Our fail() ends the process; here it did not, so the fetching must be started again.
    await restart_fetching(worker)
    await worker.send(1)


async def restart_fetching(worker: Deployment) -> None:
    fetching: Any = worker.app._fetcher
    await fetching.stop()
    fetching.service_reset()
    await fetching.maybe_start()


@in_worker
async def test_partitions_that_cannot_be_given_back_end_the_worker(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(worker.app, "on_revoked", broken)
        await worker.rebalance()

    assert len(worker.failed) == 1
    assert "could not be given back" in worker.failed[0]
    worker.failed.clear()


@in_worker
async def test_a_worker_that_the_coordinator_has_forgotten_is_not_confirmed(
    worker: Deployment,
) -> None:
    coordinator = worker.kafka_consumer._coordinator
    generation = worker.app.consumer_generation_id
    coordinator.member_id = "nobody"
    forgotten_at = monotonic()  # what is confirmed from now on was asked in the new name

    with pytest.raises(NotAMember):
        await worker.consumer.confirm()
    unconfirmed = worker.consumer.confirmed_at()

    # It joins again by itself.
    async def again() -> bool:
        return bool(worker.app.consumer_generation_id > generation)

    await until(again, "a member again", WAIT_S)
    await worker.active()
    await worker.send(1)
    assert unconfirmed < forgotten_at


@in_worker
async def test_a_worker_whose_topics_the_group_does_not_read_ends_with_a_sentence(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no partitions of any topic: that alone would look like a worker too many."""
    coordinator = worker.kafka_consumer._coordinator
    with monkeypatch.context() as patch:
        patch.setattr(OnhandAssignor, "placed_topics", lambda _: frozenset([worker.shipments]))
        await worker.in_thread(coordinator.request_rejoin)

        async def told() -> bool:
            return bool(worker.failed)

        await until(told, "told", WAIT_S)
    unread = sorted(
        {*worker.app.source_topics, worker.settings.changelog_topic} - {worker.shipments}
    )
    assert f"do not read {', '.join(unread)}. Workers of one" in worker.failed[0]
    worker.failed.clear()
    await worker.rebalance()
