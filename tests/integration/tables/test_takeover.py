"""From "assigned" to "delivering", and every way in which it can be overtaken or refused."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError, KafkaConnectionError

from core.stages import Role, Stage
from dev.kafka import Kafka
from dev.workers import until
from domain.rules.held import CURRENT
from domain.stock import STOCK
from tables.home.changelog import ChangelogWriter
from tables.ports import CommitRefused, NotAMember, Sealed
from tests.support.inside.delivered import WAIT_S, Gate
from tests.support.inside.owners import Shop, Worker, a_delivery_of, a_worker, stocked, with_history

ACTIVE, STANDBY, FORMER = Stage.ACTIVE, Stage.STANDBY, Stage.FORMER


# ---- the steps


async def test_a_new_table_is_taken_over_delivered_from_the_start_and_commits(shop: Shop) -> None:
    shop.append(a_delivery_of(3, quantity=2))
    async with a_worker(shop) as worker:
        await worker.own(0)
        assert worker.delivery.started[0][0] == dict.fromkeys(shop.topics, 0)
        await worker.deliver()
        await worker.committed()
        rows = worker.rows()

    assert rows == {f"SKU-{n:04}/here": 2 for n in range(3)}
    assert [row["received"] for row in shop.committed_rows().values()] == [2, 2, 2]
    assert shop.metas()[-1].positions[shop.shipments] == 3
    assert shop.metas()[-1].counts[shop.shipments] == (3, 0, 0)


async def test_the_next_owner_goes_on_where_the_last_one_committed(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as first:
        await first.own(0)
        await first.deliver()
        await first.committed()
    shop.append(a_delivery_of(2, first=3))
    async with a_worker(shop) as second:
        await second.own(0)
        assert second.delivery.started[0][0][shop.shipments] == 3
        # What was accepted before is known: the window came along.
        shop.append(a_delivery_of(5))
        await second.deliver()
        await second.committed()
        rows = second.rows()

    assert rows == {f"SKU-{n:04}/here": 1 for n in range(5)}
    assert shop.metas()[-1].counts[shop.shipments] == (5, 5, 0)


@pytest.mark.parametrize("step", ["confirm", "initialise"])
async def test_membership_is_confirmed_before_and_the_end_read_after_older_writers_are_refused(
    shop: Shop, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.append(a_delivery_of(4))
    async with a_worker(shop) as older, a_worker(shop) as newer:
        await older.own(0)
        await older.deliver()
        await older.committed()
        gate = Gate()
        (gate_confirm if step == "confirm" else gate_initialise)(newer, gate, monkeypatch)
        await newer.table.assign({0}, ())
        await gate.is_reached()
        # Not fenced yet: the older one may still commit, and what it commits is not lost.
        shop.append(a_delivery_of(1, first=4))
        older.delivery.started[0] = ({shop.shipments: 4}, older.partition().epoch)
        await older.deliver()
        await older.committed()
        gate.open.set()
        await newer.active()

        assert newer.rows() == older.rows()
        assert newer.delivery.started[0][0][shop.shipments] == 5
        owned = older.partition().owned
        assert owned is not None
        with pytest.raises(CommitRefused):
            await owned.writer.commit(Sealed({b"a\x00b": b"zombie"}, [], [], b"{}"))


async def test_partitions_are_taken_over_each_alone(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = stocked(kafka.bootstrap, partitions=3)
    async with a_worker(shop) as worker:
        gate = Gate()
        gate_started(worker, gate, monkeypatch)
        await worker.table.assign({0, 1, 2}, ())
        await gate.is_reached()

        for p in range(3):  # one of them is held up in its last step
            await worker.active(p)
            await worker.deliver(number=p)
            await worker.committed(number=p)
        assert [len(worker.rows(p)) for p in range(3)] == [2, 2, 2]
        gate.open.set()


# ---- overtaken, at every await


def gate_confirm(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker.membership, "confirm", gate.before(worker.membership.confirm))


def gate_initialise(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChangelogWriter, "open", gate.before(ChangelogWriter.open))


def gate_initialised(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChangelogWriter, "open", gate.after(ChangelogWriter.open))


def gate_end(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker.table._home.follower, "look", gate.after(worker.table._home.follower.look))


def gate_restore(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    follower = worker.table._home.follower
    patch.setattr(follower, "_poll", gate.before(follower._poll))


def gate_look(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker.table._sources, "look", gate.before(worker.table._sources.look))


def gate_looked(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker.table._sources, "look", gate.after(worker.table._sources.look))


def gate_started(worker: Worker, gate: Gate, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(worker.delivery, "start", gate.after(worker.delivery.start))


STEPS = [
    gate_confirm, gate_initialise, gate_initialised, gate_end, gate_restore, gate_look,
    gate_looked, gate_started,
]  # fmt: skip
Step = Callable[[Worker, Gate, pytest.MonkeyPatch], None]
# There is one follower, and one initialisation at a time: held up for the next one, too.
SHARED = (gate_initialise, gate_initialised, gate_restore)


@pytest.mark.parametrize("step", STEPS)
async def test_a_take_over_that_is_overtaken_by_another_changes_nothing_for_it(
    shop: Shop, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_history(shop)
    async with a_worker(shop) as worker:
        gate = Gate()
        step(worker, gate, monkeypatch)
        await worker.table.assign({0}, ())
        await gate.is_reached()
        old_epoch = worker.partition().epoch

        await worker.rebalance({0})
        if step not in SHARED:
            await worker.active()
        gate.open.set()
        await worker.active()
        await the_earlier_one_has_ended(worker)

        assert worker.state() is ACTIVE
        assert worker.partition().epoch > old_epoch
        shop.append(a_delivery_of(2, first=3))
        await worker.catch_up()
        assert worker.rows() == {f"SKU-{n:04}/here": 1 for n in range(5)}
        assert worker.failed == []
        assert worker.delivery.calls.count(("start", 0)) <= 2  # nobody fenced the newest one

    assert shop.metas()[-1].positions[shop.shipments] == 5


@pytest.mark.parametrize("step", STEPS)
async def test_a_take_over_that_is_overtaken_by_standing_by_leaves_a_standby_that_follows(
    shop: Shop, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_history(shop)
    async with a_worker(shop) as worker, a_worker(shop) as owner:
        gate = Gate()
        step(worker, gate, monkeypatch)
        await worker.table.assign({0}, ())
        await gate.is_reached()

        await worker.rebalance((), {0})
        if step is not gate_restore:
            await worker.is_(STANDBY)
        gate.open.set()
        await worker.is_(STANDBY)
        await the_earlier_one_has_ended(worker)
        await owner.own(0)
        shop.append(a_delivery_of(2, first=3))
        await owner.catch_up()  # a late initialisation may have fenced it once
        await worker.committed()

        assert worker.rows() == owner.rows()
        assert worker.state() is STANDBY
        assert (worker.failed, owner.failed) == ([], [])


async def the_earlier_one_has_ended(worker: Worker) -> None:
    """One task maintains the table; what takes over or follows has come to its end."""

    async def one_left() -> bool:
        return len([*worker.table._tasks]) == 1

    await until(one_left, f"ended: {[*worker.table._tasks]}", WAIT_S, 0.005)


# ---- what stands in the way


async def test_a_coordinator_that_does_not_know_us_yet_is_asked_again(shop: Shop) -> None:
    async with a_worker(shop) as worker:
        worker.membership.answers = [NotAMember(), KafkaConnectionError(), NotAMember()]
        await worker.own(0)

        assert worker.membership.asked == 4
        assert worker.failed == []


async def test_a_worker_that_cannot_take_over_although_the_coordinator_answers_ends(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_worker(shop, session_timeout_s=0.2) as worker:

        async def never(*args: Any) -> None:
            await asyncio.sleep(60)

        monkeypatch.setattr(ChangelogWriter, "open", never)
        await worker.table.assign({0}, ())
        await worker.has_failed()

    assert "could not be taken over" in worker.failed[0]
    assert "although the group coordinator answers" in worker.failed[0]


async def test_a_worker_waits_while_the_coordinator_does_not_answer_either(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_worker(shop, session_timeout_s=0.6) as worker:
        worker.membership.silent_since = monotonic() - 60
        open_ = ChangelogWriter.open
        tries = 0

        async def away(*args: Any) -> Any:
            nonlocal tries
            tries += 1
            if tries < 3:
                await asyncio.sleep(0.8)  # longer than a session
                raise KafkaConnectionError
            return await open_(*args)

        monkeypatch.setattr(ChangelogWriter, "open", away)
        await worker.own(0)

        assert worker.failed == []
        # It owns, but the coordinator has not said so lately.
        fresh = worker.table.freshness(0)
        assert fresh is not None
        assert fresh.role is Role.FORMER


async def test_an_assignment_that_ends_before_delivery_starts_is_tried_again(shop: Shop) -> None:
    shop.append(a_delivery_of(2))
    async with a_worker(shop) as worker:
        worker.delivery.refuse_to_start = [IllegalStateError("not assigned"), IllegalStateError()]
        await worker.own(0)
        await worker.deliver()
        await worker.committed()

        assert worker.delivery.calls == [("start", 0)] * 3
        assert worker.failed == []


@pytest.mark.parametrize("window", [999, 1001])
async def test_a_worker_with_another_window_ends_with_the_way_back(shop: Shop, window: int) -> None:
    await with_history(shop)
    async with a_worker(shop, window=window) as worker:
        await worker.table.assign({0}, ())
        await worker.has_failed()

    assert "a duplicates window of 1,000 offsets; this worker has" in worker.failed[0]
    assert "Set ONHAND_DEDUP_WINDOW back" in worker.failed[0]
    assert worker.delivery.started == {}


async def test_a_worker_with_other_rules_ends_with_the_way_on(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_history(shop)
    monkeypatch.setattr(type(STOCK), "rules", CURRENT.number + 1)
    async with a_worker(shop) as worker:
        await worker.table.assign({0}, ())
        await worker.has_failed()

    assert f"was built with rules {CURRENT.number}" in worker.failed[0]
    assert "the next ONHAND_VERSION" in worker.failed[0]
