"""A source that was cut or recreated under what was counted from it stops its partition."""

from collections.abc import Callable

import pytest

from core.stages import Stage
from dev.kafka import Kafka
from dev.workers import until
from tests.support.inputs.builders import a_receipt
from tests.support.inside.delivered import WAIT_S
from tests.support.inside.owners import Shop, a_delivery_of, a_worker, skus_of, with_history

FORMER = Stage.FORMER


def end_early(shop: Shop) -> str:
    shop.recreate(shop.shipments)
    return "Kafka's id of it is"


def begin_otherwise(shop: Shop) -> str:
    shop.recreate(shop.shipments, a_delivery_of(9, first=100))
    return "Kafka's id of it is"


def be_a_copy(shop: Shop) -> str:
    # As a mirror brings it back: the records and their times, without an offset that a
    # transaction's marker had. Tills have sold on.
    shop.restore_copy(shop.shipments, leave_out=1, then=a_delivery_of(9, first=100))
    return "Kafka's id of it is"


def lose_the_beginning(shop: Shop) -> str:
    shop.cut(shop.shipments, 1)
    return "its first record is another one"


def lose_everything(shop: Shop) -> str:
    # The end stays where it was; there is no record left to tell it by.
    shop.cut(shop.shipments, -1)
    return "its first record is another one"


@pytest.mark.parametrize(
    "change", [end_early, begin_otherwise, be_a_copy, lose_the_beginning, lose_everything]
)
async def test_a_partition_whose_source_was_cut_or_recreated_stands_still_with_one_sentence(
    kafka: Kafka, change: Callable[[Shop], str]
) -> None:
    shop = Shop(kafka.bootstrap, partitions=2)
    mine, others = skus_of(0, 2, 3), skus_of(1, 2, 3)
    shop.append([a_receipt(id=sku, sku=sku) for sku in mine], partition=0)
    shop.append([a_receipt(id=sku, sku=sku) for sku in others], shop.sales, partition=1)
    async with a_worker(shop) as worker:
        await worker.own(0, 1)
        await worker.deliver()
        await worker.committed()
        await worker.table.revoke()
        why = change(shop)
        await worker.table.assign({0, 1}, ())
        await worker.active(1)  # the other one goes on

        async def stands() -> bool:
            p = worker.table.held.get(0)  # once its store is open
            return p is not None and p.stopped_because is not None

        await until(stands, "standing still", WAIT_S, 0.01)
        sentence = worker.partition(0).stopped_because or ""
        assert worker.state(0) is FORMER
        assert (sentence.count("."), why in sentence) == (sentence.count("."), True)
        assert f"Topic {shop.shipments} was cut or recreated under partition 0" in sentence
        assert "the next ONHAND_VERSION" in sentence
        # What was counted can still be read, by who asks with open eyes.
        assert len(worker.rows(0)) == 3
        assert {status.stopped_because for status in worker.table.status()} == {None, sentence}
        assert 0 not in worker.delivery.started
        assert worker.failed == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (end_early, "it ends at 0, before offset 3"),
        (begin_otherwise, "its first record is another one"),
        (be_a_copy, "the last record that was handled, at offset 2, is another one"),
    ],
)
async def test_what_lies_in_a_source_is_compared_where_its_id_tells_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, change: Callable[[Shop], str], why: str
) -> None:
    # A disk of another day, or a leader that had lost records: the id stays.
    shop.append(a_delivery_of(3))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()
        await worker.table.revoke()
        before = await worker.table._home.brokers.topics(shop.topics)
        change(shop)

        async def as_before(names: object) -> object:
            return before

        monkeypatch.setattr(worker.table._sources, "_describe", as_before)
        await worker.table.assign({0}, ())

        async def stands() -> bool:
            return worker.partition().stopped_because is not None

        await until(stands, "standing still", WAIT_S, 0.01)
        assert why in (worker.partition().stopped_because or "")
        assert worker.rows() == {f"SKU-000{n}/here": 1 for n in range(3)}
    assert len(shop.metas()) == 1


async def test_who_counted_a_log_that_was_made_anew_is_behind_by_all_that_it_holds(
    shop: Shop,
) -> None:
    shop.append(a_delivery_of(5))
    async with a_worker(shop) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()
        await worker.table.revoke()
        shop.recreate(shop.shipments, a_delivery_of(2, first=100))
        await worker.table.assign({0}, ())

        async def is_behind() -> bool:
            [status] = worker.table.status()
            return status.stopped_because is not None and status.lag_events == 2

        await until(is_behind, "behind: by the two facts of the new log", WAIT_S, 0.05)
        [status] = worker.table.status()
        assert status.lags[shop.shipments] == 2


async def test_a_restart_compares_the_last_record_and_goes_on(shop: Shop) -> None:
    shop.append(a_delivery_of(3))
    shop.append([b"not a fact"])
    for more in range(2):
        async with a_worker(shop) as worker:
            await worker.own(0)
            await worker.deliver()
            await worker.committed()
            marks = shop.metas()[-1].last
            assert marks[shop.shipments][0] == shop.end(shop.shipments) - 1
            assert set(marks) == {shop.shipments}
            assert worker.failed == []
        shop.append(a_delivery_of(1, first=10 + more))


async def test_a_new_version_counts_what_a_cut_source_still_holds(shop: Shop) -> None:
    shop.append(a_delivery_of(5))
    shop.cut(shop.shipments, 3)
    async with a_worker(shop) as worker:
        await worker.own(0)
        assert worker.delivery.started[0][0][shop.shipments] == 3
        await worker.deliver()
        await worker.committed()
        assert worker.rows() == {"SKU-0003/here": 1, "SKU-0004/here": 1}
        await worker.rebalance({0})
        await worker.active()

        assert worker.delivery.started[0][0][shop.shipments] == 5
        assert worker.failed == []


async def test_a_table_of_other_topics_is_not_counted_on(kafka: Kafka, shop: Shop) -> None:
    await with_history(shop)
    other = Shop(kafka.bootstrap)
    async with a_worker(shop, topics=other.topics) as worker:
        await worker.table.assign({0}, ())

        async def stands() -> bool:
            p = worker.table.held.get(0)  # once its store is open
            return p is not None and p.stopped_because is not None

        await until(stands, "standing still", WAIT_S, 0.01)
        assert "set ONHAND_TOPIC_PREFIX back" in (worker.partition(0).stopped_because or "")
