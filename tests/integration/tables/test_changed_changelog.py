"""A changelog that is deleted, made anew, cut or copied loses nobody's stock in silence."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from core.stages import Role, Stage
from dev.kafka import Kafka
from dev.workers import until
from domain.rows import row_key
from tables.home.changelog import ChangelogWriter
from tables.home.rocks import RocksStores
from tables.home.store import StoreUnfit
from tests.support.inside.delivered import WAIT_S, Gate
from tests.support.inside.owners import COMPACT, Shop, Worker, a_delivery_of, a_worker, with_history
from tests.support.topics.logs import cut, topic_id

FORMER = Stage.FORMER
TRIMMED = {**COMPACT, "cleanup.policy": "compact,delete"}


async def stopped(worker: Worker) -> str:
    """Wait until partition 0 stands still; why."""

    async def stands() -> bool:
        p = worker.table.held.get(0)
        return p is not None and p.stopped_because is not None

    await until(stands, f"standing still; {worker.failed}", WAIT_S, 0.01)
    assert worker.failed == []
    return worker.partition().stopped_because or ""


def kept_aside(folder: Path) -> list[Path]:
    """Stores of partition 0 under another name."""
    return [*folder.glob("inventory-0.aside-*")]


async def count(worker: Worker, shop: Shop, facts: Iterable[int]) -> None:
    """Append so many facts of a row each, and wait until they are committed."""
    for first in facts:
        shop.append(a_delivery_of(1, first=first))
    await worker.own(0)
    await worker.deliver()
    await worker.committed()


async def test_the_meta_record_names_its_topic_and_the_one_before_it(shop: Shop) -> None:
    async with a_worker(shop) as worker:
        await count(worker, shop, range(3))
        await count(worker, shop, range(3, 5))

    first, second = shop.metas()
    assert first.incarnation == second.incarnation == topic_id(shop.kafka, shop.changelog)
    assert first.topic_ids == {name: topic_id(shop.kafka, name) for name in shop.topics}
    # Three rows, a segment of the window, the meta record.
    assert (first.previous, second.previous) == (-1, 4)


@pytest.mark.parametrize(("before", "after"), [(30, 5), (3, 40)])
async def test_a_changelog_made_anew_under_an_owner_takes_no_commit(
    shop: Shop, before: int, after: int
) -> None:
    async with a_worker(shop) as worker:
        await count(worker, shop, range(before))
        rows = worker.rows()
        shop.recreate(shop.changelog)
        shop.append(a_delivery_of(after, first=before))
        await worker.deliver()

        sentence = await stopped(worker)
        assert f"{shop.changelog} was deleted and created again under partition 0" in sentence
        assert "next ONHAND_VERSION" in sentence
        # What was counted can be read on, and says that nobody counts on.
        fresh = worker.table.freshness(0)
        assert (worker.rows(), worker.state()) == (rows, FORMER)
        assert fresh is not None
        assert fresh.role is Role.FORMER
        # Nobody can read what was sent to the new topic, and who comes next begins anew.
        async with a_worker(shop) as other:
            await other.own(0)
            await other.deliver()
            await other.committed()
            assert len(other.rows()) == before + after
    assert len(shop.committed_rows()) == before + after


async def test_it_is_noticed_before_a_follower_can_see_a_row_of_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_worker(shop) as owner, a_worker(shop) as standby:
        await count(owner, shop, range(30))
        await standby.table.assign((), {0})
        await standby.is_(Stage.STANDBY)
        gate = Gate()
        monkeypatch.setattr(ChangelogWriter, "commit", gate.before(ChangelogWriter.commit))
        shop.append(a_delivery_of(40, first=30))
        await owner.deliver()
        await gate.is_reached()
        shop.recreate(shop.changelog)
        gate.open.set()

        await stopped(owner)
        assert "is not whole" in await stopped(standby)
        assert len(owner.rows()) == len(standby.rows()) == 30
        assert shop.metas(markers_s=5) == []  # what was sent to it stays open


async def test_a_store_is_kept_under_another_name_when_its_changelog_was_made_anew(
    shop: Shop, tmp_path: Path
) -> None:
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        await count(worker, shop, range(30))
    shop.recreate(shop.changelog)
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        await worker.table.assign({0}, ())
        sentence = await stopped(worker)
        assert worker.table.freshness(0) is None  # not read, so nothing wrong is answered
        await worker.rebalance({0})
        assert "is not whole" in await stopped(worker)
    [kept] = kept_aside(tmp_path)
    assert f"kept as {kept}" in sentence

    # As a person may decide: nothing was lost of the sources.
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()
        assert len(worker.rows()) == 30
    kept.rename(tmp_path / "inventory-7")
    stores = RocksStores(tmp_path, "inventory")
    store = stores.open(7)
    assert len(store.scan(b"\x01", None, 100)) == 30
    store.close()
    stores.close()


async def test_a_changelog_that_lost_its_beginning_wipes_no_store_and_makes_no_owner(
    kafka: Kafka, tmp_path: Path
) -> None:
    shop = Shop(kafka.bootstrap, changelog=TRIMMED)
    async with a_worker(shop, RocksStores(tmp_path / "behind", "inventory")) as worker:
        await count(worker, shop, range(10))
    async with a_worker(shop, RocksStores(tmp_path / "whole", "inventory")) as whole:
        await count(whole, shop, range(10, 20))
        await count(whole, shop, range(20, 30))
    cut(kafka.bootstrap, shop.changelog, shop.end(shop.changelog) - 5)

    async with a_worker(shop, RocksStores(tmp_path / "empty", "inventory")) as empty:
        for roles in ((), {0}), ({0}, ()):
            await empty.rebalance(*roles)
            assert "it begins at offset" in await stopped(empty)
            assert empty.table.freshness(0) is None
            assert 0 not in empty.delivery.started
    async with a_worker(shop, RocksStores(tmp_path / "behind", "inventory")) as behind:
        await behind.table.assign({0}, ())
        assert "it begins at offset" in await stopped(behind)
    assert kept_aside(tmp_path / "behind")

    # Whose store is at the end goes on, and counts right.
    async with a_worker(shop, RocksStores(tmp_path / "whole", "inventory")) as whole:
        await count(whole, shop, range(30, 35))
        assert len(whole.rows()) == 35


async def test_damage_is_healed_from_a_whole_changelog_and_else_kept(
    kafka: Kafka, tmp_path: Path
) -> None:
    shop = Shop(kafka.bootstrap, changelog=TRIMMED)

    def damage() -> None:
        (tmp_path / "inventory-0" / "CURRENT").write_text("nothing that was ever there")

    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        await count(worker, shop, range(10))
    damage()
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        await count(worker, shop, range(10, 20))
        assert len(worker.rows()) == 20
    assert not kept_aside(tmp_path)
    damage()
    cut(kafka.bootstrap, shop.changelog, 5)
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        await worker.table.assign({0}, ())
        assert "it begins at offset 5" in await stopped(worker)
    assert kept_aside(tmp_path)


async def test_a_row_that_says_nothing_is_restored_once_and_then_its_partition_stands_still(
    shop: Shop, tmp_path: Path
) -> None:
    """It is in the changelog: each new store would have it, and be given up for it."""
    await with_history(shop, broken={row_key("SKU-0001", "here"): b"\xff{"})
    async with a_worker(shop, RocksStores(tmp_path, "inventory")) as worker:
        await worker.own(0)
        with pytest.raises(StoreUnfit):
            worker.table.get(0, "SKU-0001", "here")
        await worker.active()
        for _ in range(3):
            with pytest.raises(StoreUnfit):
                worker.table.get(0, "SKU-0001", "here")

        assert "Its changelog holds what nobody can read: a row" in await stopped(worker)
        assert sum(worker.table.stats.restores.values()) == 2
        row = worker.table.get(0, "SKU-0000", "here")
        assert (row and row.on_hand, worker.state()) == (1, FORMER)
        assert worker.table.freshness(0) is not None
