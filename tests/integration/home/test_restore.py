"""A store becomes what the changelog says, whatever it was and whatever happens meanwhile."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from core.stages import Role
from dev.kafka import Kafka
from dev.workers import until
from tables.home.changelog import ChangelogChanged
from tables.home.feed import Phase
from tables.home.memory import MemoryStore
from tables.home.rocks import RocksStores
from tables.home.store import Local, StoreUnfit
from tables.keys import META_KEY
from tests.support.topics.changelogs import (
    COMPACT,
    WAIT_S,
    Changelog,
    a_meta,
    blobs,
    following,
    position_of,
    rows_of,
)
from tests.support.topics.logs import (
    COMPACTED,
    clean_often,
    cut,
    reader,
    wait_for_compaction,
)

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
    assert store.local.incarnation == changelog.id
    assert restored.records == 9


async def test_a_changelog_that_was_never_written_is_restored_at_once(changelog: Changelog) -> None:
    store = MemoryStore()
    async with following(changelog) as rig:
        restored = await rig.restore(store)

    assert (restored.records, rows_of(store), store.local) == (0, {}, Local())


async def test_a_store_that_is_behind_reads_only_what_is_new(
    changelog: Changelog, tmp_path: Path
) -> None:
    changelog.commit({f"{n:03}": "old" for n in range(500)}, 10)
    stores = RocksStores(tmp_path, "inventory")
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


# ---- stores that are not of this changelog, and changelogs that are not whole


def a_store(rows: Mapping[str, str], position: int, incarnation: str, **local: int) -> MemoryStore:
    """As it was left behind."""
    store = MemoryStore()
    content = {key.encode(): row.encode() for key, row in rows.items()}
    content[META_KEY] = a_meta(position, incarnation)
    store.write(content, [], Local(incarnation=incarnation, **local))
    return store


@pytest.mark.parametrize("meta_offset", [699, 1])
@pytest.mark.parametrize("readable", [False, True])
async def test_a_store_ahead_of_the_end_is_not_gone_on_with_and_not_proved_to_be_replaceable(
    changelog: Changelog, readable: bool, meta_offset: int
) -> None:
    # The changelog lost its tail, perhaps while the store was rebuilt from it.
    changelog.commit({"a": "1"}, 10)
    store = a_store({"z": "9"}, 90, changelog.id, next_offset=700, meta_offset=meta_offset)
    before = rows_of(store), store.local

    async with following(changelog) as rig:
        with pytest.raises(StoreUnfit, match="ends at 3, and the local store is at 700"):
            await rig.restore(store, readable=readable)
        with pytest.raises(ChangelogChanged, match="ends at 3, and this worker has it up to 700"):
            await rig.follower.prove(0, store.local)

    assert (rows_of(store), store.local) == before


@pytest.mark.parametrize("how", ["committed", "restored"])
@pytest.mark.parametrize("readable", [False, True])
async def test_a_store_of_a_recreated_changelog_is_replaceable_once_that_one_has_all_it_had(
    changelog: Changelog, how: str, readable: bool
) -> None:
    changelog.commit({"a": "old", "gone": "old"}, 10)
    store = MemoryStore()
    async with following(changelog) as rig:
        await rig.restore(store)
    if how == "committed":  # the last thing to write it was an owner's own commit
        store.local = Local(next_offset=3, meta_offset=2, incarnation=changelog.id)
    changelog.recreate()

    async with following(changelog) as rig:
        with pytest.raises(StoreUnfit, match="the local store is of the changelog with the id"):
            await rig.restore(store, readable=readable)
        with pytest.raises(ChangelogChanged, match="it ends at 0"):
            await rig.follower.prove(0, store.local)
        # Somebody counted anew into it.
        changelog.commit({"a": "new", "b": "new"}, 7)
        await rig.follower.prove(0, store.local)
        another = MemoryStore()
        await rig.restore(another)

    assert rows_of(store) == {"a": "old", "gone": "old"}
    assert (rows_of(another), another.local.incarnation) == ({"a": "new", "b": "new"}, changelog.id)


@pytest.mark.parametrize("aborted", [0, 1, 40])
async def test_a_changelog_that_was_written_as_another_topic_is_restored_by_nobody(
    changelog: Changelog, aborted: int
) -> None:
    # A copy, or what an owner that did not notice wrote to a topic made anew under it.
    changelog.commit({"a": "1"}, 10, "another id")
    for _ in range(aborted):
        changelog.abort({"a": "never"}, 99)
    store = MemoryStore()

    async with following(changelog) as rig:
        with pytest.raises(ChangelogChanged, match="written as the topic with the id another id"):
            await rig.restore(store)
        with pytest.raises(ChangelogChanged, match="it is a copy, or was deleted and created"):
            await rig.follower.prove(0, None)

    assert (rows_of(store), store.local) == ({}, Local())


async def test_a_meta_record_that_follows_none_that_the_store_knows_is_of_another_log(
    changelog: Changelog,
) -> None:
    changelog.commit({"a": "1"}, 10)
    changelog.commit({"b": "1"}, 20)
    store = MemoryStore()
    async with following(changelog) as rig:
        feed = await rig.add(store)
        await asyncio.wait_for(feed.caught_up, WAIT_S)
        feed.become(Phase.WHOLE)
        changelog.forget_metas()
        changelog.commit({"c": "1"}, 5)

        async def told() -> bool:
            return bool(rig.unfit)

        await until(told, "told", WAIT_S)

    assert "follows one at -1, and the local store has one of 4" in str(rig.unfit[0])
    assert (rows_of(store), position_of(store)) == ({"a": "1", "b": "1"}, 20)


TRIMMED = {**COMPACT, "cleanup.policy": "compact,delete"}


async def test_a_changelog_that_lost_its_beginning_is_restored_by_nobody(kafka: Kafka) -> None:
    changelog = Changelog(kafka.bootstrap, config=TRIMMED)
    changelog.commit({"a": "1", "gone": "1"}, 10)
    behind, at_the_end = MemoryStore(), MemoryStore()
    async with following(changelog) as rig:
        await rig.restore(behind)
        changelog.commit({"a": "2"}, 20)
        changelog.commit({"b": "2"}, 30)
        await rig.restore(at_the_end)
        cut(kafka.bootstrap, changelog.topic, 4)
        changelog.commit({"c": "2"}, 40)

        with pytest.raises(ChangelogChanged, match="it begins at offset 4"):
            await rig.restore(MemoryStore())
        with pytest.raises(StoreUnfit, match="no longer holds offset 3"):
            await rig.restore(behind)
        with pytest.raises(ChangelogChanged, match="it begins at offset 4"):
            await rig.follower.prove(0, behind.local)
        # Who has all that is gone goes on.
        await rig.restore(at_the_end, readable=True)

    assert rows_of(behind) == {"a": "1", "gone": "1"}
    assert rows_of(at_the_end) == {"a": "2", "gone": "1", "b": "2", "c": "2"}


@pytest.mark.parametrize("fetched", [0, 1])
async def test_records_that_are_deleted_during_a_restore_end_it(kafka: Kafka, fetched: int) -> None:
    changelog = Changelog(kafka.bootstrap, config=TRIMMED)
    changelog.commit_in_batches(blobs("1") + blobs("2"), 10)
    changelog.commit({"b": "2"}, 20)
    store = MemoryStore()
    async with following(changelog) as rig:
        log = await rig.follower.look(0)
        poll, polls = rig.follower._poll, 0

        async def poll_and_cut() -> None:
            nonlocal polls
            if polls == fetched + 1:  # the first look is at the newest meta record
                cut(kafka.bootstrap, changelog.topic, log.end - 3)
                rig.follower._consumer._fetcher._records.clear()
            polls += 1
            await poll()

        rig.follower._poll = poll_and_cut  # type: ignore[method-assign]
        feed = rig.follower.add(0, store, False, log, Role.ACTIVE)

        async def told() -> bool:
            return bool(rig.unfit)

        await until(told, f"told; {feed.position}", WAIT_S)

    assert "no longer holds offset" in str(rig.unfit[0])
    assert not feed.caught_up.done() or feed.caught_up.cancelled()


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

    metas = [r for r in reader(kafka.bootstrap).records(changelog.topic) if r.key == META_KEY]
    assert len(metas) < 4  # of 7
    rows_wanted = {key: row for key, row in wanted.items() if key[0] != "\x00"} | {"last": "1"}
    for store in (fresh, behind):
        assert (rows_of(store), position_of(store)) == (rows_wanted, 6)
    assert [fresh.get(b"\x00w%d" % n) is None for n in range(6)] == [n < 4 for n in range(6)]
