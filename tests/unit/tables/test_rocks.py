"""What only a store on disk does."""

import re
import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import rocksdict

from tables.home.memory import MemoryStores
from tables.home.store import (
    FORMAT,
    DataFolderInUse,
    Local,
    StoreDamaged,
    StoreFailed,
    StoreUnfit,
)
from tests.unit.tables.stores import HERE, rocks, rows

# ---- what only a store on disk does


def test_what_was_written_is_there_when_the_store_is_opened_again(tmp_path: Path) -> None:
    stores = rocks(tmp_path)
    first = stores.open(1)
    first.write({b"a\x001": b"1"}, [], HERE)
    first.close()

    again = stores.open(1)

    assert (rows(again), again.local) == ({b"a\x001": b"1"}, HERE)
    again.close()
    stores.close()


def test_stores_are_known_again_by_a_process_that_has_not_opened_them(tmp_path: Path) -> None:
    stores = rocks(tmp_path)
    for partition in (1, 11):
        stores.open(partition).close()
    stores.close()
    # One that was never finished, and what is none.
    (tmp_path / "inventory-2").mkdir()
    (tmp_path / "inventory-old").mkdir()
    (tmp_path / "inventory-old" / "CURRENT").touch()

    again = rocks(tmp_path)

    assert again.kept() == {1, 11}
    assert MemoryStores().kept() == set()
    again.close()


def test_partitions_have_stores_of_their_own(tmp_path: Path) -> None:
    stores = rocks(tmp_path)
    one, two = stores.open(1), stores.open(2)

    one.write({b"a\x001": b"1"}, [], HERE)

    assert (rows(two), two.local) == ({}, Local())
    for each in (one, two, stores):
        each.close()


@pytest.mark.parametrize("lost", [1, 40, 2000])
def test_a_write_that_a_crash_cut_short_is_there_in_whole_or_not_at_all(
    tmp_path: Path, lost: int
) -> None:
    before = {b"%03d\x00x" % n: b"before" for n in range(300)}
    after = {b"%03d\x00x" % n: b"after" for n in range(300)}
    stores = rocks(tmp_path / "data")
    store = stores.open(0)
    store.write(before, [], Local(next_offset=1))
    store.write(after, [b"000\x00y"], Local(next_offset=2))
    # As the disk is after a power cut: the end of RocksDB's log never made it.
    crashed = tmp_path / "crashed" / "inventory-0"
    crashed.mkdir(parents=True)
    for file in (tmp_path / "data" / "inventory-0").iterdir():
        with suppress(FileNotFoundError):  # RocksDB removes old options files by and by
            shutil.copy(file, crashed)
    store.close()
    stores.close()
    log = max(crashed.glob("*.log"))
    log.write_bytes(log.read_bytes()[:-lost])

    stores = rocks(tmp_path / "crashed")
    survivor = stores.open(0)

    assert (rows(survivor), survivor.local.next_offset) == (before, 1)
    survivor.close()
    stores.close()


def damage(path: Path) -> None:
    path.write_bytes(b"\xff" * path.stat().st_size)


def a_closed_store(folder: Path, local: Local = HERE) -> Path:
    stores = rocks(folder)
    store = stores.open(0)
    store.write({b"a\x001": b"1"}, [], local)
    store.close()
    stores.close()
    return folder / "inventory-0"


@pytest.mark.parametrize("names", ["MANIFEST-*", "CURRENT", "OPTIONS-*"])
def test_a_damaged_store_is_usable_and_never_half_read(tmp_path: Path, names: str) -> None:
    path = a_closed_store(tmp_path)
    for file in path.glob(names):
        damage(file)

    stores = rocks(tmp_path)
    if names == "OPTIONS-*":  # a copy of what we give at each opening
        store = stores.open(0)
        assert (rows(store), store.local) == ({b"a\x001": b"1"}, HERE)
    else:
        with pytest.raises(StoreDamaged, match="inventory-0 is damaged"):
            stores.open(0)
        stores.wipe(0)
        store = stores.open(0)
        assert (rows(store), store.local) == ({}, Local())
    store.write({b"b\x001": b"2"}, [], HERE)
    assert store.get(b"b\x001") == b"2"
    store.close()
    stores.close()


def test_a_store_that_is_set_aside_is_kept_under_another_name_and_counts_no_more(
    tmp_path: Path,
) -> None:
    a_closed_store(tmp_path)
    stores = rocks(tmp_path)

    names = []
    for _ in range(2):  # one does not replace another
        names.append(stores.set_aside(0))
        assert stores.kept() == set()
        stores.open(0).close()
    stores.wipe(0)
    stores.close()

    assert all(re.search(r"/inventory-0\.aside-\d{8}T\d{6}\.\d{6}Z$", name) for name in names)
    assert sorted(names) == sorted(map(str, tmp_path.glob("inventory-*")))
    aside = rocksdict.Rdict(names[0], rocksdict.Options(raw_mode=True))
    assert aside[b"a\x001"] == b"1"
    aside.close()


@pytest.mark.parametrize("format_", [FORMAT + 1, FORMAT - 1])
def test_a_store_of_another_release_is_restored_anew(tmp_path: Path, format_: int) -> None:
    a_closed_store(tmp_path, msgspec.structs.replace(HERE, format=format_))

    stores = rocks(tmp_path)

    with pytest.raises(StoreUnfit, match="was written by another release"):
        stores.open(0)

    stores.wipe(0)  # nothing of it is still held
    stores.open(0).close()
    stores.close()


def test_a_store_that_cannot_say_how_far_it_is_is_restored_anew(tmp_path: Path) -> None:
    path = a_closed_store(tmp_path)
    options = rocksdict.Options(raw_mode=True)
    database = rocksdict.Rdict(str(path), options)
    database[b"\x00local"] = b'{"next_offset":"seven"'
    database.close()

    stores = rocks(tmp_path)

    with pytest.raises(StoreDamaged, match="cannot say how far"):
        stores.open(0)

    stores.wipe(0)  # nothing of it is still held
    stores.open(0).close()
    stores.close()


def test_a_data_folder_serves_one_worker_and_the_second_is_told_what_to_do(tmp_path: Path) -> None:
    first = rocks(tmp_path)

    with pytest.raises(DataFolderInUse, match=r"in use by another worker: .* ONHAND_DATA_DIR\."):
        rocks(tmp_path)

    first.close()
    rocks(tmp_path).close()  # given back, it serves the next


def test_a_store_that_another_process_has_open_is_refused_and_not_wiped(tmp_path: Path) -> None:
    path = a_closed_store(tmp_path)
    other = rocksdict.Rdict(str(path), rocksdict.Options(raw_mode=True))
    stores = rocks(tmp_path)

    with pytest.raises(StoreFailed, match="open in another process"):
        stores.open(0)

    other.close()
    store = stores.open(0)
    assert rows(store) == {b"a\x001": b"1"}
    store.close()
    stores.close()


def test_a_folder_that_cannot_be_used_is_one_sentence_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(StoreFailed, match=r"cannot be used: .* Check the disk and the folder"):
        rocks(tmp_path / "file")
