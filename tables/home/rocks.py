"""Stores on disk: RocksDB through rocksdict. Nothing else imports rocksdict."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec
from weakref import WeakSet

import msgspec
import rocksdict

from tables.home.disk.folders import make_folder
from tables.home.disk.sayings import said
from tables.home.store import (
    FORMAT,
    DataFolderInUse,
    Local,
    Snapshot,
    Store,
    StoreDamaged,
    StoreFailed,
    StoreUnfit,
    WriteWatch,
)
from tables.keys import FIRST_ROW, LOCAL_KEY, MARKS, META_KEY

log = logging.getLogger(__name__)

P = ParamSpec("P")

_encode = msgspec.json.Encoder().encode

_MIB = 2**20
#: Every write leaves its number behind, at one of so many places in turn.
_MARKS_KEPT = 8192
#: After so many writes RocksDB makes a file of what it has, so that the marks reach
#: back beyond all that is in its log alone.
_FILED_EVERY = _MARKS_KEPT // 2

#: What a store must have been opened with, as RocksDB wrote it down: another version of
#: rocksdict may give a call's options another meaning, and 0.3.29 ignores some.
_BELIEVED = {
    "paranoid_checks": "true",
    "max_open_files": "128",
    "max_background_jobs": "2",
    "write_buffer_size": f"{8 * _MIB}",
    "max_write_buffer_number": "3",
    "compression": "kLZ4Compression",
    "prefix_extractor": "nullptr",
    "filter_policy": "bloomfilter",
    "cache_index_and_filter_blocks": "true",
    "wal_recovery_mode": "kPointInTimeRecovery",
}
_OPTION = re.compile(r"^  (\w+)=(.*)$", re.MULTILINE)


class _Cursor:
    """Goes through a database as it was when this was made. A `Snapshot`, too."""

    meta: bytes | None = None

    def __init__(self, path: Path, db: rocksdict.Rdict) -> None:
        self._path = path
        try:
            self._at: rocksdict.RdictIter | None = db.iter()
        except Exception as error:
            raise said(path, error) from error

    def take(
        self, limit: int, start: bytes | None = None, stop: bytes | None = None
    ) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        if (cursor := self._at) is None:
            raise StoreFailed(f"{self._path} was closed while it was read: read it again.")
        try:
            if start is not None:
                cursor.seek(start)
            while len(found) < limit and cursor.valid():
                key = cursor.key()
                if stop is not None and key >= stop:
                    break
                found.append((key, cursor.value()))
                cursor.next()
            # At a block that cannot be read it is as if the data ended there.
            cursor.status()
        except Exception as error:
            raise said(self._path, error) from error
        finally:
            del cursor
        return found

    rows = take

    def close(self) -> None:
        self._at = None


class RocksStore:
    """RocksDB through rocksdict; one database per partition.

    Opened, it has proved that no write is missing between others: RocksDB alone takes a list of
    files that was cut off for the whole, and puts what its log holds on top of what is left.

    Raises:
        StoreDamaged: what is on disk is not what was written.
        StoreUnfit: it was written by another release.
        StoreFailed: the disk refused.
    """

    def __init__(self, path: Path, options: rocksdict.Options, cache_bytes: int) -> None:
        self._path = path
        self.watch: WriteWatch | None = None
        self._with_log, self._without_log = rocksdict.WriteOptions(), rocksdict.WriteOptions()
        # rocksdict's stub (0.3.29) says that this is a method; it is a property.
        self._without_log.disable_wal = True  # type: ignore[method-assign,assignment]
        self._snapshots: WeakSet[_Cursor] = WeakSet()
        #: Something was loaded that may not be in a file yet.
        self._unfiled = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Named as the default family's, too: else rocksdict (0.3.29) takes the options of
            # any store but a new one from its disk.
            self._db = rocksdict.Rdict(str(path), options, {"default": options})
        except Exception as error:  # rocksdict raises plain Exception for all that RocksDB says
            raise said(path, error) from error
        get: Any = self._db.get  # in raw mode bytes for bytes, and a list for a list
        self._get: Callable[[bytes], bytes | None] = get
        self._get_many: Callable[[list[bytes]], list[bytes | None]] = get
        try:
            self._check_options(cache_bytes)
            self.local, self._written = self._find_local()
        except (StoreUnfit, StoreFailed):
            self.close()
            raise

    def _check_options(self, cache_bytes: int) -> None:
        """Raise StoreFailed unless the store was opened with our options."""
        try:
            newest = max(self._path.glob("OPTIONS-*[0-9]"))
            found = dict(_OPTION.findall(newest.read_text()))
            capacity = self._db.property_int_value("rocksdb.block-cache-capacity")
        except Exception as error:
            raise said(self._path, error) from error
        wrong = [f"{k} is {found.get(k)}" for k, v in _BELIEVED.items() if found.get(k) != v]
        if capacity != cache_bytes:
            wrong.append(f"the cache is of {capacity:,} bytes")
        if wrong:
            raise StoreFailed(
                f"{self._path} was opened with other options than Onhand gave "
                f"({'; '.join(wrong)}): install the rocksdict of requirements.lock."
            )

    def _find_local(self) -> tuple[Local, int]:
        """What the store says of itself, and the number of its last write."""
        raw = self.get(LOCAL_KEY)
        marks = self.scan(*MARKS, 2 * _MARKS_KEPT)
        if raw is None and not marks:
            return Local(), 0
        try:
            local = msgspec.json.decode(raw or b"", type=Local)
        except msgspec.MsgspecError as error:
            raise StoreDamaged(
                f"{self._path} is damaged (it cannot say how far: {error})"
            ) from error
        if local.format != FORMAT:
            raise StoreUnfit(f"{self._path} was written by another release")
        numbers = {int.from_bytes(number) for _, number in marks}
        last = max(numbers, default=0)
        if last == 0 or numbers != set(range(max(1, last - _MARKS_KEPT + 1), last + 1)):
            raise StoreDamaged(
                f"{self._path} is damaged (writes before the {last:,}th are missing)"
            )
        return local, last

    def get(self, key: bytes) -> bytes | None:
        try:
            return self._get(key)
        except Exception as error:
            raise said(self._path, error) from error

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            return self._get_many(list(keys))
        except Exception as error:
            raise said(self._path, error) from error

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        cursor = _Cursor(self._path, self._db)
        try:
            return cursor.take(limit, start, stop)
        finally:
            # Else the error's traceback has it, and with it the LOCK of a closed store.
            cursor.close()

    def snapshot(self) -> Snapshot:
        cursor = _Cursor(self._path, self._db)
        self._snapshots.add(cursor)
        cursor.meta = dict(cursor.take(1, META_KEY)).get(META_KEY)
        cursor.take(0, FIRST_ROW)
        return cursor

    def write(
        self,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        local: Local,
        new: Iterable[bytes] | None = None,
    ) -> None:
        if self._unfiled:
            # RocksDB's log outlives a crash and what was only loaded does not: it has to be
            # in a file first. It has been for long, unless this comes within some 20 ms.
            self._try(self._db.flush)
            self._unfiled = False
        self._apply(puts, deletes, local, self._with_log)
        if self.watch is not None:
            self.watch.wrote(puts if new is None else new)
        if self._written % _FILED_EVERY == 0:
            self._try(self._db.flush, wait=False)

    def load(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        # Without its log RocksDB does a fifth less here, and the file is made by a thread of
        # its own. Buffers become files in the order in which they were filled, each with all
        # of a batch or nothing: after a crash, loads are missing from the last on.
        self.watch, self._unfiled = None, True
        self._apply(puts, deletes, local, self._without_log)
        self._try(self._db.flush, wait=False)

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
        put(LOCAL_KEY, _encode(local))
        number = self._written + 1
        put(MARKS[0] + (number % _MARKS_KEPT).to_bytes(2), number.to_bytes(8))
        self._try(self._db.write, batch, how)
        self.local, self._written = local, number

    def _try(self, work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            work(*args, **kwargs)
        except Exception as error:
            # RocksDB refuses all later writes, too, until the store is opened again.
            raise said(self._path, error, reading=False) from error

    def close(self) -> None:
        self.watch = None
        try:
            # close() leaves the LOCK file to live iterators.
            for cursor in self._snapshots:
                cursor.close()
            self._db.close()
        except rocksdict.DbClosedError:
            return
        except Exception as error:
            # It is closed all the same. What it could not write is in its log or in Kafka's.
            log.warning("%s was closed with an error (%s).", self._path, error)
        gc.collect(0)


class RocksStores:
    """The stores of one worker in one data folder, which it locks for itself.

    Raises:
        DataFolderInUse: another worker runs on the same folder.
        StoreFailed: the folder cannot be made or written.
    """

    def __init__(
        self, folder: Path, name: str, cache_mib: int = 16, write_buffers_mib: int = 24
    ) -> None:
        """`name`: of the table; each store's folder begins with it."""
        self._folder, self._name = folder, name
        make_folder(folder)
        try:
            self._lock = os.open(folder / "lock", os.O_CREAT | os.O_RDWR)
        except OSError as error:
            raise said(folder, error, reading=False) from error
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
        self._cache_bytes = cache_mib * _MIB
        self._cache = rocksdict.Cache(self._cache_bytes)
        self._buffers = rocksdict.WriteBufferManager(write_buffers_mib * _MIB, False)

    def open(self, partition: int) -> Store:
        return RocksStore(self._path(partition), self._options(), self._cache_bytes)

    def wipe(self, partition: int) -> None:
        path = self._path(partition)
        doomed = path.with_name(f"{path.name}.wiped")
        shutil.rmtree(doomed, ignore_errors=True)
        try:
            # Gone at once and in whole: a crash leaves no half of it to be opened.
            shutil.rmtree(path.rename(doomed), ignore_errors=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise said(path, error, reading=False) from error

    def set_aside(self, partition: int) -> str:
        path = self._path(partition)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        try:
            return str(path.rename(path.with_name(f"{path.name}.aside-{stamp}")))
        except OSError as error:
            raise said(path, error, reading=False) from error

    def _path(self, partition: int) -> Path:
        return self._folder / f"{self._name}-{partition}"

    def kept(self) -> set[int]:
        try:
            # RocksDB writes CURRENT last of all when it makes a database.
            found = [path.parent.name for path in self._folder.glob(f"{self._name}-*/CURRENT")]
        except OSError as error:
            log.warning("Which stores %s holds cannot be said (%s).", self._folder, error)
            return set()
        numbers = [name.removeprefix(f"{self._name}-") for name in found]
        return {int(number) for number in numbers if number.isdigit()}

    def _options(self) -> rocksdict.Options:
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_paranoid_checks(True)
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
