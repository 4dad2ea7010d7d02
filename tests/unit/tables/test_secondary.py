"""An index gives what a scan of all rows gives, or says that it cannot."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, TypeAlias
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tables.home.store import Local, NoStore, Store, StoreDamaged, Stores
from tables.keys import META_KEY
from tables.secondary import indexes, postings
from tables.secondary.indexes import Index, Indexes
from tables.secondary.postings import Postings
from tables.tasks import Tasks
from tests.unit.tables.stores import memory, rocks, rows

KINDS = [pytest.param(rocks, id="rocksdb"), pytest.param(memory, id="memory")]
GROUPS = [b"", b"here", b"there", "über".encode()]
NAMES = [b"a", b"a!", b"ab", "é".encode(), b"b", *(b"n%02d" % n for n in range(20))]
KEYS = [b"%b\x00%b" % (name, group) for name in NAMES for group in GROUPS]


def parts(key: bytes) -> tuple[bytes, bytes]:
    name, _, group = key.partition(b"\x00")
    return group, name


async def ended(tasks: Tasks) -> None:
    """All that was to be indexed is, or was given up."""
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)


async def failed(sentence: str, error: BaseException | None) -> None:
    raise AssertionError(sentence) from error


# ---- names by group

named = st.lists(st.tuples(st.sampled_from(GROUPS), st.sampled_from(NAMES)), max_size=200)


@given(
    added=named,
    more=st.dictionaries(st.sampled_from(GROUPS), st.lists(st.sampled_from(NAMES), min_size=1)),
    start=st.sampled_from([b"", b"a\x00", *NAMES]),
    limit=st.integers(0, 9),
)
@patch.object(postings, "BLOCK_BYTES", 12)
def test_names_of_a_group_come_once_and_in_order_however_they_were_added(
    added: list[tuple[bytes, bytes]], more: dict[bytes, list[bytes]], start: bytes, limit: int
) -> None:
    held = Postings()
    for each in added:
        held.add(*each)
    for group, names in more.items():
        held.add_all(group, sorted(names))

    for group in GROUPS:
        wanted = sorted({name for at, name in added if at == group} | {*more.get(group, ())})
        assert held.names(group, b"", 1000) == wanted
        assert held.names(group, start, limit) == [n for n in wanted if n >= start][:limit]


def test_memory_is_counted_by_what_is_held_and_not_by_what_comes_again() -> None:
    held = Postings()
    for _ in range(2):
        for number in range(10_000):
            held.add(b"here", b"SKU-%06d" % number)

    assert 110_000 < held.held_bytes < 130_000


# ---- an index of a store


class Write(NamedTuple):
    """How: as an owner who knows what is new, as a follower, or as a restore."""

    keys: list[bytes]
    gone: list[bytes]
    how: Literal["owner", "follower", "restore"]


class Ask(NamedTuple):
    group: bytes
    start: bytes
    limit: int


Step: TypeAlias = Write | Ask | Literal["reopen", "go on"]

keys = st.lists(st.sampled_from(KEYS), max_size=12, unique=True)
hows: st.SearchStrategy[Literal["owner", "follower", "restore"]] = st.sampled_from(
    ("owner", "owner", "follower", "follower", "restore")
)
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.builds(Write, keys, st.lists(st.sampled_from(KEYS), max_size=3), hows),
        st.builds(Ask, st.sampled_from(GROUPS), st.sampled_from([b"", *NAMES]), st.integers(1, 30)),
        st.sampled_from(("reopen", "go on", "go on", "go on")),
    ),
    max_size=40,
)


class Kept:
    """A new store that can be closed and opened again."""

    def __init__(self, stores: Stores, number: int) -> None:
        self._stores, self._number = stores, number
        self.store = stores.open(number)

    def reopen(self) -> None:
        self.store.close()
        self.store = self._stores.open(self._number)


@pytest.fixture(params=KINDS, scope="module")
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Kept]]:
    """Makes one, empty."""
    stores: Stores = request.param(tmp_path_factory.mktemp("stores"))
    made: list[Kept] = []

    def make() -> Kept:
        made.append(Kept(stores, len(made)))
        return made[-1]

    yield make
    for one in made:
        one.store.close()
    stores.close()


def written(store: Store, model: set[bytes], step: Write, number: int) -> None:
    puts = {key: b"%d" % number for key in step.keys} | {META_KEY: b"{}"}
    gone = [key for key in step.gone if key not in puts]
    local = Local(next_offset=number)
    if step.how == "owner":
        store.write(puts, gone, local, [key for key in step.keys if key not in model])
    else:
        (store.load if step.how == "restore" else store.write)(puts, gone, local)
    model.difference_update(gone)
    model.update(step.keys)


@contextmanager
def small() -> Iterator[None]:
    """Two rows at once, three keys that wait, and blocks of two names."""
    with (
        patch.multiple(indexes, PIECE_ROWS=2, MAX_PENDING=3),
        patch.object(postings, "BLOCK_BYTES", 12),
    ):
        yield


@settings(max_examples=40, deadline=None)
@given(steps=steps)
async def test_an_index_names_every_row_of_a_group_that_a_scan_finds_whatever_came_between(
    kept: Callable[[], Kept], steps: list[Step]
) -> None:
    one, model, tasks = kept(), set[bytes](), Tasks(failed)
    asked = Indexes(parts, tasks)
    with small():
        for number, step in enumerate(steps, 1):
            match step:
                case "reopen":
                    one.reopen()
                    model &= rows(one.store).keys()  # of a store in memory nothing is left
                case "go on":
                    await asyncio.sleep(0)
                case Write():
                    written(one.store, model, step, number)
                case Ask(group, start, limit):
                    names = asked.names(one.store, group, start, limit)
                    if names is not None:
                        _is_right(names, model, step)
        whole = await settled(asked, one.store)
        for group in GROUPS:
            _is_right(whole(group), model, Ask(group, b"", 1000))
    await tasks.cancel()
    one.store.close()


def _is_right(names: list[bytes], model: set[bytes], asked: Ask) -> None:
    """In order, no more than was asked for, and none left out that is there."""
    assert names == sorted(set(names))
    assert len(names) <= asked.limit
    wanted = sorted(n for group, n in map(parts, model) if group == asked.group)
    behind = [name for name in wanted if name >= asked.start]
    if len(names) == asked.limit:
        behind = [name for name in behind if name <= names[-1]]
    assert set(behind) <= set(names)
    assert all(name >= asked.start for name in names)


async def settled(asked: Indexes, store: Store) -> Callable[[bytes], list[bytes]]:
    """Wait until the store's index is whole."""
    asked.names(store, b"", b"", 1)
    await ended(asked._tasks)

    def of(group: bytes) -> list[bytes]:
        names = asked.names(store, group, b"", 1000)
        assert names is not None
        return names

    return of


async def test_while_an_index_is_made_it_says_nothing_and_what_is_written_behind_it_counts(
    kept: Callable[[], Kept],
) -> None:
    store, model, tasks = kept().store, set[bytes](), Tasks(failed)
    asked = Indexes(parts, tasks)
    written(store, model, Write(KEYS[10:], [], "owner"), 1)
    with small():
        assert asked.names(store, b"here", b"", 9) is None
        index = store.watch
        assert isinstance(index, Index)
        async with asyncio.timeout(60):
            while index.read_to <= KEYS[20]:  # noqa: ASYNC110  # each turn reads two rows
                await asyncio.sleep(0)
        assert not index.whole
        written(store, model, Write(KEYS[:10], [], "owner"), 2)

        of = await settled(asked, store)

    assert all(of(group) == sorted(NAMES) for group in GROUPS)
    await tasks.cancel()


async def test_an_index_that_nobody_asks_for_costs_nothing_for_long(
    kept: Callable[[], Kept],
) -> None:
    store, model, tasks = kept().store, set[bytes](), Tasks(failed)
    asked = Indexes(parts, tasks)
    written(store, model, Write(KEYS[:20], [], "owner"), 1)
    await settled(asked, store)
    index = store.watch
    assert isinstance(index, Index)
    index.asked_at -= indexes.KEPT_S + 1
    with small():
        written(store, model, Write(KEYS[20:], [], "follower"), 2)
    assert index.over
    assert index.held_bytes == 0

    assert asked.names(store, b"here", b"", 9) is None
    of = await settled(asked, store)
    assert of(b"here") == sorted(NAMES)
    await tasks.cancel()


async def test_what_does_not_fit_into_memory_is_not_indexed(
    kept: Callable[[], Kept], caplog: pytest.LogCaptureFixture
) -> None:
    first, second, tasks = kept().store, kept().store, Tasks(failed)
    asked = Indexes(parts, tasks, max_bytes=2500)
    for store in (first, second):
        written(store, set(), Write(KEYS, [], "owner"), 1)
        asked.names(store, b"here", b"", 9)
    await ended(tasks)

    assert asked.names(first, b"here", b"", 99) == sorted(NAMES)
    assert asked.names(second, b"here", b"", 99) is None
    assert not list(tasks)  # and it is not tried again at each question
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("how", ["owner", "follower"])
async def test_an_index_that_grows_by_what_is_written_keeps_its_bound_though_nobody_asks(
    kept: Callable[[], Kept], how: Literal["owner", "follower"]
) -> None:
    store, model, tasks = kept().store, set[bytes](), Tasks(failed)
    asked = Indexes(parts, tasks, max_bytes=20_000)
    written(store, model, Write(KEYS, [], "owner"), 1)
    await settled(asked, store)
    index = store.watch
    assert isinstance(index, Index)
    with small():
        for number in range(2, 200):
            more = [b"more%05d%02d\x00here" % (number, each) for each in range(10)]
            written(store, model, Write(more, [], how), number)
            assert index.held_bytes <= 20_000

    assert index.over
    assert asked.names(store, b"here", b"", 9) is None
    await tasks.cancel()


async def test_what_grows_while_it_is_asked_is_never_taken_for_a_short_list(
    kept: Callable[[], Kept],
) -> None:
    store, model, tasks = kept().store, set[bytes](), Tasks(failed)
    asked = Indexes(parts, tasks, max_bytes=20_000)
    written(store, model, Write(KEYS, [], "owner"), 1)
    await settled(asked, store)
    more = [b"m%04d\x00here" % number for number in range(4000)]  # they wait to be sorted in
    written(store, model, Write(more, [], "owner"), 2)

    assert asked.names(store, b"here", b"", 9) is None
    await tasks.cancel()


async def test_an_index_that_nobody_asks_for_makes_room_for_one_that_somebody_does(
    kept: Callable[[], Kept],
) -> None:
    first, second, tasks = kept().store, kept().store, Tasks(failed)
    asked = Indexes(parts, tasks, max_bytes=2500)
    for store in (first, second):
        written(store, set(), Write(KEYS, [], "owner"), 1)
    await settled(asked, first)
    index = first.watch
    assert isinstance(index, Index)
    index.asked_at -= indexes.KEPT_S + 1

    of = await settled(asked, second)

    assert of(b"here") == sorted(NAMES)
    assert index.over


async def test_a_store_that_is_lost_or_closed_ends_its_index_and_nothing_else(
    kept: Callable[[], Kept],
) -> None:
    one, tasks = kept(), Tasks(failed)
    asked = Indexes(parts, tasks)
    written(one.store, set(), Write(KEYS, [], "owner"), 1)
    asked.names(NoStore(StoreDamaged("lost"), None), b"here", b"", 9)
    asked.names(one.store, b"here", b"", 9)
    one.store.close()

    await ended(tasks)

    assert one.store.watch is None
