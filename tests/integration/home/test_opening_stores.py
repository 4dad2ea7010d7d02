"""The stores of an assignment are opened on the way to its take-overs, each in its turn."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from core.stages import Stage
from dev.kafka import Kafka
from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from tables.home.store import Store, StoreFailed
from tests.support.inputs.builders import a_receipt
from tests.support.inside.owners import Shop, a_worker, skus_of

ACTIVE, STANDBY, FORMER = Stage.ACTIVE, Stage.STANDBY, Stage.FORMER


class WatchedStores(MemoryStores):
    """Notes what is opened, and does something first."""

    def __init__(self, first: Callable[[int], None]) -> None:
        self.opened: list[int] = []
        self._first = first

    def open(self, partition: int) -> Store:
        self._first(partition)
        self.opened.append(partition)
        return super().open(partition)


async def test_the_loop_goes_on_between_the_opening_of_one_store_and_the_next(kafka: Kafka) -> None:
    """Twelve in one piece stop it for half a second after a kill -9."""
    shop = Shop(kafka.bootstrap, partitions=4)
    passes: list[int] = [0]
    seen: list[int] = []
    stores = WatchedStores(lambda partition: seen.append(passes[0]))

    async def turn() -> None:
        while True:
            passes[0] += 1
            await asyncio.sleep(0)

    async with a_worker(shop, stores) as worker:
        turning = asyncio.create_task(turn())
        await worker.table.assign({1, 3}, {0, 2})
        assert stores.opened == []
        for p in (1, 3):
            await worker.active(p)
        turning.cancel()

    assert stores.opened == [1, 3, 0, 2]  # what counts first
    assert len(set(seen)) == 4


async def test_a_rebalance_between_two_stores_opens_no_more_of_the_old_assignment(
    kafka: Kafka,
) -> None:
    shop = Shop(kafka.bootstrap, partitions=4)

    def rebalance(partition: int) -> None:
        if partition == 1:
            rebalanced.append(asyncio.create_task(worker.rebalance({2})))

    rebalanced: list[asyncio.Task[None]] = []
    stores = WatchedStores(rebalance)
    async with a_worker(shop, stores) as worker:
        await worker.table.assign({0, 1, 2, 3}, ())
        await worker.active(2)
        await asyncio.gather(*rebalanced)

        assert stores.opened == [0, 1, 2]
        assert [worker.state(p) for p in range(4)] == [FORMER, FORMER, ACTIVE, None]
        assert worker.failed == []


async def test_a_store_that_cannot_be_opened_ends_the_worker_with_its_sentence(shop: Shop) -> None:
    def full(partition: int) -> None:
        raise StoreFailed("The disk under /data is full: free space.")

    async with a_worker(shop, WatchedStores(full)) as worker:
        await worker.table.assign({0}, ())
        await worker.has_failed()

    assert worker.failed == [
        "The assignment cannot be served: The disk under /data is full: free space."
    ]


async def test_a_worker_tells_the_group_which_rows_it_has_and_how_far(
    kafka: Kafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tables.partition._REPLACED_S", 0.1)
    shop = Shop(kafka.bootstrap, partitions=4)
    shop.append([a_receipt(id=sku, sku=sku) for sku in skus_of(0, 4, 3)])
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        assert worker.table.copies() == {}
        await worker.own(0)
        await worker.deliver()
        await worker.committed()
        await worker.table.assign({0}, {1})
        await worker.is_(STANDBY, 1)
        reached = worker.partition().store.local.next_offset
        assert reached > 3
        assert worker.table.copies() == {0: reached}  # 1 is there, and empty

        await worker.rebalance(())
        assert worker.table.copies() == {0: reached}  # given away, and still here
        worker.owned_elsewhere = {0, 1}
        await worker.is_(None)
        await worker.is_(None, 1)
        assert worker.table.copies() == {0: 0, 1: 0}  # closed

    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as again:
        assert again.table.copies() == {0: reached}

    # Of another changelog, however far: it would take the partition from those who have it.
    shop.recreate(shop.changelog)
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as stale:
        assert stale.table.copies() == {}


async def test_stores_on_disk_are_opened_before_they_are_assigned_and_closed_if_they_are_not(
    kafka: Kafka, tmp_path: Path
) -> None:
    shop = Shop(kafka.bootstrap, partitions=2)
    stores = RocksStores(tmp_path, "inventory")
    for p in (0, 1):
        stores.open(p).close()
    opened = []
    open_ = stores.open

    def note(partition: int) -> Store:
        opened.append((partition, open_(partition)))
        return opened[-1][1]

    stores.open = note  # type: ignore[method-assign]  # watched
    async with a_worker(shop, stores) as worker:
        assert [partition for partition, _ in opened] == [0, 1]
        await worker.own(0)
        assert len(opened) == 2
        assert worker.partition().store is opened[0][1]
        with pytest.raises(StoreFailed):
            opened[1][1].get(b"any")
        await worker.rebalance({0, 1})
        await worker.is_(Stage.ACTIVE, 1)

    assert [partition for partition, _ in opened] == [0, 1, 1]


async def test_a_store_that_cannot_be_opened_at_the_start_ends_nobody_who_does_not_need_it(
    shop: Shop,
) -> None:
    def damaged(partition: int) -> None:
        if partition == 7:
            raise StoreFailed("/data is damaged: delete it.")

    stores = WatchedStores(damaged)
    stores.kept = lambda: {0, 7}  # type: ignore[method-assign]  # as on a disk
    async with a_worker(shop, stores) as worker:
        await worker.own(0)

        assert (stores.opened, worker.failed) == ([0], [])
