"""What is committed, when, in which order; what a refusal costs; what a bug may not do."""

import asyncio
import os
from time import monotonic
from types import SimpleNamespace
from typing import Any

import pytest

from core.fold import fold
from core.stages import Stage
from dev.kafka import Kafka
from dev.workers import until
from tables.groupcommit import FULL_EVENTS
from tables.home.changelog import ChangelogWriter
from tests.support.inputs.builders import a_receipt, a_sale
from tests.support.inside.delivered import WAIT_S, Gate
from tests.support.inside.owners import Shop, a_delivery_of, a_worker, skus_of
from tests.support.topics.logs import Writer, a_name, reader
from wire.batches import PIECE_RECORDS

ACTIVE, STANDBY, FORMER = Stage.ACTIVE, Stage.STANDBY, Stage.FORMER
NEVER_S = 3600.0


# ---- what a commit carries


async def test_refused_records_go_to_the_dead_letters_and_stop_nothing(shop: Shop) -> None:
    good = a_delivery_of(2)
    shop.append([good[0], b"{", b'{"specversion":"1.0"}', good[1], a_sale(id="s", sku="SKU-0001")])
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()
        assert worker.rows() == {"SKU-0000/here": 1, "SKU-0001/here": 1}
        assert worker.table.stats.dead_letters == {
            "not_json": 1, "bad_envelope": 1, "misrouted": 1,
        }  # fmt: skip

    letters = reader(shop.kafka).settled(shop.dead_letters)
    assert [letter.value for letter in letters][:2] == [b"{", b'{"specversion":"1.0"}']
    assert [dict(letter.headers)["onhand-offset"] for letter in letters] == [b"1", b"2", b"4"]
    assert shop.metas()[-1].counts[shop.shipments] == (2, 0, 3)


async def test_refused_records_too_big_for_one_batch_end_nobody(shop: Shop) -> None:
    # Each fits its topic; together they pass what the dead-letter topic takes in one batch.
    shop.append([os.urandom(700_000)])
    shop.append([os.urandom(700_000)])
    shop.append([os.urandom(700_000)])
    shop.append(a_delivery_of(1))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()

        assert worker.table.stats.dead_letters == {"not_json": 3}
        assert worker.failed == []


async def test_progress_without_a_record_is_committed_too(shop: Shop) -> None:
    dead = Writer(shop.kafka, a_name())
    async with a_worker(shop) as worker:
        await worker.own(0)
        _, epoch = worker.delivery.started[0]
        dead.aborted(shop.shipments, [])
        await worker.table.fold(shop.nothing(0, 7, epoch))
        assert await worker.table.reached(0, {shop.shipments: 6}, WAIT_S)

    assert shop.metas()[-1].positions[shop.shipments] == 7


async def test_what_one_fetch_brought_of_several_topics_is_one_commit(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tables.table._TICK_S", NEVER_S)  # or what is to follow counts as lost
    shop.append(a_delivery_of(3))
    shop.append([a_sale(id="s", sku="SKU-0001", location="here")], shop.sales)
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver(more=True)
        assert worker.partition().owned.commit is None  # type: ignore[union-attr]  # owned
        await worker.deliver(shop.sales)
        await worker.committed(shop.sales)

    assert [meta.positions[shop.shipments] for meta in shop.metas()] == [3]


async def test_what_was_to_follow_and_did_not_come_holds_up_no_commit(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver(more=True)
        await worker.committed()


async def test_an_idle_partition_commits_its_meta_alone_before_its_id_expires(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tables.table._META_ONLY_S", 0.1)
    async with a_worker(shop) as worker:
        await worker.own(0)

        async def committed() -> bool:
            return worker.table.stats.commits.count > 0

        await until(committed, "committed", WAIT_S)

    assert shop.committed_rows() == {}
    assert len(shop.metas()) >= 1


# ---- what is handed over, and what is not taken


async def test_a_batch_behind_a_gap_is_not_folded_and_the_gap_is_read_first(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    shop.append(a_delivery_of(3, first=3))
    async with a_worker(shop) as worker:
        await worker.own(0)
        positions, epoch = worker.delivery.started[0]
        late = shop.batch(positions | {shop.shipments: 3}, epoch, shop.shipments)

        await worker.table.fold(late)

        assert worker.delivery.calls == [("start", 0)] * 2
        assert worker.delivery.started[0] == (positions, epoch)
        assert worker.partition().owned.uncommitted is False  # type: ignore[union-attr]  # owned
        await worker.deliver()
        await worker.committed()
        assert len(worker.rows()) == 6


async def test_of_a_large_batch_the_worker_may_rest_after_each_few_hundred_events(
    shop: Shop,
) -> None:
    shop.append(a_delivery_of(1_500))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver()

    assert sum(worker.delivery.rests) == 1_500
    assert max(worker.delivery.rests) <= 500


async def test_what_is_delivered_twice_is_folded_once_and_is_not_a_repetition(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver()
        shop.append(a_delivery_of(2, first=3))
        await worker.deliver()  # from the start again, as after a seek
        await worker.committed()
        assert worker.rows() == {f"SKU-{n:04}/here": 1 for n in range(5)}

    assert shop.metas()[-1].counts[shop.shipments] == (5, 0, 0)


async def test_a_batch_of_an_earlier_assignment_is_not_folded(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as worker:
        await worker.own(0)
        positions, epoch = worker.delivery.started[0]
        old = shop.batch(positions, epoch, shop.shipments)
        await worker.rebalance({0})
        await worker.active()

        await worker.table.fold(old)
        await worker.table.revoke()  # commits what is folded

    assert shop.committed_rows() == {}


async def test_a_batch_for_a_partition_that_is_not_owned_is_not_folded(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as worker:
        await worker.table.assign((), {0})
        await worker.is_(STANDBY)
        epoch = worker.partition().epoch
        await worker.table.fold(shop.batch({}, epoch, shop.shipments))
        await worker.table.fold(shop.nothing(5, 1, epoch))

    assert shop.metas() == []


# ---- giving back


async def test_what_is_folded_is_committed_before_the_partition_is_given_back(shop: Shop) -> None:
    shop.append(a_delivery_of(1500))
    async with a_worker(shop, commit_interval_s=NEVER_S) as worker:
        await worker.own(0)
        # The first group goes at once; what comes while it travels would wait for ever.
        await worker.deliver()
        shop.append(a_delivery_of(10, first=1500))
        await worker.deliver()

        await worker.table.revoke()

        assert len(shop.committed_rows()) == 1510
        assert worker.state() is FORMER
        assert worker.delivery.calls[-1] == ("stop", 0)
        assert len(worker.rows()) == 1510


async def test_a_stop_commits_what_is_folded(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop, commit_interval_s=NEVER_S) as worker:
        await worker.own(0)
        await worker.deliver()

    assert len(shop.committed_rows()) == 3


async def test_a_commit_that_does_not_end_holds_up_a_rebalance_for_half_a_session_only(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop, session_timeout_s=2.4) as worker:
        await worker.own(0)
        gate = Gate()
        monkeypatch.setattr(ChangelogWriter, "commit", gate.before(ChangelogWriter.commit))
        await worker.deliver()
        await gate.is_reached()
        limits_s: list[float] = []

        def limited(seconds: float) -> asyncio.Timeout:
            limits_s.append(seconds)
            return asyncio.timeout(seconds)

        names = vars(asyncio) | {"timeout": limited}
        monkeypatch.setattr("tables.table.asyncio", SimpleNamespace(**names))
        began = monotonic()

        await worker.table.revoke()

        assert monotonic() - began > 1.1
        assert 1.2 in limits_s
        gate.open.set()
        await worker.table.assign({0}, ())
        await worker.catch_up()  # nothing is lost: it is read again
        assert len(worker.rows()) == 3
        assert worker.failed == []


# ---- bugs, and changelogs that are not what they were


async def test_an_exception_in_the_fold_commits_nothing_of_what_was_half_folded(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.append(a_delivery_of(800))
    async with a_worker(shop, commit_interval_s=0.001) as worker:
        await worker.own(0)
        p = worker.partition()
        commits = worker.table._commits

        def broken(state: Any, address: Any, columns: Any, *rest: Any) -> None:
            if columns.first[0] < 500:
                fold(state, address, columns, *rest)
                return
            fold(state, address, columns.without(range(100, 1000)), *rest)
            # As a timer would that fires in this very turn of the loop.
            if p.owned is not None and p.owned.commit is None:
                commits.start(p)
            raise ZeroDivisionError

        monkeypatch.setattr("tables.folding.fold", broken)
        with pytest.raises(ZeroDivisionError):
            await worker.deliver()
        await worker.table.revoke()

    rows = len(shop.committed_rows())
    assert rows in range(0, 501, PIECE_RECORDS)
    assert [meta.positions[shop.shipments] for meta in shop.metas()][-1:] == (
        [rows] if rows else []
    )


# ---- readers


async def test_readers_see_nothing_that_is_not_committed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as worker:
        await worker.own(0)
        gate = Gate()
        monkeypatch.setattr(ChangelogWriter, "commit", gate.after(ChangelogWriter.commit))
        await worker.deliver()
        await gate.is_reached()
        # Committed in Kafka, not yet in the store: not seen, and not said to be reached.
        assert worker.rows() == {}
        assert not await worker.table.reached(0, {shop.shipments: 0}, 0.05)
        fresh = worker.table.freshness(0)
        gate.open.set()
        await worker.committed()

        assert fresh is not None
        assert fresh.position == ""
        assert len(worker.rows()) == 3


async def test_who_waits_for_a_position_is_told_when_it_is_committed(shop: Shop) -> None:
    shop.append(a_delivery_of(2))
    async with a_worker(shop) as worker:
        await worker.own(0)
        waits = [
            asyncio.create_task(worker.table.reached(0, {shop.shipments: offset}, WAIT_S))
            for offset in (0, 1)
        ]
        beyond = asyncio.create_task(worker.table.reached(0, {shop.shipments: 2}, 1.0))
        await worker.deliver()

        assert await asyncio.gather(*waits) == [True, True]
        assert await beyond is False
        assert await worker.table.reached(1, {}, WAIT_S) is False  # not held here


async def test_a_group_that_is_full_is_committed_before_its_time(shop: Shop) -> None:
    for first in range(0, FULL_EVENTS + 1000, 1000):
        shop.append(a_delivery_of(1000, first=first % 5000))
    async with a_worker(shop, commit_interval_s=NEVER_S) as worker:
        await worker.own(0)
        worker.partition().owned.started_at = monotonic()  # type: ignore[union-attr]  # owned
        await worker.deliver()

        async def committed() -> bool:
            return worker.table.stats.commits.count > 0

        await until(committed, "committed", WAIT_S)

    assert shop.metas()[0].positions[shop.shipments] >= FULL_EVENTS


async def test_a_partition_whose_commit_is_not_answered_holds_up_no_other(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tables.groupcommit.FULL_EVENTS", 1000)
    shop = Shop(kafka.bootstrap, partitions=2)
    mine, other = skus_of(0, 2, 1000), skus_of(1, 2, 10)
    deliveries = [
        [a_receipt(id=f"{n}-{sku}", sku=sku, location="here") for sku in mine] for n in range(5)
    ]
    for events in deliveries[:4]:
        shop.append(events)
    shop.append([a_receipt(id=sku, sku=sku, location="here") for sku in other], partition=1)
    gate = Gate()
    async with a_worker(shop) as worker:
        await worker.own(0, 1)
        owned = worker.partition(0).owned
        assert owned is not None
        owned.writer.commit = gate.before(owned.writer.commit)  # type: ignore[method-assign]
        async with asyncio.timeout(WAIT_S):  # one stream of batches, as the agent has it
            await worker.deliver(number=0)
            await worker.deliver(number=1)
            await worker.committed(number=1)
        assert not gate.open.is_set()
        assert 0 not in worker.delivery.started  # what would fill the memory is not fetched
        shop.append(deliveries[4])

        async def is_known() -> bool:
            return worker.partition(0).ends[shop.shipments][0] == 5000

        await until(is_known, "known: how far it is behind", WAIT_S)
        gate.open.set()
        await worker.active(0)
        positions, _ = worker.delivery.started[0]
        assert 1000 < positions[shop.shipments] < 4000
        await worker.deliver(number=0)
        await worker.committed(number=0)
        assert worker.rows(0) == {f"{sku}/here": 5 for sku in mine}
        assert worker.failed == []
    assert shop.metas(0)[-1].counts[shop.shipments] == (5000, 0, 0)
