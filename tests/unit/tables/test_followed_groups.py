"""Who stands by keeps the rows that the owner's groups changed, as the changelog tells them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.records import Record
from tables.changes.ring import ReadTo, Ring, Rings, RowGroup, drops_rows
from tables.home.changelog import Meta
from tables.home.feed import Feed
from tables.home.memory import MemoryStore
from tables.home.store import Local
from tables.keys import META_KEY
from tables.ports import Log
from tests.support.topics.fetching import as_sent
from wire.fetch import Fetched

KEYS = [f"SKU-{number}\x00store".encode() for number in range(4)]
GROUPS = st.lists(st.lists(st.sampled_from(KEYS), min_size=1, unique=True), min_size=1, max_size=8)


class Owner:
    """Writes a changelog, and keeps a ring of it."""

    def __init__(self) -> None:
        self.log: list[Record] = []
        self.rows: dict[bytes, bytes] = {}
        self.end, self.meta_offset = 0, -1
        self.rings = Rings()
        self.rings.asked()
        self.ring: Ring | None = None

    def commit(self, keys: Sequence[bytes], gone: Sequence[bytes] = ()) -> None:
        for key in gone:
            self.rows.pop(key, None)
            self.log.append((self.end, 0, key, None, ()))
            self.end += 1
        puts = {key: b"%d" % (self.end + n) for n, key in enumerate(keys)}
        self.rows |= puts
        behind, offset = self.meta_offset + 1, self.end + len(puts)
        meta = Meta(
            positions={"sales": self.end}, fingerprints={}, counts={}, window=10, rules=1,
            incarnation="one", previous=self.meta_offset,
        )  # fmt: skip
        puts[META_KEY] = msgspec.json.encode(meta)
        self.log += [
            (self.end + n, 0, key, value, ()) for n, (key, value) in enumerate(puts.items())
        ]
        self.meta_offset, self.end = offset, offset + 2  # behind it there is a marker
        group = RowGroup(puts, offset + 1, meta.positions, behind, drops_rows(gone))
        self.ring = self.rings.grown(self.ring, group)


class Standby:
    """Follows it from the beginning."""

    def __init__(self) -> None:
        self.rings = Rings()
        self.rings.asked()
        self.ring: Ring | None = None
        store = MemoryStore()
        self.feed = Feed(0, store, whole=True, log=Log("one", 0, 0))
        self.feed.on_group = self._followed

    def _followed(self, group: RowGroup) -> None:
        self.ring = self.rings.grown(self.ring, group)

    def follow(self, log: Sequence[Record], end: int, size: int) -> None:
        for first in range(self.feed.position, end, size):
            last = min(first + size, end)
            some = [record for record in log if first <= record[0] < last]
            assert self.feed.apply(Fetched(as_sent(some), first, last))


@given(GROUPS, st.integers(1, 9))
async def test_who_stands_by_tells_from_any_place_of_the_owner_what_the_owner_would(
    groups: list[list[bytes]], size: int
) -> None:
    owner, standby = Owner(), Standby()
    for keys in groups:
        owner.commit(keys)
    standby.follow(owner.log, owner.end, size)

    assert owner.ring is not None
    assert standby.ring is not None
    for place in range(owner.end):
        told = standby.ring.since(ReadTo(place), 99, lambda key: True)
        assert told == owner.ring.since(ReadTo(place), 99, lambda key: True)


@given(GROUPS, st.sets(st.integers(0, 30)), st.integers(1, 9))
async def test_behind_what_compaction_took_nothing_is_missed_but_by_a_reset(
    groups: list[list[bytes]], taken: set[int], size: int
) -> None:
    owner, standby = Owner(), Standby()
    for keys in groups:
        owner.commit(keys)
    newest = {record[2]: record[0] for record in owner.log}
    kept = [one for one in owner.log if one[0] == newest[one[2]] or one[0] not in taken]
    standby.follow(kept, owner.end, size)

    if standby.ring is None:
        return
    assert owner.ring is not None
    for place in range(owner.end):
        wanted = owner.ring.since(ReadTo(place), 99, lambda key: True)
        told = standby.ring.since(ReadTo(place), 99, lambda key: True)
        assert told.is_reset or told.place != owner.ring.place or told.rows[-1:] == wanted.rows[-1:]
        if not told.is_reset and told.place == owner.ring.place:
            assert dict(wanted.rows).items() <= dict(told.rows).items()


async def test_who_has_a_row_that_a_repair_took_away_is_told_to_read_again() -> None:
    owner, standby = Owner(), Standby()
    owner.commit(KEYS[:3])
    place = owner.meta_offset + 1
    owner.commit([KEYS[3]], gone=[b"\x00w-old"])  # of a window: no row
    standby.follow(owner.log, owner.end, 99)
    for ring in (owner.ring, standby.ring):
        assert ring is not None
        assert [key for key, _ in ring.since(ReadTo(place), 99, bool).rows] == [KEYS[3]]

    owner.commit([KEYS[1]], gone=[KEYS[0]])
    standby.follow(owner.log, owner.end, 99)
    owner.commit([KEYS[2]])
    standby.follow(owner.log, owner.end, 99)

    for ring in (owner.ring, standby.ring):
        assert ring is not None
        told = ring.since(ReadTo(place), 99, bool)
        assert (told.is_reset, told.rows) == (True, [])
        assert [key for key, _ in ring.since(ReadTo(owner.end - 3), 99, bool).rows] == [KEYS[2]]


async def test_the_record_that_a_feed_begins_with_again_is_no_group_of_its_own() -> None:
    owner, standby = Owner(), Standby()
    owner.commit(KEYS[:2])
    standby.follow(owner.log, owner.end, 99)
    owner.commit(KEYS[2:])

    store = MemoryStore()
    store.write(dict(standby.feed.store.scan(b"", None, 99)), (), standby.feed.store.local)
    assert store.local == Local(3, 2, "one")
    standby.feed = Feed(0, store, whole=True, log=Log("one", 0, owner.end))
    standby.feed.on_group = standby._followed
    standby.follow(owner.log, owner.end, 99)

    assert standby.ring is not None
    told = standby.ring.since(ReadTo(0), 99, lambda key: True)
    assert dict(told.rows) == owner.rows
