"""One key-value store per partition: RocksDB on disk, or memory.

A store holds exactly what the partition's changelog says up to one offset: rows,
window segments, the meta record, and beside them `Local`, which says how far.
Everything of one call to `write` or `load` appears together or not at all, and never without
what was written before it, also after a crash.
"""

from __future__ import annotations

import asyncio
import fcntl
import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol, cast

import msgspec
import rocksdict
from sortedcontainers import SortedDict

log = logging.getLogger(__name__)

#: Number of the layout below. A store of another number is wiped and restored.
FORMAT = 1
#: Rows sort after every internal key: a SKU has no control characters.
FIRST_ROW = b"\x01"
_LOCAL = b"\x00local"
_MIB = 2**20


class Local(msgspec.Struct, frozen=True):
    """What this store knows about itself; never in the changelog.

    next_offset: changelog offset to read next.
    meta_offset: changelog offset of the newest meta record applied, -1 for none.
    incarnation: of the changelog that the content came from, "" for none.
    """

    next_offset: int = 0
    meta_offset: int = -1
    incarnation: str = ""
    format: int = FORMAT


class StoreFailed(Exception):
    """The disk refused. The message is one sentence with the remedy."""


class DataFolderInUse(Exception):
    """Another worker holds the data folder."""


class Store(Protocol):
    """Content of one partition. Keys and values are bytes; order is that of bytes."""

    local: Local

    def get(self, key: bytes) -> bytes | None: ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs with start <= key < stop, in order."""
        ...

    def write(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        """Apply everything at once; raises StoreFailed."""
        ...

    def load(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        """The same for a rebuild: less work, but a crash may undo the last loads.

        Not those that a `write` came after.
        """
        ...

    def wipe(self) -> None:
        """Forget everything."""
        ...

    def close(self) -> None: ...


class Stores(Protocol):
    """Opens the stores of one worker."""

    def open(self, partition: int) -> Store: ...

    def kept(self) -> set[int]:
        """Partitions that there is a store of, open or not; asked from another thread."""
        ...

    def close(self) -> None: ...


class MemoryStore:
    """For tests and for workers without a disk: restores from the changelog at every start."""

    def __init__(self) -> None:
        self.local = Local()
        self._rows: SortedDict = SortedDict()

    def get(self, key: bytes) -> bytes | None:
        return self._rows.get(key)  # type: ignore[no-any-return]  # untyped library

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        return [self._rows.get(key) for key in keys]

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        for key in self._rows.irange(start, stop, inclusive=(True, False)):
            if len(found) == limit:
                break
            found.append((key, self._rows[key]))
        return found

    def write(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        for key in deletes:
            self._rows.pop(key, None)
        self._rows.update(puts)
        self.local = local

    def load(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        self.write(puts, deletes, local)

    def wipe(self) -> None:
        self._rows.clear()
        self.local = Local()

    def close(self) -> None:
        pass


class MemoryStores:
    """Opens nothing."""

    def open(self, partition: int) -> Store:
        return MemoryStore()

    def kept(self) -> set[int]:
        return set()

    def close(self) -> None:
        pass


class RocksStore:
    """RocksDB through rocksdict; one database per partition."""

    def __init__(self, path: Path, options: rocksdict.Options) -> None:
        self._path, self._options = path, options
        self._with_log, self._without_log = rocksdict.WriteOptions(), rocksdict.WriteOptions()
        # rocksdict's stub (0.3.29) says that this is a method; it is a property.
        self._without_log.disable_wal = True  # type: ignore[method-assign,assignment]
        #: Something was loaded that may not be in a file yet.
        self._unfiled = False
        self._db = self._open()
        raw = self._db.get(_LOCAL)
        self.local = Local() if raw is None else _decode_local(raw)
        if self.local.format != FORMAT:
            log.warning("%s was written by another release: it is restored anew.", path)
            self.wipe()

    def _open(self) -> rocksdict.Rdict:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return rocksdict.Rdict(str(self._path), self._options)
        except Exception as error:  # rocksdict raises plain Exception for all that RocksDB says
            if not _is_corruption(str(error)):
                raise StoreFailed(_advice(self._path, error)) from error
            log.warning("%s is damaged (%s): it is wiped and restored.", self._path, error)
            shutil.rmtree(self._path, ignore_errors=True)
            return rocksdict.Rdict(str(self._path), self._options)

    def get(self, key: bytes) -> bytes | None:
        try:
            return cast(bytes | None, self._db.get(key))  # raw mode
        except Exception as error:
            raise StoreFailed(_advice(self._path, error)) from error

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            return cast(list[bytes | None], self._db.get(list(keys)))  # a list for a list
        except Exception as error:
            raise StoreFailed(_advice(self._path, error)) from error

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        cursor = self._db.iter()
        cursor.seek(start)
        while len(found) < limit and cursor.valid():
            key = cursor.key()
            if stop is not None and key >= stop:
                break
            found.append((key, cursor.value()))
            cursor.next()
        return found

    def write(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        if self._unfiled:
            # RocksDB's log outlives a crash and what was only loaded does not: it has to be
            # in a file first. It has been for long, unless this comes within some 20 ms.
            self._try(lambda: self._db.flush())
            self._unfiled = False
        self._apply(puts, deletes, local, self._with_log)

    def load(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        # Without its log RocksDB does a fifth less here, and the file is made by a thread of
        # its own. Buffers become files in the order in which they were filled, each with all
        # of a batch or nothing: after a crash, loads are missing from the last on.
        self._unfiled = True
        self._apply(puts, deletes, local, self._without_log)
        self._try(lambda: self._db.flush(wait=False))

    def _apply(
        self,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        local: Local,
        how: rocksdict.WriteOptions,
    ) -> None:
        batch = rocksdict.WriteBatch(raw_mode=True)
        for key in deletes:
            batch.delete(key)
        put = batch.put
        for key, value in puts.items():
            put(key, value)
        put(_LOCAL, msgspec.json.encode(local))
        self._try(lambda: self._db.write(batch, how))
        self.local = local

    def _try(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            raise StoreFailed(_advice(self._path, error)) from error

    def wipe(self) -> None:
        self.close()
        shutil.rmtree(self._path, ignore_errors=True)
        self._db = self._open()
        self.local, self._unfiled = Local(), False

    def close(self) -> None:
        # close() leaves the LOCK file to live iterators; they are ours and short-lived.
        self._db.close()
        gc.collect(0)


class RocksStores:
    """The stores of one worker in one data folder, which it locks for itself.

    Raises:
        DataFolderInUse: another worker runs on the same folder.
        StoreFailed: the folder cannot be made or written.
    """

    def __init__(self, folder: Path, cache_mib: int = 16, write_buffers_mib: int = 24) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise StoreFailed(_advice(folder, error)) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise DataFolderInUse(
                f"The data folder {folder} is in use by another worker: "
                "give each worker its own ONHAND_DATA_DIR."
            ) from error
        # One cache and one write budget for all partitions: RocksDB's defaults are
        # per database, 2 GiB and 192 MiB each in rocksdict.
        self._cache = rocksdict.Cache(cache_mib * _MIB)
        self._buffers = rocksdict.WriteBufferManager(write_buffers_mib * _MIB, False)

    def open(self, partition: int) -> Store:
        return RocksStore(self._folder / f"inventory-{partition}", self._options())

    def kept(self) -> set[int]:
        # RocksDB writes CURRENT last of all when it makes a database.
        found = (path.parent.name for path in self._folder.glob("inventory-*/CURRENT"))
        return {int(name) for _, _, name in (n.partition("-") for n in found) if name.isdigit()}

    def _options(self) -> rocksdict.Options:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_write_buffer_manager(self._buffers)
        options.set_write_buffer_size(8 * _MIB)
        options.set_max_write_buffer_number(3)
        options.set_max_background_jobs(2)
        options.set_max_open_files(128)
        options.set_keep_log_file_num(2)
        options.set_compression_type(rocksdict.DBCompressionType.lz4())
        table = rocksdict.BlockBasedOptions()
        table.set_block_cache(self._cache)
        table.set_bloom_filter(10, False)
        table.set_cache_index_and_filter_blocks(True)
        options.set_block_based_table_factory(table)
        return options

    def close(self) -> None:
        os.close(self._lock)


class Spares:
    """The stores of a disk, opened before the group waits for them: they are likely to come back.

    RocksDB first replays its log, after a kill -9 for some 30 ms a store. And now the
    group can be told how full each is.
    """

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._open: dict[int, Store] = {}

    async def open(self) -> None:
        """Open all that the disk holds, one in each pass of the loop."""
        for partition in sorted(self._stores.kept()):
            await asyncio.sleep(0)
            with suppress(StoreFailed):  # tried again, and said, if it is needed
                self._open[partition] = self._stores.open(partition)

    def take(self, partition: int) -> Store:
        """The caller's from now on; opened now if it was not. Raises StoreFailed."""
        return self._open.pop(partition, None) or self._stores.open(partition)

    def close(self) -> None:
        """Close those that nobody took."""
        while self._open:
            self._open.popitem()[1].close()

    def copies(self, taken: Mapping[int, Store]) -> dict[int, int]:
        """For each partition on disk or `taken`, the changelog offset that its rows reach.

        0 for a store on disk that is not open. May be called from another thread.
        """
        stores = {**self._open.copy(), **taken}
        closed = dict.fromkeys(self._stores.kept() - stores.keys(), 0)
        reached = {partition: store.local.next_offset for partition, store in stores.items()}
        return closed | {partition: at for partition, at in reached.items() if at > 0}


def row_pairs(store: Store, start: bytes = FIRST_ROW) -> Iterator[tuple[bytes, bytes]]:
    """All rows in order, a thousand at a time: for tools and tests, not for the loop."""
    while page := store.scan(start, None, 1000):
        yield from page
        start = page[-1][0] + b"\x00"


def _decode_local(raw: bytes) -> Local:
    try:
        return msgspec.json.decode(raw, type=Local)
    except msgspec.MsgspecError:
        return Local(format=-1)


def _is_corruption(message: str) -> bool:
    text = message.lower()
    return "corruption" in text or "invalid argument" in text or "not implemented" in text


def _advice(path: Path, error: Exception) -> str:
    text = str(error)
    if "no space" in text.lower():
        return f"The disk under {path} is full: free space and start the worker again ({text})."
    if _is_corruption(text):
        return f"{path} is damaged: delete it and start the worker again, it is restored ({text})."
    if "lock" in text.lower():
        return f"{path} is open in another process: stop it or use another data folder ({text})."
    return f"{path} cannot be used: {text}. Check the disk and the folder's permissions."
