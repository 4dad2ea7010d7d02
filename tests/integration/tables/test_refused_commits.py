"""What a refused commit costs: one more take-over, and after three in a row the worker."""

import asyncio
from typing import Any

import pytest

from core.stages import Stage
from dev.kafka import Kafka
from dev.workers import until
from tables.home.changelog import ChangelogWriter
from tests.support.inputs.builders import a_sale
from tests.support.inside.delivered import WAIT_S, Gate
from tests.support.inside.owners import Shop, Worker, a_delivery_of, a_worker, skus_of

STANDBY, FORMER = Stage.STANDBY, Stage.FORMER


async def test_a_fenced_commit_costs_one_more_take_over_and_no_row(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await shop.fence()
        await worker.deliver()
        await worker.catch_up()

        assert worker.rows() == {f"SKU-{n:04}/here": 1 for n in range(3)}
        assert worker.delivery.calls == [("start", 0), ("stop", 0), ("start", 0)]
        assert worker.failed == []
        assert worker.partition().refusals == 0  # the next success forgives it

    assert shop.metas()[-1].counts[shop.shipments] == (3, 0, 0)


async def test_three_refusals_in_a_row_end_the_worker_with_the_two_likely_reasons(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.append(a_delivery_of(1))
    commit = ChangelogWriter.commit

    async def fenced(writer: ChangelogWriter, *args: Any) -> int:
        await shop.fence()
        return await commit(writer, *args)

    async with a_worker(shop) as worker:
        await worker.own(0)
        monkeypatch.setattr(ChangelogWriter, "commit", fenced)
        for refusals in (1, 2):
            await worker.deliver()
            await starts_again(worker, 1 + refusals)
        await worker.deliver()
        await worker.has_failed()

    assert len(worker.failed) == 1
    assert "Partition 0: the broker refused 3 commits in a row" in worker.failed[0]
    assert "max.message.bytes" in worker.failed[0]
    assert "another process runs with this ONHAND_NAME" in worker.failed[0]
    assert shop.committed_rows() == {}


async def starts_again(worker: Worker, times: int) -> None:
    """Wait until delivery was started so often."""

    async def started() -> bool:
        return worker.delivery.calls.count(("start", 0)) == times

    await until(started, f"started {times} times: {worker.delivery.calls}", WAIT_S, 0.005)
    await worker.active()


async def test_two_refusals_and_a_success_are_forgiven(shop: Shop) -> None:
    async with a_worker(shop) as worker:
        await worker.own(0)
        for turn in range(4):
            shop.append(a_delivery_of(1, first=turn))
            if turn != 2:
                await shop.fence()
            # A redelivery of the last turn may have had one more commit to be refused.
            await worker.active()
            await worker.deliver()
            await worker.catch_up()

        assert len(worker.rows()) == 4
        assert worker.failed == []


async def test_one_refusal_counts_once_whatever_is_delivered_meanwhile(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop, commit_interval_s=0.001) as worker:
        await worker.own(0)
        gate = Gate()
        monkeypatch.setattr(worker.delivery, "stop", gate.before(worker.delivery.stop))
        await shop.fence()
        await worker.deliver()
        await gate.is_reached()
        # Still delivered, since the transport has not been told yet.
        for turn in range(5):
            shop.append(a_delivery_of(1, first=3 + turn))
            await worker.deliver()
            await asyncio.sleep(0.02)
        assert worker.partition().refusals == 1
        gate.open.set()
        await starts_again(worker, 2)
        await worker.catch_up()

        assert len(worker.rows()) == 8
        assert worker.failed == []


@pytest.mark.parametrize("standby", [False, True])
async def test_a_partition_given_away_while_a_refusal_is_handled_is_not_seized(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, standby: bool
) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as loser, a_worker(shop) as owner:
        await loser.own(0)
        gate = Gate()
        monkeypatch.setattr(loser.delivery, "stop", gate.before(loser.delivery.stop))
        await owner.own(0)
        await loser.deliver()  # its commit is refused
        await gate.is_reached()
        await loser.table.revoke()
        await loser.table.assign((), {0} if standby else ())
        gate.open.set()
        await owner.deliver()
        await owner.committed()
        if standby:
            await loser.is_(STANDBY)
            await loser.committed()
        shop.append(a_delivery_of(1, first=3))
        owner.delivery.calls.clear()
        await owner.deliver()
        await owner.committed()

        assert owner.delivery.calls == []  # nobody fenced it
        assert owner.partition().refusals == 0
        assert loser.state() is (STANDBY if standby else FORMER)
        assert loser.delivery.calls.count(("start", 0)) == 1


async def test_a_refusal_of_one_partition_touches_no_other(kafka: Kafka) -> None:
    shop = Shop(kafka.bootstrap, partitions=2)
    for p in (0, 1):
        shop.append([a_sale(id=sku, sku=sku) for sku in skus_of(p, 2, 2)], shop.sales, partition=p)
    async with a_worker(shop) as worker:
        await worker.own(0, 1)
        await shop.fence(1)
        await worker.deliver(shop.sales, 0)
        await worker.deliver(shop.sales, 1)
        await worker.committed(shop.sales, 0)
        await worker.catch_up(shop.sales, 1)

        assert worker.delivery.calls.count(("start", 0)) == 1
        assert worker.delivery.calls.count(("start", 1)) == 2


async def test_a_worker_that_leaves_does_not_fence_the_one_who_came_for_its_partition(
    shop: Shop,
) -> None:
    shop.append(a_delivery_of(1))
    async with a_worker(shop) as leaver, a_worker(shop) as successor:
        await leaver.own(0)
        await successor.own(0)
        leaver.table.leave()
        await leaver.deliver()  # and commits, too late
        await leaver.is_(FORMER)
        await successor.catch_up()
        shop.append(a_delivery_of(1, first=1))
        successor.delivery.started[0] = (
            {shop.shipments: 1}, successor.partition().epoch
        )  # fmt: skip
        await successor.deliver()
        await successor.committed()

        assert successor.partition().refusals == 0
        assert [call for call, _ in successor.delivery.calls] == ["start"]
        assert leaver.state() is FORMER
        assert (leaver.failed, successor.failed) == ([], [])


async def test_a_take_over_that_is_under_way_when_a_worker_leaves_fences_nobody(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_worker(shop) as leaver:
        gate, asked = Gate(), leaver.membership.confirm
        monkeypatch.setattr(leaver.membership, "confirm", gate.before(asked))
        await leaver.table.assign({0}, ())
        await gate.is_reached()

        leaver.table.leave()
        gate.open.set()
        await leaver.table.assign({0}, ())

        assert leaver.delivery.started == {}
        assert leaver.membership.asked == 0
