"""A restore that takes a while: alone, interrupted, and telling how far it is."""

import asyncio
from pathlib import Path

import pytest

from core.stages import Role
from dev.kafka import Kafka
from dev.workers import until
from tables.home.feed import Feed
from tables.home.memory import MemoryStore
from tables.home.rocks import RocksStores
from tests.support.topics.changelogs import WAIT_S, Changelog, following, rows_of


@pytest.fixture(scope="module")
def long(kafka: Kafka) -> Changelog:
    """Partition 0 of twelve takes many fetches and has one meta record, as after compaction."""
    changelog = Changelog(kafka.bootstrap, partitions=12)
    rows = [
        {f"{n:06}": "x" * 100 for n in range(first, first + 2000)}
        for first in range(0, 40_000, 2000)
    ]
    changelog.commit_in_batches(rows, 10)
    for p in range(1, 12):
        changelog.commit({"a": f"{p}"}, 10, partition=p)
    return changelog


async def test_one_wiped_partition_of_twelve_delays_no_other(long: Changelog) -> None:
    async with following(long) as rig:
        # One batch of it at a time, so that it takes far more fetches than all others together.
        rig.follower._consumer._fetcher._max_partition_fetch_bytes = 1
        stores = {p: MemoryStore() for p in range(1, 12)}
        slow, *others = await asyncio.gather(
            rig.add(MemoryStore(), 0), *(rig.add(store, p) for p, store in stores.items())
        )

        await asyncio.wait_for(asyncio.gather(*(feed.caught_up for feed in others)), WAIT_S)

        assert not slow.caught_up.done()
        assert [rows_of(store) for store in stores.values()] == [{"a": f"{p}"} for p in stores]
        await asyncio.wait_for(slow.caught_up, WAIT_S)


async def test_an_interrupted_restore_goes_on_where_it_was(long: Changelog, tmp_path: Path) -> None:
    stores = RocksStores(tmp_path, "inventory")
    store = stores.open(0)
    async with following(long) as rig:
        interrupted = asyncio.Event()

        def interrupt(feed: Feed) -> None:
            if 0 < store.local.next_offset < feed.position and not interrupted.is_set():
                rig.follower.remove(feed)
                interrupted.set()

        rig.after_each = interrupt
        first = await rig.add(store)
        await asyncio.wait_for(interrupted.wait(), WAIT_S)
        store.close()
        store = stores.open(0)  # as after a kill -9 in the middle
        written = store.local.next_offset
        again = await rig.restore(store)

    assert 20_000 <= written < first.position < 40_000
    assert again.records == 40_001 - written
    assert len(rows_of(store)) == 40_000
    store.close()
    stores.close()


async def test_progress_tells_how_much_is_done_and_how_long_it_takes(long: Changelog) -> None:
    told = []
    async with following(long) as rig:
        rig.after_each = lambda feed: told.append(feed.progress())
        await rig.restore(MemoryStore())

    done = [progress.done for progress in told]
    assert done == sorted(done)
    assert len(set(done)) > 3
    assert all(0 <= progress.done <= progress.total <= 40_010 for progress in told)
    middle = next(p for p in told if 0 < p.done < 30_000)
    assert middle.rate_per_s > 0
    assert middle.eta_s == pytest.approx((middle.total - middle.done) / middle.rate_per_s)
    assert told[-1].eta_s == 0
    assert rig.stats.restored >= 40_001


@pytest.mark.parametrize("is_away", [False, True])
async def test_a_restore_that_stands_ends_the_worker_unless_kafka_is_away(
    long: Changelog, monkeypatch: pytest.MonkeyPatch, is_away: bool
) -> None:
    monkeypatch.setattr("tables.home.follower._STUCK_S", 1.5)
    monkeypatch.setattr("tables.home.follower._PROGRESS_S", 0.1)
    async with following(long) as rig:
        store = MemoryStore()
        await rig.restore(store, 1)
        if is_away:
            answered = rig.follower.known_end(1)
            long_ago = answered._replace(at_ms=answered.at_ms - 60_000)
            monkeypatch.setattr(rig.follower, "known_end", lambda partition: long_ago)
            monkeypatch.setattr("tables.home.follower._ANSWERS_S", 0.3)
        looked = 0
        report = rig.follower._report

        def count() -> None:
            nonlocal looked
            looked += 1
            report()

        monkeypatch.setattr(rig.follower, "_report", count)
        # Kafka says an end that nobody can read up to.
        log = await rig.follower.look(1)
        rig.follower.add(1, store, False, log._replace(end=log.end + 10), Role.ACTIVE)

        async def is_told() -> bool:
            return looked > 5 if is_away else bool(rig.failed)

        await until(is_told, "told", WAIT_S)
        assert [("has stood at changelog offset" in said) for said in rig.failed] == (
            [] if is_away else [True]
        )
