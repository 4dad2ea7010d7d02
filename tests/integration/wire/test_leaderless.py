"""A partition that no broker leads for now, and a look at the sources that grew old."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from core.stages import Stage
from dev.kafka import Kafka
from dev.workers import until
from tests.support.inside.delivered import WAIT_S, Gate
from tests.support.inside.owners import Shop, a_delivery_of, a_worker, stocked, with_history
from wire.fetch import assign_paused, fetch


def lose_leader(
    consumer: AIOKafkaConsumer, lost: TopicPartition, patch: pytest.MonkeyPatch
) -> Callable[[], None]:
    """As the cluster's metadata say it where no replica is left; returns how it comes back."""
    cluster = consumer._client.cluster
    led_by = cluster.leader_for_partition
    gone = {lost}
    patch.setattr(cluster, "leader_for_partition", lambda tp: -1 if tp in gone else led_by(tp))
    return gone.clear


async def test_a_source_without_a_leader_holds_up_its_own_partition_alone(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = stocked(kafka.bootstrap, partitions=3)
    async with a_worker(shop) as worker:
        lost = TopicPartition(shop.sales, 1)
        come_back = lose_leader(worker.table._sources._consumer, lost, monkeypatch)
        await worker.table.assign({0, 1, 2}, ())
        await worker.active(0)
        await worker.active(2)
        assert worker.state(1) is not Stage.ACTIVE

        come_back()
        await worker.active(1)
        assert worker.failed == []


async def test_nobody_is_asked_for_the_leader_of_what_is_paused(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(kafka.bootstrap, partitions=2)
    read, lost = TopicPartition(shop.shipments, 0), TopicPartition(shop.shipments, 1)
    consumer: Any = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, group_id=None)
    await consumer.start()
    try:
        assign_paused(consumer, [read, lost])
        await consumer.end_offsets([read])
        lose_leader(consumer, lost, monkeypatch)
        asked = 0
        ask = consumer._client.force_metadata_update

        def count() -> Any:
            nonlocal asked
            asked += 1
            return ask()

        monkeypatch.setattr(consumer._client, "force_metadata_update", count)
        consumer.resume(read)
        for _ in range(20):
            shop.append(a_delivery_of(1))
            assert await fetch(consumer, WAIT_S, 1)
        assert asked < 5
    finally:
        await consumer.stop()


async def test_a_source_that_is_recreated_in_mid_restore_is_noticed(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tables.takeover._LOOK_S", 0.0)
    shop = Shop(kafka.bootstrap)
    await with_history(shop)
    async with a_worker(shop) as worker:
        sources, follower = worker.table._sources, worker.table._home.follower
        gate, looked = Gate(), asyncio.Event()
        look = sources.look

        async def tell(partition: Any) -> Any:
            found = await look(partition)
            looked.set()
            return found

        monkeypatch.setattr(sources, "look", tell)
        monkeypatch.setattr(follower, "_poll", gate.before(follower._poll))
        await worker.table.assign({0}, ())
        await asyncio.wait_for(looked.wait(), WAIT_S)
        shop.recreate(shop.shipments, a_delivery_of(99, first=100))
        gate.open.set()

        async def stands() -> bool:
            return worker.partition().stopped_because is not None

        await until(stands, "standing still", WAIT_S, 0.01)
        assert "its first record is another one" in (worker.partition().stopped_because or "")
