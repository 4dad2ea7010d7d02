"""A right that Kafka does not give ends the worker with one sentence, whenever it is missed."""

from collections.abc import Callable

import pytest
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from dev.kafka import Kafka
from domain.events import StockEvent
from tables.home.agreement import agree
from tables.home.rights import RightMissing
from tests.support.breaking.kafka_tools import allow_only
from tests.support.inside.owners import Shop, Worker, a_delivery_of, a_worker, with_history

TOPIC, BY_ID = ResourceType.TOPIC, ResourceType.TRANSACTIONAL_ID
READ, WRITE, DESCRIBE = AclOperation.READ, AclOperation.WRITE, AclOperation.DESCRIBE
BY_WHICH_ID = "does not let this worker write by the transactional id {id}: grant its user WRITE"
READ_TOPICS = "does not let this worker read its topics: grant its user READ and DESCRIBE"


@pytest.fixture
def shop(strict_kafka: Kafka) -> Shop:
    return Shop(strict_kafka.bootstrap)


@pytest.mark.parametrize(
    ("kind", "of", "sentence"),
    [
        (TOPIC, lambda shop: shop.changelog, "write to {log}: grant its user WRITE there"),
        (TOPIC, lambda shop: shop.dead_letters, "write to {dlq} or {log}: grant its user WRITE"),
        (BY_ID, lambda shop: shop.transactional_id(0), BY_WHICH_ID),
    ],
    ids=["changelog", "dead letters", "transactional id"],
)
async def test_a_right_to_write_that_is_taken_away_ends_the_worker_at_the_next_commit(
    shop: Shop, kind: ResourceType, of: Callable[[Shop], str], sentence: str
) -> None:
    dead: list[StockEvent | bytes] = [b"nonsense"] if of(shop) == shop.dead_letters else []
    shop.append([*a_delivery_of(1), *dead])
    async with a_worker(shop) as worker:
        await worker.own(0)
        may = (DESCRIBE,) if kind is BY_ID else (DESCRIBE, READ)
        await allow_only(shop.kafka, kind, of(shop), *may)
        await worker.deliver()
        await worker.has_failed()

        assert_said(worker, sentence)
        assert worker.delivery.calls == [("start", 0)]  # not taken over again
    assert shop.metas(markers_s=5) == []  # the transaction of that commit stays open


@pytest.mark.parametrize("missing", ["the transactional id", "the changelog"])
async def test_a_right_that_a_take_over_needs_ends_the_worker(shop: Shop, missing: str) -> None:
    await with_history(shop)
    if missing == "the changelog":
        await allow_only(shop.kafka, TOPIC, shop.changelog, WRITE, DESCRIBE)
    else:
        await allow_only(shop.kafka, BY_ID, shop.transactional_id(0), DESCRIBE)
    async with a_worker(shop) as worker:
        await worker.table.assign({0}, ())
        await worker.has_failed()

        assert_said(worker, READ_TOPICS if missing == "the changelog" else BY_WHICH_ID)


@pytest.mark.parametrize("topic", ["sources", "changelog"])
async def test_a_right_to_read_that_a_standby_needs_ends_the_worker(shop: Shop, topic: str) -> None:
    await with_history(shop)
    async with a_worker(shop) as worker:
        name = shop.changelog if topic == "changelog" else shop.shipments
        await allow_only(shop.kafka, TOPIC, name, AclOperation.DESCRIBE_CONFIGS)
        await worker.table.assign((), {0})
        await worker.has_failed()

        assert_said(worker, READ_TOPICS)


def assert_said(worker: Worker, sentence: str) -> None:
    """As the one last word."""
    shop = worker.shop
    names = {
        "log": shop.changelog,
        "dlq": shop.dead_letters,
        "id": shop.transactional_id(0),
    }
    [said] = set(worker.failed)
    assert sentence.format(**names) in said


async def test_a_worker_that_may_not_begin_a_new_table_is_told_so_before_it_joins(
    shop: Shop,
) -> None:
    config = Worker(shop).table._config
    await allow_only(shop.kafka, BY_ID, f"{shop.transactional_id(0)}-first", DESCRIBE)

    with pytest.raises(RightMissing, match=f"{shop.transactional_id(0)}-first: grant its user"):
        await agree(config)
