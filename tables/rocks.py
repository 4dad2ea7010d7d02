"""Stores on disk: RocksDB through rocksdict. Nothing else imports rocksdict."""

from __future__ import annotations

import fcntl
import gc
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgspec
import rocksdict

from tables.store import (
    FORMAT,
    DataFolderInUse,
    Local,
    Store,
    StoreDamaged,
    StoreFailed,
    StoreUnfit,
)

log = logging.getLogger(__name__)

_LOCAL = b"\x00local"
_MIB = 2**20


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
            self.close()
            raise StoreUnfit(f"{path} was written by another release")

    def _open(self) -> rocksdict.Rdict:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return rocksdict.Rdict(str(self._path), self._options)
        except Exception as error:  # rocksdict raises plain Exception for all that RocksDB says
            raise _said(self._path, error) from error

    def get(self, key: bytes) -> bytes | None:
        try:
            return cast(bytes | None, self._db.get(key))  # raw mode
        except Exception as error:
            raise _said(self._path, error) from error

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]:
        try:
            return cast(list[bytes | None], self._db.get(list(keys)))  # a list for a list
        except Exception as error:
            raise _said(self._path, error) from error

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
            raise _said(self._path, error) from error

    def close(self) -> None:
        with suppress(rocksdict.DbClosedError):
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
        return RocksStore(self._path(partition), self._options())

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
            raise StoreFailed(_advice(path, error)) from error

    def set_aside(self, partition: int) -> str:
        path = self._path(partition)
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        try:
            return str(path.rename(path.with_name(f"{path.name}.aside-{stamp}")))
        except OSError as error:
            raise StoreFailed(_advice(path, error)) from error

    def _path(self, partition: int) -> Path:
        return self._folder / f"inventory-{partition}"

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


def _decode_local(raw: bytes) -> Local:
    try:
        return msgspec.json.decode(raw, type=Local)
    except msgspec.MsgspecError:
        return Local(format=-1)


def _is_corruption(message: str) -> bool:
    text = message.lower()
    return "corruption" in text or "invalid argument" in text or "not implemented" in text


def _said(path: Path, error: Exception) -> StoreDamaged | StoreFailed:
    """What RocksDB said, as ours."""
    if _is_corruption(str(error)):
        return StoreDamaged(f"{path} is damaged ({error})")
    return StoreFailed(_advice(path, error))


def _advice(path: Path, error: Exception) -> str:
    text = str(error)
    if "no space" in text.lower():
        return f"The disk under {path} is full: free space and start the worker again ({text})."
    if "lock" in text.lower():
        return f"{path} is open in another process: stop it or use another data folder ({text})."
    return f"{path} cannot be used: {text}. Check the disk and the folder's permissions."
