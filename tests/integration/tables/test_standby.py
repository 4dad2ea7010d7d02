"""Standing by, becoming the owner, having been it: what may be answered, and how far behind."""

import asyncio

import pytest

from core.stages import Role, Stage
from dev.kafka import Kafka
from dev.workers import until
from tables.changes.ring import ReadTo, RowsSince
from tables.home.store import StoreDamaged
from tests.support.inside.delivered import WAIT_S, Gate
from tests.support.inside.owners import (
    Shop,
    Worker,
    a_delivery_of,
    a_worker,
    stocked,
    with_history,
)

STANDBY = Stage.STANDBY


async def test_a_standby_answers_once_it_is_past_the_end_that_it_saw_and_then_follows(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await with_history(shop)
    shop.append(a_delivery_of(2, first=3))
    async with a_worker(shop) as owner, a_worker(shop) as standby:
        gate = Gate()
        follower = standby.table._home.follower
        monkeypatch.setattr(follower, "_poll", gate.before(follower._poll))
        await standby.table.assign((), {0})
        await gate.is_reached()
        assert standby.table.freshness(0) is None  # still loading: never an answer
        gate.open.set()
        await standby.is_(STANDBY)
        fresh = standby.table.freshness(0)
        assert fresh is not None
        assert (fresh.role, fresh.lag_events) == (Role.STANDBY, 2)
        await owner.own(0)
        await owner.deliver()
        await owner.committed()
        await standby.committed()

        assert standby.rows() == owner.rows()

        async def at_the_end() -> bool:
            (status,) = standby.table.status()
            return status.standby_lag_records == 0

        await until(at_the_end, "without lag", WAIT_S)


async def test_a_standby_becomes_the_owner_from_what_it_has(shop: Shop) -> None:
    await with_history(shop)
    async with a_worker(shop) as worker:
        await worker.table.assign((), {0})
        await worker.is_(STANDBY)
        restored = worker.table.stats.restored

        await worker.rebalance({0})
        await worker.active()

        assert worker.table.stats.restored - restored <= 1  # its last meta record, again
        assert worker.rows() == {f"SKU-{n:04}/here": 1 for n in range(3)}


async def test_who_stands_by_follows_on_while_the_group_rebalances(shop: Shop) -> None:
    await with_history(shop)
    async with a_worker(shop) as leaver, a_worker(shop) as standby:
        await standby.table.assign((), {0})
        await standby.is_(STANDBY)
        await leaver.own(0)

        await standby.table.revoke()  # it has heard of the rebalance, and waits for the others
        shop.append(a_delivery_of(2, first=3))
        await leaver.deliver()
        await leaver.table.revoke()  # its last commit
        await standby.committed()

        assert len(standby.rows()) == 5
        feed = standby.partition().feed
        await standby.table.assign((), {0})
        await standby.is_(STANDBY)
        assert standby.partition().feed is feed  # nothing was begun anew


async def test_a_standbys_store_that_is_lost_while_the_group_rebalances_is_restored_after_it(
    shop: Shop,
) -> None:
    await with_history(shop)
    async with a_worker(shop) as standby:
        await standby.table.assign((), {0})
        await standby.is_(STANDBY)
        lost = standby.partition().store

        await standby.table.revoke()
        standby.table._give_up(standby.partition(), lost, StoreDamaged("it was bent"))
        await standby.table.assign((), {0})
        await standby.committed()

        assert standby.partition().store is not lost
        assert len(standby.rows()) == 3


async def test_what_a_worker_owns_is_taken_over_before_it_loads_what_it_stands_by_for(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tables.home.feed._SOON", 0)
    monkeypatch.setattr("tables.partition._MISSED_S", 600.0)
    shop = stocked(kafka.bootstrap, 2)
    async with a_worker(shop) as first, a_worker(shop) as worker:
        await first.own(0, 1)
        for number in (0, 1):
            await first.deliver(number=number)
            await first.committed(number=number)
        gate, asked = Gate(), worker.membership.confirm
        monkeypatch.setattr(worker.membership, "confirm", gate.before(asked))
        await worker.table.assign({0}, {1})
        await gate.is_reached()

        async def waits() -> bool:
            held = worker.table.held.get(1)
            return held is not None and held.feed in worker.table._home.follower._waiting

        await until(waits, "waiting", WAIT_S)
        assert worker.state(1) is Stage.LOADING
        gate.open.set()
        await worker.active(0)
        await worker.is_(STANDBY, 1)

        assert worker.rows(1) == first.rows(1)


async def test_who_stood_by_tells_a_reader_of_rows_what_the_owner_told_nobody(shop: Shop) -> None:
    await with_history(shop)
    async with a_worker(shop) as owner, a_worker(shop) as standby:
        await standby.table.assign((), {0})
        await standby.is_(STANDBY)
        await owner.own(0)
        began = changed(owner, ReadTo(is_now=True))
        standby.table.rings.asked()  # of another partition, which it owns

        shop.append(a_delivery_of(2, first=3))
        await owner.deliver()
        await owner.committed()
        await standby.rebalance({0})  # the owner is gone, and nobody has asked it since
        await standby.active()
        told = changed(standby, ReadTo(began.place))

        assert (len(told.rows), told.is_reset, told.is_all) == (2, False, True)
        assert told == changed(owner, ReadTo(began.place))


def changed(worker: Worker, after: ReadTo) -> RowsSince:
    found = worker.table.changed(0, after, 100, lambda key: True)
    assert found is not None
    return found.since


async def test_what_was_owned_answers_as_former_until_another_worker_owns_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tables.partition._REPLACED_S", 0.0)
    shop.append(a_delivery_of(2))
    async with a_worker(shop, session_timeout_s=2.0) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()
        await worker.table.revoke()
        fresh = worker.table.freshness(0)
        assert fresh is not None
        assert fresh.role is Role.FORMER

        await worker.table.assign((), ())
        await asyncio.sleep(2.5)  # sessions end, and still nobody else has it
        assert len(worker.rows()) == 2

        worker.owned_elsewhere = {0}
        await worker.is_(None)
        assert worker.table.freshness(0) is None


async def test_lag_is_against_the_end_last_seen(shop: Shop) -> None:
    await with_history(shop)
    async with a_worker(shop) as worker:
        await worker.own(0)
        shop.append(a_delivery_of(4, first=3))
        end = shop.end(shop.shipments)
        worker.delivery.ends[shop.shipments, 0] = worker.delivery.end("", 0)._replace(
            offset=end, at_ms=2**50, high=end
        )
        behind = worker.table.freshness(0)
        await worker.deliver()
        await worker.committed()
        level = worker.table.freshness(0)

    assert behind is not None
    assert level is not None
    assert (behind.lag_events, level.lag_events) == (4, 0)
    assert (behind.role, level.role) == (Role.ACTIVE, Role.ACTIVE)
    assert level.position == f"{shop.shipments}-0@6"
