"""What a ring tells is all that changed, or that something is missing; never less, never older."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.changes.ring import ReadTo, Ring, RingLimits, Rings, RowGroup, RowsSince
from tables.home.memory import MemoryStore
from tables.keys import META_KEY

KEYS = [f"SKU-{number}\x00store".encode() for number in range(6)]
EVERYTHING = 1_000


def anything(key: bytes) -> bool:
    return True


class Owner:
    """Rows of one partition, their ring, and that of who stands by, if somebody does."""

    def __init__(self, **limits: int) -> None:
        self.rings = Rings(RingLimits(**limits))
        self.rings.asked()
        self.standby: Ring | None = None
        self.rows: dict[bytes, bytes] = {}
        self.place, self.sales = 0, 0
        self.ring: Ring = self.rings.ring(0, {})
        self._changes = 0

    def commit(self, *keys: bytes, sales: int = 1) -> None:
        """A group: each row has an offset, then the meta record, then the marker of the end."""
        puts = {}
        for key in keys:
            self._changes += 1
            puts[key] = b"%d" % self._changes
        self.rows |= puts
        self.sales += sales
        behind, marker = self.place, 1 if self.place else 0
        self.place += marker + len(puts) + 1
        group = RowGroup({**puts, META_KEY: b"{}"}, self.place, {"sales": self.sales}, behind)
        assert self.rings.grown(self.ring, group) is self.ring
        if self.standby is not None:
            assert self.rings.grown(self.standby, group) is self.standby

    def another(self) -> None:
        """The partition has a new owner, who knows what he has followed."""
        self.ring.close()
        self.ring = self.standby or self.rings.ring(self.place, {"sales": self.sales})
        self.standby = None

    def stands_by(self) -> None:
        """Somebody begins to follow."""
        if self.standby is None:
            self.standby = self.rings.ring(self.place)


class Reader:
    """Follows it, and lists where it is told to."""

    def __init__(self) -> None:
        self.rows: dict[bytes, bytes] = {}
        self.place: int | None = None
        self.sales = -1
        self.resets = 0

    def read(self, owner: Owner, limit: int) -> None:
        after = ReadTo(self.place, {"sales": self.sales} if self.place is None else {})
        since = owner.ring.since(after, limit, anything)
        if since.is_reset:
            self.resets += 1
            self.rows = {**owner.rows}
        assert len(since.rows) <= limit
        for key, value in since.rows:
            assert int(value) >= int(self.rows.get(key, b"0")), "it went back"
            self.rows[key] = value
        assert since.place >= (self.place or 0)
        self.place = since.place
        if since.is_all:
            assert self.rows == owner.rows


class Step(NamedTuple):
    """keys: that a group changes; None: another owner. limit: of the read behind it, if any.

    stands_by: somebody does from then on.
    """

    keys: list[bytes] | None
    limit: int | None
    stands_by: bool


STEPS = st.builds(
    Step,
    st.none() | st.lists(st.sampled_from(KEYS), max_size=5, unique=True),
    st.none() | st.integers(1, 4),
    st.booleans(),
)


@given(st.lists(STEPS, max_size=40), st.integers(1, 8))
def test_who_reads_now_and_then_has_all_rows_whatever_happened_meanwhile(
    steps: list[Step], most: int
) -> None:
    owner, reader = Owner(rows=most), Reader()
    for step in steps:
        if step.keys is None:
            owner.another()
        else:
            owner.commit(*step.keys)
        if step.stands_by:
            owner.stands_by()
        if step.limit is not None:
            reader.read(owner, step.limit)
    reader.read(owner, EVERYTHING)

    assert reader.rows == owner.rows


def test_a_reader_who_keeps_up_is_never_told_to_read_all_again() -> None:
    owner, reader = Owner(rows=4), Reader()
    for number in range(20):
        owner.commit(KEYS[number % 6], KEYS[(number + 1) % 6])
        reader.read(owner, EVERYTHING)

    assert reader.resets == 0


def test_a_reader_of_an_owner_that_is_killed_goes_on_at_who_stood_by() -> None:
    """Also in the middle of a group, and behind groups that nobody had told him."""
    owner, reader = Owner(), Reader()
    owner.stands_by()
    owner.commit(*KEYS)
    reader.read(owner, 4)
    owner.commit(KEYS[1], KEYS[5])

    owner.another()
    owner.commit(KEYS[0])
    reader.read(owner, 4)

    assert (reader.rows, reader.resets) == (owner.rows, 0)


def test_a_ring_that_has_missed_a_group_tells_nobody_who_may_need_it() -> None:
    rings = Rings()
    ring = rings.ring(3)
    ring.grow(RowGroup({KEYS[0]: b"2"}, 9, {"sales": 3}, 6))  # another one ended at 6

    assert ring.since(ReadTo(3), EVERYTHING, anything).is_reset
    assert ring.since(ReadTo(9), EVERYTHING, anything) == RowsSince([], 9, False, True)


def test_nothing_is_kept_before_somebody_asks_and_then_the_next_group() -> None:
    rings = Rings()
    assert rings.grown(None, RowGroup({KEYS[0]: b"1"}, 2, {"sales": 1}, 0)) is None

    rings.asked()
    ring = rings.grown(None, RowGroup({KEYS[1]: b"2"}, 5, {"sales": 2}, 2))

    assert ring is not None
    assert ring.since(ReadTo(2), EVERYTHING, anything).rows == [(KEYS[1], b"2")]
    assert ring.since(ReadTo(0), EVERYTHING, anything).is_reset


def test_many_changes_of_a_row_are_told_as_the_last_one() -> None:
    owner = Owner()
    for _ in range(5):
        owner.commit(KEYS[0])
    owner.commit(KEYS[1])

    since = owner.ring.since(ReadTo(0), EVERYTHING, anything)

    assert since.rows == [(KEYS[0], b"5"), (KEYS[1], b"6")]


def test_a_page_ends_within_a_group_and_the_next_one_goes_on_there() -> None:
    owner = Owner()
    owner.commit(*KEYS)

    first = owner.ring.since(ReadTo(0), 4, anything)
    second = owner.ring.since(ReadTo(first.place), 4, anything)

    assert [*first.rows, *second.rows] == [*owner.rows.items()]
    assert (first.is_all, second.is_all) == (False, True)


def test_a_reader_comes_with_the_position_of_a_list_or_of_facts() -> None:
    owner = Owner()
    for key in KEYS:
        owner.commit(key)

    # Three sales: the offsets 0 to 2.
    since = owner.ring.since(ReadTo(None, {"sales": 2}), EVERYTHING, anything)

    assert [key for key, _ in since.rows] == KEYS[3:]


def test_a_row_that_was_set_right_at_an_old_position_is_told_to_who_comes_with_that() -> None:
    owner = Owner()
    owner.commit(KEYS[0])
    owner.commit(KEYS[1], sales=0)

    since = owner.ring.since(ReadTo(None, {"sales": 0}), EVERYTHING, anything)

    assert [key for key, _ in since.rows] == [KEYS[1]]


@pytest.mark.parametrize("place", [3, 10_000])
def test_a_place_that_is_none_of_this_owners_is_a_reset_to_where_the_rows_are(place: int) -> None:
    owner = Owner()
    owner.commit(*KEYS)
    owner.another()
    owner.commit(KEYS[0])

    since = owner.ring.since(ReadTo(place), EVERYTHING, anything)

    assert (since.is_reset, since.rows, since.place) == (True, [], owner.place)


def test_bytes_are_bounded_for_all_partitions_together() -> None:
    limits = RingLimits(bytes=100)
    rings = Rings(limits)
    one, other = rings.ring(0, {}), rings.ring(0, {})
    one.grow(RowGroup({b"a": b"x" * 40}, 2, {"sales": 1}, 0))
    assert not one.since(ReadTo(0), EVERYTHING, anything).is_reset

    one.grow(RowGroup({b"b": b"x" * 40}, 5, {"sales": 2}, 2))  # its share is 50
    assert one.since(ReadTo(0), EVERYTHING, anything).is_reset

    other.close()
    one.grow(RowGroup({b"c": b"x" * 40}, 8, {"sales": 3}, 5))  # and now 100
    kept = one.since(ReadTo(2), EVERYTHING, anything)
    assert [key for key, _ in kept.rows] == [b"b", b"c"]


def test_a_ring_that_nobody_asks_is_gone_and_those_who_wait_are_told() -> None:
    rings = Rings(RingLimits(kept_s=-1.0))
    rings.asked()
    ring, news = rings.ring(0, {}), rings.news

    assert rings.grown(ring, RowGroup({b"a": b"x"}, 2, {"sales": 1}, 0)) is None
    assert rings.open == 0
    assert news.is_set()


def test_a_store_that_is_new_begins_at_the_place_of_nothing() -> None:
    assert MemoryStore().local.meta_offset + 1 == 0
