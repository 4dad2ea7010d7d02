"""One suite for every store: what `tables/home/follower.py` and the fold rely on."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.home.store import (
    Local,
    NoStore,
    Store,
    StoreDamaged,
    Stores,
    row_pairs,
)
from tables.keys import FIRST_ROW
from tests.unit.tables.stores import HERE, memory, rocks, rows

KINDS = [pytest.param(rocks, id="rocksdb"), pytest.param(memory, id="memory")]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    stores: Stores = request.param(tmp_path)
    opened = stores.open(3)
    yield opened
    opened.close()
    stores.close()


# ---- what every store does


def test_a_new_store_holds_nothing_and_starts_at_the_changelogs_first_offset(store: Store) -> None:
    assert rows(store) == {}
    assert store.get(b"sku\x00here") is None
    assert store.local == Local(next_offset=0, meta_offset=-1, incarnation="")


def test_one_write_puts_deletes_and_says_how_far(store: Store) -> None:
    store.write({b"a\x001": b"1", b"b\x001": b"2"}, [], Local(next_offset=3))

    store.write({b"b\x001": b"3", b"c\x001": b"4"}, [b"a\x001", b"never\x00seen"], HERE)

    assert rows(store) == {b"b\x001": b"3", b"c\x001": b"4"}
    assert store.local == HERE


def test_one_load_puts_deletes_and_says_how_far_and_is_followed_by_writes(store: Store) -> None:
    store.write({b"a\x001": b"1", b"b\x001": b"2"}, [], Local(next_offset=3))

    store.load({b"b\x001": b"3", b"c\x001": b"4"}, [b"a\x001"], Local(next_offset=5))

    assert rows(store) == {b"b\x001": b"3", b"c\x001": b"4"}
    assert store.local == Local(next_offset=5)
    store.write({b"c\x001": b"5"}, [b"b\x001"], HERE)
    assert (rows(store), store.local) == ({b"c\x001": b"5"}, HERE)


def test_a_key_that_one_write_deletes_and_puts_is_there(store: Store) -> None:
    # A follower that buffers several transactions hands over both.
    store.write({b"a\x001": b"old"}, [], HERE)

    store.write({b"a\x001": b"new"}, [b"a\x001"], HERE)

    assert store.get(b"a\x001") == b"new"


def test_many_keys_come_back_in_the_order_asked_for_with_none_for_the_unknown(store: Store) -> None:
    store.write({b"a\x001": b"1", b"b\x001": b""}, [], HERE)

    asked = [b"zz\x001", b"b\x001", b"a\x001", b"b\x001"]

    assert store.get_many(asked) == [None, b"", b"1", b""]
    assert store.get_many([]) == []


def test_a_scan_is_in_the_order_of_bytes_from_start_up_to_before_stop(store: Store) -> None:
    keys = [b"A\x00x", b"A\x00y", b"A\x01", b"AB\x00x", b"\xc3\x84\x00x", b"\xff\x00x"]
    store.write({key: key[:1] for key in reversed(keys)}, [], HERE)

    assert [key for key, _ in store.scan(FIRST_ROW, None, 100)] == keys
    assert [key for key, _ in store.scan(b"A\x00", b"A\x01", 100)] == keys[:2]
    assert [key for key, _ in store.scan(b"A\x00x\x00", b"AB", 100)] == keys[1:3]
    assert store.scan(b"A\x00x", None, 1) == [(b"A\x00x", b"A")]
    assert store.scan(b"B", b"A", 100) == []


def test_a_scan_of_rows_shows_nothing_internal(store: Store) -> None:
    store.write({b"\x00meta": b"m", b"\x00w1": b"s", b"a\x001": b"1"}, [], HERE)

    assert store.scan(FIRST_ROW, None, 10) == [(b"a\x001", b"1")]
    assert store.scan(b"\x00w", b"\x00x", 10) == [(b"\x00w1", b"s")]


def test_all_rows_come_page_by_page_each_once(store: Store) -> None:
    wanted = {b"%04d\x00x" % n: b"%d" % n for n in range(2500)}
    store.write(wanted, [], HERE)

    assert list(row_pairs(store)) == sorted(wanted.items())


def test_a_store_that_is_closed_twice_is_closed(store: Store) -> None:
    store.close()
    store.close()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wiped_store_is_as_new_and_can_be_written(
    kind: Callable[[Path], Stores], tmp_path: Path
) -> None:
    stores = kind(tmp_path)
    stores.wipe(3)  # where there is none
    store = stores.open(3)
    store.write({b"a\x001": b"1", b"\x00meta": b"m"}, [], HERE)
    store.close()

    stores.wipe(3)

    assert stores.kept() == set()
    store = stores.open(3)
    assert (rows(store), store.get(b"\x00meta"), store.local) == ({}, None, Local())
    store.write({b"b\x001": b"2"}, [], HERE)
    assert (rows(store), store.local) == ({b"b\x001": b"2"}, HERE)
    store.close()
    stores.close()


def test_nobody_takes_a_store_that_was_given_up_for_an_empty_one() -> None:
    why = StoreDamaged("/data is damaged")
    store = NoStore(why, None)

    uses: list[Callable[[], object]] = [
        lambda: store.get(b"a\x001"),
        lambda: store.get_many([b"a\x001"]),
        lambda: store.scan(FIRST_ROW, None, 1),
        lambda: store.write({}, [], HERE),
        lambda: store.load({}, [], HERE),
    ]
    for use in uses:
        with pytest.raises(StoreDamaged) as told:
            use()
        assert told.value is why
    store.close()


# Few keys that share prefixes, among them neighbours by one byte.
KEYS = [b"\x00w", b"\x00w1", b"a\x00", b"a\x00a", b"a\x01", b"ab\x00", b"b\x00\xff"]
_key = st.sampled_from(KEYS)
_puts = st.dictionaries(_key, st.binary(max_size=3), max_size=4)


class Write(NamedTuple):
    puts: dict[bytes, bytes]
    deletes: list[bytes]


class Scan(NamedTuple):
    start: bytes
    stop: bytes | None
    limit: int


Step: TypeAlias = Write | Scan | Literal["reopen"]
_write = st.builds(Write, _puts, st.lists(_key, max_size=3))
_scan = st.builds(Scan, _key, st.none() | _key, st.integers(1, 5))
_rare: st.SearchStrategy[Step] = st.just("reopen")
_steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(*[_write, _scan] * 4, _rare), max_size=12
)


@pytest.fixture(scope="module", params=KINDS)
def kept(request: pytest.FixtureRequest) -> Iterator[Callable[[], Store]]:
    """One store for all examples, since to open one on disk takes 20 ms; a call opens it again."""
    with tempfile.TemporaryDirectory() as folder:
        stores: Stores = request.param(Path(folder))
        held = [stores.open(0)]

        def reopen() -> Store:
            if request.param is rocks:
                held[0].close()
                held[0] = stores.open(0)
            return held[0]

        yield reopen
        held[0].close()
        stores.close()


@settings(max_examples=25, deadline=None)
@given(steps=_steps)
def test_a_store_is_a_sorted_map_however_it_is_used(
    kept: Callable[[], Store], steps: list[Step]
) -> None:
    store = kept()
    store.write({}, KEYS, Local())
    model: dict[bytes, bytes] = {}
    for number, step in enumerate(steps):
        match step:
            case "reopen":
                store = kept()
            case Write(puts, deletes):
                store.write(puts, deletes, Local(next_offset=number))
                model = {k: v for k, v in model.items() if k not in deletes} | puts
                assert store.local.next_offset == number
            case Scan(start, stop, limit):
                inside = [k for k in sorted(model) if start <= k and (stop is None or k < stop)]
                assert store.scan(start, stop, limit) == [(k, model[k]) for k in inside[:limit]]
    assert store.scan(KEYS[0], None, 100) == sorted(model.items())
    assert store.get_many(list(model)) == list(model.values())
