"""A store that follows its changelog: what readers see meanwhile, and when it must stop."""

import asyncio

import pytest

from core.stages import Role
from dev.kafka import Kafka
from dev.workers import until
from tables.home.feed import Feed, Phase
from tables.home.memory import MemoryStore
from tables.home.store import Local, StoreFailed
from tables.ports import Log
from tests.support.topics.changelogs import (
    WAIT_S,
    Changelog,
    blobs,
    following,
    rows_of,
)


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
        feed = rig.follower.add(0, store, False, Log(changelog.id, 0, end), Role.STANDBY)
        await asyncio.wait_for(feed.caught_up, WAIT_S)

    assert ready[0] in ({"old"}, {"new"})


async def test_a_standby_follows_and_knows_that_it_is_at_the_end(changelog: Changelog) -> None:
    changelog.commit({"a": "1"}, 10)
    store = MemoryStore()
    async with following(changelog) as rig:
        feed = await rig.add(store)
        await asyncio.wait_for(feed.caught_up, WAIT_S)
        feed.become(Phase.WHOLE)
        changelog.commit({"a": "2"}, 20)
        end = changelog.end()

        async def there() -> bool:
            return feed.position == end

        await until(there, "at the end", WAIT_S)
        known = rig.follower.known_end(0)

    assert rows_of(store) == {"a": "2"}
    assert (known.offset, feed.meta and feed.meta.positions) == (end, {"sales": 20})


@pytest.mark.parametrize("has_begun", [False, True])
async def test_a_standby_is_loaded_once_nothing_that_is_owned_waits(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, has_begun: bool
) -> None:
    monkeypatch.setattr("tables.home.feed._SOON", 0)
    changelog = Changelog(kafka.bootstrap, partitions=2)
    changelog.commit_in_batches(blobs("new"), 10)  # more than one fetch brings
    changelog.commit({"owned": "1"}, 10, partition=1)
    store, owned = MemoryStore(), MemoryStore()
    async with following(changelog) as rig:
        waits = [not has_begun]
        rig.follower._own_first = lambda: waits[0]

        def now_it_waits(feed: Feed) -> None:
            waits[0] = True

        rig.after_each = now_it_waits  # the first piece is there
        log = await rig.follower.look(0)
        feed = rig.follower.add(0, store, False, log, Role.STANDBY)
        if has_begun:

            async def begun() -> bool:
                return waits[0]

            await until(begun, "begun", WAIT_S)
        rig.after_each = lambda feed: None
        await rig.restore(owned, 1)
        assert rows_of(owned) == {"owned": "1"}
        assert not feed.caught_up.done()
        waits[0] = False
        await asyncio.wait_for(feed.caught_up, WAIT_S)

    assert rows_of(store) == {f"{n}": "new" for n in range(3)}


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


async def test_a_feed_that_is_removed_before_it_writes_writes_nothing(
    changelog: Changelog, monkeypatch: pytest.MonkeyPatch
) -> None:
    changelog.commit({"a": "1"}, 10)
    store = MemoryStore()
    async with following(changelog) as rig:
        feed = await rig.add(store)
        is_due = feed.is_due

        def due_and_then_removed() -> bool:
            if due := is_due():
                asyncio.get_running_loop().call_soon(rig.follower.remove, feed)
            return due

        monkeypatch.setattr(feed, "is_due", due_and_then_removed)
        await asyncio.wait([feed.caught_up], timeout=WAIT_S)
        await rig.restore(MemoryStore())  # another round: what was to come has come

    assert feed.caught_up.cancelled()
    assert (rows_of(store), store.local) == ({}, Local())


async def test_a_feed_can_be_replaced_by_another_of_the_same_partition(
    changelog: Changelog,
) -> None:
    changelog.commit({"a": "1"}, 10)
    store = MemoryStore()
    async with following(changelog) as rig:
        first = await rig.add(store)
        second = await rig.add(store)
        was_in_time = first.caught_up.done()
        rig.follower.remove(first)  # its owner learns late that it was overtaken
        await asyncio.wait_for(second.caught_up, WAIT_S)

    assert was_in_time or first.caught_up.cancelled()
    assert rows_of(store) == {"a": "1"}


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
