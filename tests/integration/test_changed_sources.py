"""A source that was cut or recreated under what was counted from it stops its partition."""

from collections.abc import Callable

import pytest

from dev.kafka import Kafka
from dev.workers import until
from domain.lookup import PartitionState
from tests.builders import a_receipt
from tests.owners import WAIT_S, Shop, a_delivery_of, a_worker, skus_of, with_history

FORMER = PartitionState.FORMER


@pytest.fixture
def shop(kafka: Kafka) -> Shop:
    return Shop(kafka.bootstrap)


def end_early(shop: Shop) -> str:
    shop.recreate(shop.shipments)
    return "it ends at 0, before offset 3"


def begin_otherwise(shop: Shop) -> str:
    shop.recreate(shop.shipments, a_delivery_of(9, first=100))
    return "its first record is another one"


def lose_the_beginning(shop: Shop) -> str:
    shop.cut(shop.shipments, 1)
    return "its first record is another one"


def lose_everything(shop: Shop) -> str:
    # The end stays where it was; there is no record left to tell it by.
    shop.cut(shop.shipments, -1)
    return "its first record is another one"


@pytest.mark.parametrize(
    "change", [end_early, begin_otherwise, lose_the_beginning, lose_everything]
)
async def test_a_partition_whose_source_was_cut_or_recreated_stands_still_with_one_sentence(
    kafka: Kafka, change: Callable[[Shop], str]
) -> None:
    shop = Shop(kafka.bootstrap, partitions=2)
    mine, others = skus_of(0, 2, 3), skus_of(1, 2, 3)
    shop.append([a_receipt(id=sku, sku=sku) for sku in mine], p=0)
    shop.append([a_receipt(id=sku, sku=sku) for sku in others], shop.sales, p=1)
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
