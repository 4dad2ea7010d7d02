"""What a disk does to a store: it damages it, it refuses, it comes back; and what is believed."""

import errno
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import rocksdict

from dev.workers import ROOT
from tables.home.disk.sayings import said
from tables.home.rocks import _FILED_EVERY, _MARKS_KEPT, RocksStores
from tables.home.store import Local, StoreDamaged, StoreFailed
from tests.support.breaking.damage import Life, files_of, lived_on, rows_of, settled


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    return Life(tmp_path_factory.mktemp("life"), random.Random(7))


@pytest.fixture
def crashed(life: Life, tmp_path: Path) -> Path:
    shutil.copytree(life.crashed, tmp_path / "crashed")
    return tmp_path / "crashed"


# ---- damage


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_store_gives_what_it_once_held_or_says_that_it_is_damaged(
    life: Life, tmp_path: Path, seed: int
) -> None:
    lived_on(life, tmp_path / "d", seed)


def a_block(store: Path) -> tuple[Path, int]:
    """A file of rows, and a place in its middle."""
    file = max(store.glob("*.sst"), key=lambda each: each.stat().st_size)
    return file, file.stat().st_size // 2


def test_a_scan_over_a_block_that_cannot_be_read_is_not_a_short_one(crashed: Path) -> None:
    stores = RocksStores(crashed, "inventory")
    store = stores.open(0)
    whole = rows_of(store)
    store.close()
    file, middle = a_block(crashed / "inventory-0")
    with file.open("r+b") as there:
        there.seek(middle)
        there.write(bytes(64))
    stores.close()

    stores = RocksStores(crashed, "inventory")  # without what the cache has
    store = stores.open(0)
    with pytest.raises(StoreDamaged, match="checksum mismatch") as kept:
        rows_of(store)
    with pytest.raises(StoreDamaged, match="checksum mismatch"):
        store.get_many(list(whole))
    with pytest.raises(StoreDamaged, match="checksum mismatch"):
        [store.get(key) for key in whole]
    store.close()
    stores.wipe(0)
    stores.open(0).close()  # whatever still holds the error
    del kept
    stores.close()


def test_a_list_of_files_that_lost_its_end_does_not_make_a_store_with_a_hole(
    tmp_path: Path,
) -> None:
    """RocksDB opens it, without the rows of a file that it no longer knows, with all later ones."""
    stores = RocksStores(tmp_path / "lived", "inventory")
    store = stores.open(0)
    store.load({b"early\x00x": b"1"}, [], Local(1, 0))
    store.write({b"late\x00x": b"1"}, [], Local(2, 1))
    shutil.copytree(tmp_path / "lived", tmp_path / "crashed")
    store.close()
    stores.close()
    path = tmp_path / "crashed" / "inventory-0"
    files = max(path.glob("MANIFEST-*"))
    files.write_bytes(files.read_bytes()[:-20])
    shutil.copytree(path, tmp_path / "again")
    database = rocksdict.Rdict(str(tmp_path / "again"), rocksdict.Options(raw_mode=True))
    assert (database.get(b"early\x00x"), database.get(b"late\x00x")) == (None, b"1")
    database.close()

    stores = RocksStores(tmp_path / "crashed", "inventory")
    with pytest.raises(StoreDamaged, match="writes before the 2th are missing"):
        stores.open(0)
    stores.close()


def test_the_marks_of_writes_reach_back_beyond_what_is_in_the_log_alone(tmp_path: Path) -> None:
    stores = RocksStores(tmp_path, "inventory")
    store = stores.open(0)
    path = tmp_path / "inventory-0"
    for n in range(_FILED_EVERY - 1):
        store.write({b"a\x00x": b"%d" % n}, [], Local(n))
    assert not list(path.glob("*.sst"))
    for n in range(_FILED_EVERY - 1, 2 * _MARKS_KEPT):
        store.write({b"a\x00x": b"%d" % n}, [], Local(n))
    settled(store)
    assert list(path.glob("*.sst"))

    marks = store.scan(b"\x00n", b"\x00o", 3 * _MARKS_KEPT)

    assert len(marks) == _MARKS_KEPT
    store.close()
    store = stores.open(0)
    assert rows_of(store) == {b"a\x00x": b"%d" % (2 * _MARKS_KEPT - 1)}
    store.close()
    stores.close()


def test_a_write_that_is_told_of_a_lost_file_is_told_of_damage(tmp_path: Path) -> None:
    """What RocksDB says once the joining of files, in the background, has missed one."""
    for text in (
        "IO error: No such file or directory: while stat a file for size: {}/58.sst: "
        "No such file or directory",
        "IO error: While pread offset 0 len 9: {}/8.sst: Input/output error",
        "Corruption: block checksum mismatch: stored = 2, computed = 1 in {}/8.sst offset 6 size 4",
    ):
        error = Exception(text.replace("{}", str(tmp_path)))
        assert type(said(tmp_path, error, reading=False)) is StoreDamaged


# ---- a disk that refuses

# What RocksDB 9.8 and the system said on disks that were full, read-only, in use or damaged.
SAID = [
    ("IO error: No space left on device: While appending to file: {}/4.log: "
     "No space left on device",
     StoreFailed, r"The disk under \S+ is full: free space"),
    ("No space left on device (os error 28)", StoreFailed, "is full"),
    ("Read-only file system (os error 30)", StoreFailed, "is read-only: make it writable"),
    ("IO error: While open a file for appending: {}/LOG: Read-only file system",
     StoreFailed, "is read-only: make it writable"),
    ("IO error: While lock file: {}/LOCK: Resource temporarily unavailable",
     StoreFailed, "is open in another process: stop it"),
    ("IO error: lock hold by current process, acquire time 1 acquiring thread 2: {}/LOCK: "
     "No locks available", StoreFailed, "is open in another process: stop it"),
    ("IO error: While open a file for random read: {}/8.sst: Too many open files",
     StoreFailed, "raise `ulimit -n`"),
    ("Corruption: Corruption: IO error: While open a file for random read: {}/8.sst: "
     "Too many open files", StoreFailed, "raise `ulimit -n`"),
    ("IO error: While open a file for random read: {}/8.sst: Permission denied",
     StoreFailed, "is closed to this user"),
    ("IO error: While pread offset 0 len 9: {}/8.sst: Input/output error", StoreDamaged, "damaged"),
    ("Corruption: Corruption: IO error: No such file or directory: While open a file for random "
     "read: {}/8.sst: No such file or directory  The file {}/MANIFEST-5 may be corrupted.",
     StoreDamaged, "is damaged"),
    ("Corruption: block checksum mismatch: stored = 2, computed = 1 in {}/8.sst offset 6 size 4",
     StoreDamaged, "is damaged"),
    ("Corruption: CURRENT file does not end with newline", StoreDamaged, "is damaged"),
    ("Operation timed out: ", StoreFailed, "cannot be used: .* Check the disk and the folder"),
]  # fmt: skip


def test_the_system_is_quoted_without_its_number_and_the_path(tmp_path: Path) -> None:
    error = PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    assert str(said(tmp_path, error)) == (
        f"{tmp_path} is closed to this user: give it the folder (permission denied)."
    )


@pytest.mark.parametrize(("text", "kind", "sentence"), SAID)
@pytest.mark.parametrize(
    "folder", ["/data", "/no space left on device/lock corruption", "/a: Read-only file system: b"]
)
def test_what_the_disk_says_is_told_by_status_and_number_whatever_the_folder_is_called(
    text: str, kind: type[Exception], sentence: str, folder: str
) -> None:
    path = Path(folder) / "inventory-3"

    told = said(path, Exception(text.replace("{}", str(path))))

    assert type(told) is kind
    assert re.search(sentence.replace(r"\S+", ".+"), str(told))


def test_a_file_that_cannot_be_written_is_no_damage(tmp_path: Path) -> None:
    text = f"IO error: While appending to file: {tmp_path}/4.log: Input/output error"

    assert type(said(tmp_path, Exception(text), reading=False)) is StoreFailed
    assert type(said(tmp_path, OSError(errno.ENOENT, "gone"), reading=False)) is StoreFailed


FULL = """
import resource, signal, sys
from pathlib import Path
from tables.home.rocks import RocksStores
from tables.home.store import Local, StoreFailed

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
stores = RocksStores(Path(sys.argv[1]), "inventory")
store = stores.open(0)
store.write({b"a\\x001": b"1"}, [], Local(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
told = []
for n in (2, 3):
    try:
        store.write({b"b\\x001": bytes(50_000 if n == 2 else 1)}, [], Local(n))
    except StoreFailed as error:
        told.append(str(error))
assert len(told) == 2, told
assert (store.get(b"a\\x001"), store.get(b"b\\x001"), store.local) == (b"1", None, Local(1))
store.close()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
store = stores.open(0)
store.write({b"c\\x001": b"1"}, [], Local(4))
assert store.get(b"a\\x001") == b"1"
store.close()
"""


def test_a_refused_write_is_said_leaves_the_rows_alone_and_is_over_when_opened_again(
    tmp_path: Path,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, tmp_path], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr


# ---- what is believed of a store


def test_stores_that_are_opened_again_share_one_cache_and_have_their_filters(
    tmp_path: Path,
) -> None:
    rows = {b"%05d\x00x" % n: b"1" for n in range(5000)}
    for times in range(3):
        stores = RocksStores(tmp_path, "inventory")
        both = [stores.open(0), stores.open(1)]
        for store in both:
            store.load(rows, [], Local(times + 1, times))
            settled(store)
            store.get_many(list(rows))
        databases = [store._db for store in both]  # type: ignore[attr-defined]
        for database in databases:
            assert database.property_int_value("rocksdb.block-cache-capacity") == 16 * 2**20
            found = database.property_value("rocksdb.aggregated-table-properties")
            numbers = dict(re.findall(r"(# entries for filter|# entries)=(\d+)", found))
            assert numbers["# entries for filter"] == numbers["# entries"]
        usages = {d.property_int_value("rocksdb.block-cache-usage") for d in databases}
        assert len(usages) == 1
        assert usages.pop() > 100_000
        del databases, database
        for store in both:
            store.close()
        stores.close()


def test_a_store_that_was_opened_with_other_options_is_refused_with_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = rocksdict.Rdict
    # As the rocksdict that takes them from the disk.
    monkeypatch.setattr(rocksdict, "Rdict", lambda path, options, families: open_(path, options))
    stores = RocksStores(tmp_path, "inventory")
    stores.open(0).close()

    with pytest.raises(StoreFailed, match="filter_policy is nullptr; the cache is of 8,388,608"):
        stores.open(0)

    monkeypatch.undo()
    stores.open(0).close()
    stores.close()


def test_a_lost_file_is_damage_wherever_it_is_met(life: Life, tmp_path: Path) -> None:
    for file in files_of(life.crashed / "inventory-0"):
        folder = tmp_path / file.name
        shutil.copytree(life.crashed, folder)
        (folder / "inventory-0" / file.name).unlink()
        stores = RocksStores(folder, "inventory")
        try:
            store = stores.open(0)
        except StoreDamaged:
            assert not file.name.startswith(("OPTIONS", "IDENTITY", "rocksdict"))
        else:
            assert rows_of(store) == life.held[store.local.next_offset], file.name
            store.close()
        stores.close()
