"""The moments in which a disk may damage a store under a table, and what must hold after each."""

from __future__ import annotations

import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from core.stages import Stage
from dev.workers import until
from tables.home.feed import Feed
from tables.home.rocks import RocksStores
from tables.home.store import StoreError
from tests.support.breaking.damage import copied, damage
from tests.support.inputs.builders import a_receipt
from tests.support.inside.delivered import WAIT_S
from tests.support.inside.owners import Shop, Worker, a_worker, skus_of

#: Of each partition; so many that they lie in several blocks of several files.
ROWS = 2000
#: Newest facts that come twice: they are counted once by the window that a store holds.
RETRIED = 60


class Stock:
    """What lies on the log of two partitions, and what it comes to."""

    def __init__(self, kafka: str) -> None:
        self.shop = Shop(kafka, partitions=2)
        self.skus = [skus_of(partition, 2, ROWS) for partition in (0, 1)]
        self.rows: list[dict[str, int]] = [{}, {}]
        self._facts: list[list[tuple[str, str, int]]] = [[], []]
        self._number = 0

    def receive(self, partition: int, skus: list[str]) -> None:
        """One delivery of each, and retries of the newest before."""
        retried = self._facts[partition][-RETRIED:]
        new = []
        for sku in skus:
            self._number += 1
            new.append((f"{self._number}", sku, 1 + self._number % 7))
            self.rows[partition][f"{sku}/store-007"] = (
                self.rows[partition].get(f"{sku}/store-007", 0) + new[-1][2]
            )
        facts = [a_receipt(id=id, sku=sku, quantity=n) for id, sku, n in [*retried, *new]]
        self._facts[partition] += new
        self.shop.append(facts, partition=partition)

    async def lived(self, folder: Path) -> Path:
        """A data folder with all of it, in several files, as a kill leaves it."""
        async with a_worker(self.shop, RocksStores(folder / "data", "inventory")) as worker:
            for turn in range(4):
                for partition in (0, 1):
                    self.receive(partition, self.skus[partition][turn::3])
            await worker.own(0, 1)
            for turn in range(3):
                await _counted(worker)
                for partition in (0, 1):
                    worker.partition(partition).store._db.flush()  # type: ignore[attr-defined]
                    self.receive(partition, self.skus[partition][turn :: 5 + turn])
            await _counted(worker)
            copied(folder / "data", folder / "lived")
        return folder / "lived"


async def _counted(worker: Worker) -> None:
    for partition in (0, 1):
        await worker.catch_up(number=partition)


class Case:
    """One worker on a copy of the folder, whose partition 0 is damaged at some moment."""

    def __init__(self, stock: Stock, folder: Path, seed: int) -> None:
        self.stock, self.folder, self.seed = stock, folder, seed
        self.rng = random.Random(seed)
        self.moment = list(MOMENTS)[seed % len(MOMENTS)]
        self.what = ""
        #: Stores that the worker gave up.
        self.given_up = 0

    def __str__(self) -> str:
        return f"seed {self.seed}, {self.moment}: {self.what}"

    async def run(self, lived: Path) -> None:
        """Damage, read, count on; nothing may be wrong, short or over."""
        shutil.copytree(lived, self.folder)
        if self.moment == "before it is opened":
            self.damage()
        if self.moment == "while it is restored":
            shutil.rmtree(self.folder / "inventory-0")
        async with a_worker(self.stock.shop, RocksStores(self.folder, "inventory")) as worker:
            await MOMENTS[self.moment](self, worker)
            other = worker.partition(1).epoch
            self.look(worker)
            for partition in (0, 1):
                some = self.rng.sample(self.stock.skus[partition], 40)
                self.stock.receive(partition, some)
            await _counted(worker)
            await self.is_right(worker)
            # Nobody else was disturbed, and nobody ended.
            assert worker.partition(1).epoch == other, str(self)
            assert worker.failed == [], str(self)
            self.given_up = worker.table.stats.stores_damaged

    def damage(self) -> None:
        self.what += damage(self.folder / "inventory-0", self.rng, wide=True) + "; "

    def look(self, worker: Worker) -> bool:
        """Read all that is there, each way; False where that was refused honestly."""
        wanted = self.stock.rows[0]
        skus = self.rng.sample(self.stock.skus[0], 200)
        table = worker.table
        reads: list[Callable[[], None]] = [
            lambda: self._equal(worker.rows(), wanted),
            lambda: self._equal(
                [
                    row and row.on_hand
                    for row in table.get_many(0, [(s, "store-007") for s in skus])
                ],
                [wanted.get(f"{sku}/store-007") for sku in skus],
            ),
            lambda: self._each(worker, skus),
        ]
        self.rng.shuffle(reads)
        for read in reads:
            if table.freshness(0) is None:
                return False
            try:
                read()
            except StoreError:
                assert table.freshness(0) is None, str(self)  # nobody reads it again
                return False
        return True

    def _each(self, worker: Worker, skus: Sequence[str]) -> None:
        for sku in skus:
            row = worker.table.get(0, sku, "store-007")
            self._equal(row and row.on_hand, self.stock.rows[0].get(f"{sku}/store-007"))
            found = worker.table.rows_of(0, sku)
            self._equal(sum(row.on_hand for _, row in found), row.on_hand if row else 0)

    def _equal(self, found: object, wanted: object) -> None:
        assert found == wanted, str(self)

    async def is_right(self, worker: Worker) -> None:
        """All can be read again, and readers and changelog say what the log says."""

        async def right() -> bool:
            return self.look(worker)

        await until(right, f"readable; {self}; {worker.failed}", WAIT_S, 0.02)
        for partition in (0, 1):
            found = {
                k: row["received"] for k, row in self.stock.shop.committed_rows(partition).items()
            }
            assert found == self.stock.rows[partition], str(self)


async def _before(case: Case, worker: Worker) -> None:
    await worker.own(0, 1)


async def _as_spare(case: Case, worker: Worker) -> None:
    case.damage()
    await worker.own(0, 1)


async def _as_owner(case: Case, worker: Worker) -> None:
    await worker.own(0, 1)
    case.damage()


async def _as_owner_folding(case: Case, worker: Worker) -> None:
    await worker.own(0, 1)
    case.damage()
    case.stock.receive(0, case.rng.sample(case.stock.skus[0], 500))
    await worker.catch_up(number=0)


async def _before_a_take_over(case: Case, worker: Worker) -> None:
    await worker.table.assign({1}, {0})
    await worker.active(1)
    await worker.is_(Stage.STANDBY)
    case.damage()
    await worker.rebalance({0, 1})
    await worker.active(0)
    await worker.active(1)


async def _as_standby(case: Case, worker: Worker) -> None:
    await worker.table.assign({1}, {0})
    await worker.active(1)
    await worker.is_(Stage.STANDBY)
    case.damage()
    case.look(worker)
    await worker.rebalance({0, 1})
    await worker.active(1)


async def _as_former(case: Case, worker: Worker) -> None:
    await worker.own(0, 1)
    await worker.rebalance({1})
    case.damage()
    case.look(worker)
    await worker.rebalance({0, 1})
    await worker.active(1)


async def _while_restored(case: Case, worker: Worker) -> None:
    write, left = Feed.write, [case.rng.randrange(1, 4)]

    def write_and_damage(feed: Feed) -> None:
        write(feed)
        if feed.partition == 0 and left[0] > 0 and feed.store.local.next_offset > 0:
            left[0] -= 1
            case.damage()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tables.home.feed._REBUILD_KEYS", 300)
        patch.setattr(Feed, "write", write_and_damage)
        await worker.table.assign({0, 1}, ())
        await worker.active(1)
        await worker.active(0)


MOMENTS: dict[str, Callable[[Case, Worker], Awaitable[None]]] = {
    "before it is opened": _before,
    "open, before it is assigned": _as_spare,
    "while it is owned": _as_owner,
    "while it is folded into": _as_owner_folding,
    "before a take-over": _before_a_take_over,
    "while it stands by": _as_standby,
    "while it is a former owner's": _as_former,
    "while it is restored": _while_restored,
}
