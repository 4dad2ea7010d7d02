"""A store as it was at one moment, in RocksDB and in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from tables.home.store import Local, NoStore, Store, StoreDamaged, StoreFailed
from tables.keys import META_KEY

NOW = Local(next_offset=10, meta_offset=9, incarnation="a")
ROWS = {f"row-{n:03}".encode(): b"1" for n in range(50)}


@pytest.fixture(params=["rocksdb", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    stores = RocksStores(tmp_path, "t") if request.param == "rocksdb" else MemoryStores()
    opened = stores.open(0)
    yield opened
    opened.close()
    stores.close()


def test_rows_and_meta_are_of_one_moment_whatever_is_written_since(store: Store) -> None:
    store.write({META_KEY: b"then", b"\x00w1": b"segment", **ROWS}, [], NOW)

    snapshot = store.snapshot()
    first = snapshot.rows(20)
    store.write({META_KEY: b"later", b"row-040": b"2", b"row-0405": b"new"}, [b"row-030"], NOW)
    rest = snapshot.rows(20) + snapshot.rows(20)

    assert snapshot.meta == b"then"
    assert dict(first + rest) == ROWS
    assert [key for key, _ in first + rest] == sorted(ROWS)
    assert snapshot.rows(20) == []
    snapshot.close()
    snapshot.close()
    later = store.snapshot()
    assert later.meta == b"later"
    changed = {**ROWS, b"row-040": b"2", b"row-0405": b"new"}
    del changed[b"row-030"]
    assert dict(later.rows(99)) == changed
    later.close()


def test_a_new_store_has_neither(store: Store) -> None:
    snapshot = store.snapshot()

    assert (snapshot.meta, snapshot.rows(10)) == (None, [])
    snapshot.close()


def test_a_closed_store_lets_go_of_its_disk_and_its_snapshots_say_so(tmp_path: Path) -> None:
    stores = RocksStores(tmp_path, "t")
    store = stores.open(0)
    store.write({META_KEY: b"then", **ROWS}, [], NOW)
    snapshot = store.snapshot()
    snapshot.rows(1)

    store.close()

    with pytest.raises(StoreFailed, match="was closed while it was read: read it again"):
        snapshot.rows(1)
    stores.open(0).close()  # its LOCK is free
    stores.close()


def test_a_store_that_was_given_up_has_none() -> None:
    with pytest.raises(StoreDamaged, match="broken"):
        NoStore(StoreDamaged("broken"), None).snapshot()
