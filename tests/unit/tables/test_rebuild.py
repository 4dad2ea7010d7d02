"""A rebuild that is cut off goes on, without a gap, from what was written."""

import asyncio

import msgspec
import pytest

import tables.home.feed
from core.records import Record
from tables.home.changelog import Meta
from tables.home.feed import Feed, Phase
from tables.home.memory import MemoryStore
from tables.home.store import Local, row_pairs
from tables.keys import META_KEY
from tables.ports import Log
from tests.support.topics.fetching import as_sent
from wire.fetch import Fetched


def a_changelog(commits: int) -> list[Record]:
    """Transactions of two rows, the meta record and the marker, which is no record."""
    records: list[Record] = []
    for n in range(commits):
        meta = Meta(
            positions={"sales": n},
            fingerprints={},
            counts={},
            window=10,
            rules=1,
            incarnation="one",
            previous=max(4 * n - 2, -1),
        )
        values = {b"a": b"%d" % n, b"row-%d" % n: b"1", META_KEY: msgspec.json.encode(meta)}
        records += [(4 * n + i, 0, key, values[key], ()) for i, key in enumerate(values)]
    return records


def fetches(log: list[Record], start: int, end: int, size: int = 5) -> list[Fetched]:
    """As a consumer would return them, whatever the transactions."""
    found = []
    for first in range(start, end, size):
        last = min(first + size, end)
        records = [record for record in log if first <= record[0] < last]
        found.append(Fetched(as_sent(records), first, last))
    return found


@pytest.mark.parametrize("keys", [1, 4, 1000])
@pytest.mark.parametrize("cut", range(9))
def test_a_rebuild_goes_on_from_what_was_written(
    cut: int, keys: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables.home.feed, "_REBUILD_KEYS", keys)
    log = a_changelog(10)
    end = 40
    store = MemoryStore()

    def feed_it(fetched_at_most: int) -> Feed:
        feed = Feed(0, store, whole=False, log=Log("one", 0, end))
        if feed.phase is Phase.PEEKING:
            [newest] = fetches(log, feed.position, end)
            assert not feed.apply(newest)
        for fetched in fetches(log, feed.position, end)[:fetched_at_most]:
            assert feed.apply(fetched)
            if feed.is_due():
                feed.write()
        return feed

    async def twice() -> Feed:
        feed_it(cut)  # and then this process is killed, or the partition goes away
        return feed_it(1000)

    feed = asyncio.run(twice())

    assert feed.caught_up.done()
    rows = {key: value for key, value in row_pairs(store) if not key.startswith(b"\x00")}
    assert rows == {b"a": b"9"} | {b"row-%d" % n: b"1" for n in range(10)}
    assert (store.local.meta_offset, store.local.next_offset) == (38, 39)


async def test_a_rebuild_has_caught_up_only_when_it_is_written() -> None:
    store = MemoryStore()
    feed = Feed(0, store, whole=False, log=Log("one", 0, 40))
    log = a_changelog(10)
    feed.apply(fetches(log, feed.position, 40)[0])  # which incarnation it is

    feed.apply(fetches(log, 0, 40, size=40)[0])

    assert (feed.is_due(), feed.caught_up.done(), store.local) == (True, False, Local())
    feed.write()
    assert (feed.is_past_end(), feed.caught_up.done(), store.local.meta_offset) == (True, True, 38)


async def test_the_newest_meta_record_is_looked_for_with_the_quick_reader(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last batch may hold thousands of rows beside it: at 10 µs each they took a second."""
    monkeypatch.setattr(tables.home.feed, "slowly", None)
    feed = Feed(0, MemoryStore(), whole=False, log=Log("one", 0, 40))

    assert feed.phase is Phase.PEEKING
    feed.apply(fetches(a_changelog(10), 0, 40, size=40)[0])

    assert feed.phase is not Phase.PEEKING
