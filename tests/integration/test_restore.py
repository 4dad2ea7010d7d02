"""A store becomes what the changelog says, whatever it was and whatever happens meanwhile."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from dev.kafka import Kafka
from dev.log import ends_of, read_topics
from dev.workers import until
from tables.changelog import META_KEY, Meta
from tables.restore import Feed, Follower, Restored
from tables.stats import Stats
from tables.store import Local, MemoryStore, RocksStores, Store, StoreFailed, row_pairs
from tests.logs import (
    COMPACTED,
    Put,
    Writer,
    a_name,
    clean_often,
    cut,
    make,
    remove,
    wait_for_compaction,
)

WAIT_S = 20.0
COMPACT = {"cleanup.policy": "compact", "max.message.bytes": str(8 * 2**20)}
#: More than one fetch takes of a partition, in bytes that do not compress.
HALF_A_FETCH = 1_200_000

Rows = Mapping[str, str | None]


def a_meta(position: int, incarnation: str = "one") -> bytes:
    return msgspec.json.encode(
        Meta(
            positions={"sales": position}, fingerprints={}, counts={}, window=10, rules=1,
            incarnation=incarnation,
        )
    )  # fmt: skip


def puts(rows: Rows) -> list[Put]:
    return [Put(key.encode(), None if row is None else row.encode()) for key, row in rows.items()]


class Changelog:
    """A changelog of a test's own, and the newest writer of each of its partitions."""

    def __init__(
        self, kafka: str, partitions: int = 1, config: Mapping[str, str] = COMPACT
    ) -> None:
        self.kafka, self.partitions, self.config = kafka, partitions, dict(config)
        self.topic = make(kafka, a_name(), partitions, config)
        self._writer = self._new_writer()

    def _new_writer(self) -> Writer:
        return Writer(self.kafka, a_name(), message_max_bytes=2**22, batch_size=2**22)

    def commit(self, rows: Rows, position: int, incarnation: str = "one", p: int = 0) -> None:
        """One group commit: rows (None deletes), then the meta record."""
        records = [*puts(rows), Put(META_KEY, a_meta(position, incarnation))]
        self._writer.committed(self.topic, records, p)

    def commit_in_batches(
        self, batches: Iterable[Rows], position: int, incarnation: str = "one", p: int = 0
    ) -> None:
        """One group commit of several record batches; the meta record is in the last."""
        self._writer.begin()
        for rows in batches:
            self._writer.write(self.topic, puts(rows), p)
        self._writer.write(self.topic, [Put(META_KEY, a_meta(position, incarnation))], p)
        self._writer.commit()

    def abort(self, rows: Rows, position: int) -> None:
        """What a writer leaves behind that is fenced before its commit."""
        records = [*puts(rows), Put(META_KEY, a_meta(position))]
        self._writer.aborted(self.topic, records)

    def recreate(self) -> None:
        """Delete it and create it again, empty."""
        remove(self.kafka, self.topic)
        make(self.kafka, self.topic, self.partitions, self.config)
        self._writer = self._new_writer()

    def end(self, p: int = 0) -> int:
        return ends_of(self.kafka, [self.topic])[self.topic, p]


class Rig:
    """A follower; what it told while it followed."""

    def __init__(self, changelog: Changelog) -> None:
        self.changelog = changelog
        self.failed: list[str] = []
        self.stats = Stats()
        self.after_each: Callable[[Feed], None] = lambda feed: None
        self.follower = Follower(
            {"bootstrap_servers": changelog.kafka},
            changelog.topic,
            50,
            self.stats,
            lambda feed: self.after_each(feed),
            self._fail,
        )

    async def _fail(self, sentence: str, error: BaseException | None) -> None:
        self.failed.append(sentence)

    async def add(self, store: Store, p: int = 0, *, readable: bool = False) -> Feed:
        """Feed a store up to where the changelog ends now, and on."""
        return self.follower.add(p, store, readable, await self.follower.end(p))

    async def restore(self, store: Store, p: int = 0, *, readable: bool = False) -> Restored:
        """Feed a store up to where the changelog ends now."""
        feed = await self.add(store, p, readable=readable)
        restored = await asyncio.wait_for(feed.caught_up, WAIT_S)
        self.follower.remove(feed)
        return restored


@asynccontextmanager
async def following(changelog: Changelog) -> AsyncIterator[Rig]:
    rig = Rig(changelog)
    await rig.follower.start()
    try:
        yield rig
    finally:
        await rig.follower.stop()


@pytest.fixture
def changelog(kafka: Kafka) -> Changelog:
    return Changelog(kafka.bootstrap)


def rows_of(store: Store) -> dict[str, str]:
    return {key.decode(): row.decode() for key, row in row_pairs(store)}


def position_of(store: Store) -> int | None:
    raw = store.get(META_KEY)
    return None if raw is None else msgspec.json.decode(raw, type=Meta).positions["sales"]


# ---- what a restore comes to


async def test_an_empty_store_becomes_what_the_changelog_says(changelog: Changelog) -> None:
    changelog.commit({"a": "1", "b": "1", "\x00w1": "s"}, 10)
    changelog.commit({"a": "2", "\x00w1": None}, 20)
    changelog.commit({"c": "1"}, 30)
    store = MemoryStore()

    async with following(changelog) as rig:
        restored = await rig.restore(store)

    assert rows_of(store) == {"a": "2", "b": "1", "c": "1"}
    assert (position_of(store), store.get(b"\x00w1")) == (30, None)
    # The three commits hold 4, 3 and 2 records and a marker each.
    assert store.local.meta_offset == 10
    assert store.local.incarnation == "one"
    assert restored.records == 9
    assert restored.nbytes > 200


async def test_a_changelog_that_was_never_written_is_restored_at_once(changelog: Changelog) -> None:
    store = MemoryStore()
    async with following(changelog) as rig:
        restored = await rig.restore(store)

    assert (restored.records, rows_of(store), store.local) == (0, {}, Local())


async def test_a_store_that_is_behind_reads_only_what_is_new(
    changelog: Changelog, tmp_path: Path
) -> None:
    changelog.commit({f"{n:03}": "old" for n in range(500)}, 10)
    stores = RocksStores(tmp_path)
    store = stores.open(0)
    async with following(changelog) as rig:
        await rig.restore(store)
        store.close()
        changelog.commit({"007": "new"}, 20)
        store = stores.open(0)
        restored = await rig.restore(store)

    assert restored.records <= 3  # the old meta record again, the row, the new meta record
    assert (len(rows_of(store)), store.get(b"007"), position_of(store)) == (500, b"new", 20)
    store.close()
    stores.close()


async def test_aborted_transactions_leave_nothing_and_hold_up_nobody(changelog: Changelog) -> None:
    changelog.abort({"a": "never"}, 99)
    changelog.commit({"a": "1"}, 10)
    changelog.abort({"a": "never", "b": "never"}, 99)
    store = MemoryStore()

    async with following(changelog) as rig:
        # Its end is behind a marker, where no record ever comes.
        await rig.restore(store)

    assert (rows_of(store), position_of(store)) == ({"a": "1"}, 10)


async def test_a_changelog_of_nothing_but_aborted_transactions_is_empty(
    changelog: Changelog,
) -> None:
    changelog.abort({"a": "never"}, 99)
    store = MemoryStore()

    async with following(changelog) as rig:
        await rig.restore(store)

    assert (rows_of(store), position_of(store)) == ({}, None)


# ---- stores that are not of this changelog


def a_store(rows: Mapping[str, str], position: int, incarnation: str, **local: int) -> MemoryStore:
    """As it was left behind."""
    store = MemoryStore()
    content = {key.encode(): row.encode() for key, row in rows.items()}
    content[META_KEY] = a_meta(position, incarnation)
    store.write(content, [], Local(incarnation=incarnation, **local))
    return store


@pytest.mark.parametrize("readable", [False, True])
async def test_a_store_ahead_of_the_changelogs_end_is_wiped_and_restored(
    changelog: Changelog, readable: bool
) -> None:
    changelog.commit({"a": "1"}, 10)
    store = a_store({"a": "9", "z": "9"}, 90, "one", next_offset=700, meta_offset=699)

    async with following(changelog) as rig:
        await rig.restore(store, readable=readable)

    assert (rows_of(store), position_of(store)) == ({"a": "1"}, 10)


async def test_a_half_restored_store_ahead_of_the_end_is_wiped_though_its_meta_is_not(
    changelog: Changelog,
) -> None:
    # The changelog lost its tail; what was restored from it must go, too.
    changelog.commit({"a": "1"}, 10)
    changelog.commit({"b": "1"}, 20)
    store = a_store({"a": "1", "lost": "9"}, 10, "one", next_offset=700, meta_offset=1)

    async with following(changelog) as rig:
        await rig.restore(store)

    assert rows_of(store) == {"a": "1", "b": "1"}


@pytest.mark.parametrize("readable", [False, True])
@pytest.mark.parametrize("how", ["committed", "restored"])
@pytest.mark.parametrize("grown", [False, True], ids=["to the same end", "beyond the old end"])
async def test_a_store_of_a_recreated_changelog_is_wiped_and_restored(
    changelog: Changelog, how: str, grown: bool, readable: bool
) -> None:
    changelog.commit({"a": "old", "gone": "old"}, 10, "one")
    store = MemoryStore()
    async with following(changelog) as rig:
        await rig.restore(store)
    if how == "committed":  # the last thing to write it was an owner's own commit
        store.local = Local(next_offset=3, meta_offset=2, incarnation="one")
    changelog.recreate()
    changelog.commit({"a": "new", "b": "new"}, 7, "two")
    if grown:
        changelog.commit({"c": "new"}, 8, "two")

    async with following(changelog) as rig:
        await rig.restore(store, readable=readable)

    wanted = {"a": "new", "b": "new"} | ({"c": "new"} if grown else {})
    assert (rows_of(store), store.local.incarnation) == (wanted, "two")


async def test_a_store_older_than_the_changelogs_first_offset_is_wiped_and_restored(
    kafka: Kafka,
) -> None:
    changelog = Changelog(kafka.bootstrap, config={"cleanup.policy": "compact,delete"})
    changelog.commit({"a": "1", "gone": "1"}, 10)
    store = MemoryStore()
    async with following(changelog) as rig:
        await rig.restore(store)
        changelog.commit({"a": "2"}, 20)
        changelog.commit({"b": "2"}, 30)
        cut(kafka.bootstrap, changelog.topic, 4)
        await rig.restore(store)

    assert rows_of(store) == {"a": "2", "b": "2"}
    assert position_of(store) == 30


# ---- compaction


async def test_a_compacted_changelog_with_one_meta_record_left_is_restored_in_full(
    kafka: Kafka,
) -> None:
    clean_often(kafka.bootstrap)
    changelog = Changelog(kafka.bootstrap, config=COMPACTED)
    wanted: dict[str, str] = {}
    behind = MemoryStore()
    async with following(changelog) as rig:
        for turn in range(6):
            rows: dict[str, str | None] = {f"{n}": f"{turn}" for n in range(0, 30, turn + 1)}
            rows[f"\x00w{turn}"] = "s"
            rows[f"\x00w{turn - 2}"] = None
            changelog.commit(rows, turn)
            wanted |= {key: row for key, row in rows.items() if row is not None}
            if turn == 1:
                await rig.restore(behind)
        changelog.commit({"last": "1"}, 6)
        wait_for_compaction(kafka.bootstrap, changelog.topic, 45)  # of 94
        fresh = MemoryStore()
        await rig.restore(fresh)
        await rig.restore(behind, readable=True)

    metas = [r for r in read_topics(kafka.bootstrap, [changelog.topic]) if r.key == META_KEY]
    assert len(metas) < 4  # of 7
    rows_wanted = {key: row for key, row in wanted.items() if key[0] != "\x00"} | {"last": "1"}
    for store in (fresh, behind):
        assert (rows_of(store), position_of(store)) == (rows_wanted, 6)
    assert [fresh.get(b"\x00w%d" % n) is None for n in range(6)] == [n < 4 for n in range(6)]


# ---- what readers see meanwhile


def blobs(value: str) -> list[dict[str, str | None]]:
    """Three batches of the same rows' worth; together more than one fetch brings."""
    noise = os.urandom(HALF_A_FETCH).hex()[:HALF_A_FETCH]
    return [{f"{n}": value, f"\x00noise{n}": noise} for n in range(3)]


async def test_a_readable_store_shows_a_transaction_at_once_or_not_at_all(
    changelog: Changelog,
) -> None:
    changelog.commit_in_batches([{f"{n}": "old"} for n in range(3)], 10)
    store = MemoryStore()
    seen: list[set[str]] = []
    async with following(changelog) as rig:
        await rig.restore(store)
        rig.after_each = lambda feed: seen.append(set(rows_of(store).values()))
        changelog.commit_in_batches(blobs("new"), 20)
        await rig.restore(store, readable=True)

    assert len(seen) > 1  # it came in pieces, or this proves nothing
    assert seen[-1] == {"new"}
    assert all(values in ({"old"}, {"new"}) for values in seen), seen


async def test_a_follower_is_not_caught_up_in_the_middle_of_a_transaction(
    changelog: Changelog,
) -> None:
    changelog.commit_in_batches([{f"{n}": "old"} for n in range(3)], 10)
    end = changelog.end()
    # Committed after the follower asked for the end; a fetch brings only a part of it.
    changelog.commit_in_batches(blobs("new"), 20)
    store = MemoryStore()
    ready: list[set[str]] = []

    def look(feed: Feed) -> None:
        if feed.caught_up.done() and feed.is_past_end():
            ready.append(set(rows_of(store).values()))

    async with following(changelog) as rig:
        rig.after_each = look
        feed = rig.follower.add(0, store, False, end)
        await asyncio.wait_for(feed.caught_up, WAIT_S)

    assert ready[0] in ({"old"}, {"new"})


async def test_a_standby_follows_and_knows_that_it_is_at_the_end(changelog: Changelog) -> None:
    changelog.commit({"a": "1"}, 10)
    store = MemoryStore()
    async with following(changelog) as rig:
        feed = await rig.add(store)
        await asyncio.wait_for(feed.caught_up, WAIT_S)
        feed.whole = True
        changelog.commit({"a": "2"}, 20)
        end = changelog.end()

        async def there() -> bool:
            return feed.position == end

        await until(there, "at the end", WAIT_S)
        known = rig.follower.known_end(0)

    assert rows_of(store) == {"a": "2"}
    assert (known.offset, feed.meta and feed.meta.positions) == (end, {"sales": 20})


async def test_a_feed_that_was_removed_writes_nothing_more(changelog: Changelog) -> None:
    changelog.commit({"a": "1"}, 10)
    store, other = MemoryStore(), MemoryStore()
    async with following(changelog) as rig:
        feed = await rig.add(store)
        await asyncio.wait_for(feed.caught_up, WAIT_S)
        rig.follower.remove(feed)
        changelog.commit({"a": "2"}, 20)
        await rig.restore(other)  # had the first still been fed, it would have this, too

    assert (rows_of(store), rows_of(other)) == ({"a": "1"}, {"a": "2"})


async def test_a_feed_that_is_removed_while_the_log_start_is_asked_for_wipes_nothing(
    kafka: Kafka,
) -> None:
    changelog = Changelog(kafka.bootstrap, config={"cleanup.policy": "compact,delete"})
    changelog.commit({"a": "1"}, 10)
    changelog.commit({"a": "2"}, 20)
    cut(kafka.bootstrap, changelog.topic, 3)
    store = a_store({"a": "1"}, 10, "one", next_offset=2, meta_offset=1)
    async with following(changelog) as rig:
        consumer = rig.follower._consumer
        ask = consumer.beginning_offsets
        asked = asyncio.Event()

        async def ask_and_lose_the_feed(tps: object) -> object:
            found = await ask(tps)
            rig.follower.remove(feed)
            asked.set()
            return found

        consumer.beginning_offsets = ask_and_lose_the_feed
        feed = await rig.add(store, readable=True)
        await asyncio.wait_for(asked.wait(), WAIT_S)
        await rig.restore(MemoryStore())  # another round: what was to come has come

    assert rows_of(store) == {"a": "1"}


async def test_a_feed_can_be_replaced_by_another_of_the_same_partition(
    changelog: Changelog,
) -> None:
    changelog.commit({"a": "1"}, 10)
    store = MemoryStore()
    async with following(changelog) as rig:
        first = await rig.add(store)
        second = await rig.add(store)
        rig.follower.remove(first)  # its owner learns late that it was overtaken
        await asyncio.wait_for(second.caught_up, WAIT_S)

    assert first.caught_up.cancelled()
    assert rows_of(store) == {"a": "1"}


# ---- long restores


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
        changelog.commit({"a": f"{p}"}, 10, p=p)
    return changelog


async def test_one_wiped_partition_of_twelve_delays_no_other(long: Changelog) -> None:
    async with following(long) as rig:
        slow = await rig.add(MemoryStore(), 0)
        stores = {p: MemoryStore() for p in range(1, 12)}
        others = [await rig.add(store, p) for p, store in stores.items()]

        await asyncio.wait_for(asyncio.gather(*(feed.caught_up for feed in others)), WAIT_S)

        assert not slow.caught_up.done()
        assert [rows_of(store) for store in stores.values()] == [{"a": f"{p}"} for p in stores]
        await asyncio.wait_for(slow.caught_up, WAIT_S)


async def test_an_interrupted_restore_goes_on_where_it_was(long: Changelog, tmp_path: Path) -> None:
    stores = RocksStores(tmp_path)
    store = stores.open(0)
    async with following(long) as rig:
        interrupted = asyncio.Event()

        def interrupt(feed: Feed) -> None:
            if feed.records and not interrupted.is_set():
                rig.follower.remove(feed)
                interrupted.set()

        rig.after_each = interrupt
        first = await rig.add(store)
        await asyncio.wait_for(interrupted.wait(), WAIT_S)
        store.close()
        store = stores.open(0)  # as after a kill -9 in the middle
        again = await rig.restore(store)

    assert 0 < first.records < 40_000
    assert first.records + again.records == 40_001
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


async def test_a_disk_that_refuses_ends_the_worker_with_its_sentence(changelog: Changelog) -> None:
    changelog.commit({"a": "1"}, 10)

    class Full(MemoryStore):
        def write(self, *args: object) -> None:
            raise StoreFailed("The disk is full: free space.")

    async with following(changelog) as rig:
        await rig.add(Full())

        async def failed() -> bool:
            return bool(rig.failed)

        await until(failed, "failed", WAIT_S)

    assert "The disk is full: free space." in rig.failed[0]
