"""Logs that end in markers, are compacted while they are read, or lost what comes next."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from core.stages import Stage
from dev.kafka import Kafka
from dev.workers import until
from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from tables.home.store import Stores
from tables.keys import META_KEY
from tests.support.breaking.damage import copied
from tests.support.inside.delivered import WAIT_S
from tests.support.inside.owners import Shop, a_delivery_of, a_worker
from tests.support.topics.changelogs import Changelog, following, position_of, rows_of
from tests.support.topics.logs import COMPACTED, clean_often, reader, wait_for_compaction

MakeStores = Callable[[Path], Stores]
#: What was compacted away is gone from the disk soon, under whoever reads it. (Not at once: a
#: broker may still be writing it out, and takes a file that is gone for a broken disk.)
GONE_SOON = {**COMPACTED, "file.delete.delay.ms": "2000"}


def on_disk(folder: Path) -> Stores:
    return RocksStores(folder, "inventory")


def in_memory(folder: Path) -> Stores:
    return MemoryStores()


each_store = pytest.mark.parametrize("stores", [on_disk, in_memory], ids=["rocksdb", "memory"])


@pytest.fixture
def changelog(kafka: Kafka) -> Changelog:
    clean_often(kafka.bootstrap)
    return Changelog(kafka.bootstrap, config=GONE_SOON)


@each_store
async def test_a_compacted_changelog_that_ends_in_markers_is_restored_to_its_end(
    changelog: Changelog, tmp_path: Path, stores: MakeStores
) -> None:
    for turn in range(5):
        changelog.commit({f"{n}": f"{turn}" for n in range(20)}, turn)
    for _ in range(3):
        changelog.abort({f"{n}": "never" for n in range(20)}, 99)
    # Rows, meta, and what may still lie in the segment that is written.
    wait_for_compaction(changelog.kafka, changelog.topic, 2 * 21)
    end = changelog.end()
    last = reader(changelog.kafka).records(changelog.topic)[-1].offset
    assert last < end - 3 * 21, "the log does not end in markers: this would prove nothing"
    made = stores(tmp_path)
    store = made.open(0)

    async with following(changelog) as rig:
        restored = await rig.restore(store)
        again = await rig.restore(store, readable=True)

    assert rows_of(store) == {f"{n}": "4" for n in range(20)}
    assert position_of(store) == 4
    assert restored.records <= 2 * 21
    assert again.records <= 1  # its meta record
    store.close()
    made.close()


async def test_a_store_that_a_kill_left_at_a_meta_record_compacted_since_is_not_restored_anew(
    changelog: Changelog, tmp_path: Path
) -> None:
    changelog.commit({f"{n:03}": "old" for n in range(500)}, 10)
    stores = RocksStores(tmp_path / "data", "inventory")
    store = stores.open(0)
    async with following(changelog) as rig:
        await rig.restore(store)
        changelog.commit({"007": "one event"}, 11)
        await rig.restore(store, readable=True)
        copied(tmp_path / "data", tmp_path / "left")
    store.close()
    stores.close()
    at = store.local.meta_offset
    # Its successor counts on a quiet partition, and the cleaner comes.
    for turn in range(3):
        changelog.commit({"008": f"{turn}"}, 12 + turn)
    wait_for_compaction(changelog.kafka, changelog.topic, 500 + 2 + 2)
    metas = [
        r.offset for r in reader(changelog.kafka).records(changelog.topic) if r.key == META_KEY
    ]
    assert at not in metas, "its meta record is still there: this would prove nothing"

    stores = RocksStores(tmp_path / "left", "inventory")
    store = stores.open(0)
    async with following(changelog) as rig:
        restored = await rig.restore(store)

    assert restored.records <= 4
    assert len(rows_of(store)) == 500
    assert (store.get(b"007"), store.get(b"008")) == (b"one event", b"2")
    store.close()
    stores.close()


@each_store
async def test_a_changelog_whose_segments_are_deleted_while_it_is_restored_gives_the_newest_rows(
    changelog: Changelog, tmp_path: Path, stores: MakeStores
) -> None:
    for turn in range(6):
        changelog.commit({f"{n:03}": f"{turn}" for n in range(turn, 100)}, turn)
    made = stores(tmp_path)
    store = made.open(0)
    async with following(changelog) as rig:
        poll, polls = rig.follower._poll, 0

        async def poll_and_compact() -> None:
            nonlocal polls
            polls += 1
            if polls == 3:  # the newest meta record was looked at, and some was read
                where = changelog.kafka, changelog.topic
                await asyncio.to_thread(wait_for_compaction, *where, 100 + 2 + 96)
            await poll()

        # A fetch for each few records, or one would bring them all.
        rig.follower._consumer._fetcher._max_partition_fetch_bytes = 200
        rig.follower._poll = poll_and_compact  # type: ignore[method-assign]
        restored = await rig.restore(store)

    assert polls > 3
    assert rows_of(store) == {f"{n:03}": f"{min(n, 5)}" for n in range(100)}
    assert position_of(store) == 5
    assert restored.records > 100
    store.close()
    made.close()


@each_store
async def test_a_source_cut_past_the_position_while_all_were_down_stops_its_partition(
    kafka: Kafka, tmp_path: Path, stores: MakeStores
) -> None:
    shop = Shop(kafka.bootstrap)
    shop.append(a_delivery_of(3))
    made = stores(tmp_path)
    async with a_worker(shop, made) as worker:
        await worker.own(0)
        await worker.deliver()
        await worker.committed()
    shop.append(a_delivery_of(5, first=3))
    shop.cut(shop.shipments, 6)

    async with a_worker(shop, stores(tmp_path)) as worker:
        await worker.table.assign({0}, ())

        async def stands() -> bool:
            p = worker.table.held.get(0)
            return p is not None and p.stopped_because is not None

        await until(stands, "standing still", WAIT_S, 0.01)
        assert f"{shop.shipments} was cut or recreated" in (
            worker.partition().stopped_because or ""
        )
        assert worker.state() is Stage.FORMER
        assert worker.rows() == {f"SKU-{n:04}/here": 1 for n in range(3)}
        assert worker.failed == []
    assert [meta.positions[shop.shipments] for meta in shop.metas()] == [3]
