"""Stores in memory: for tests, and for workers without a disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sortedcontainers import SortedDict

from tables.home.store import Local, Snapshot, Store, WriteWatch
from tables.keys import FIRST_ROW, META_KEY


class MemoryStore:
    """For tests and for workers without a disk: restores from the changelog at every start."""

    def __init__(self) -> None:
        self.local = Local()
        self.watch: WriteWatch | None = None
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

    def write(
        self,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        local: Local,
        new: Iterable[bytes] | None = None,
    ) -> None:
        for key in deletes:
            self._rows.pop(key, None)
        self._rows.update(puts)
        self.local = local
        if self.watch is not None:
            self.watch.wrote(puts if new is None else new)

    def load(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        self.watch = None
        self.write(puts, deletes, local)

    def snapshot(self) -> Snapshot:
        first = self._rows.bisect_left(FIRST_ROW)
        rows = list(self._rows.items()[first:])
        return _Copied(self._rows.get(META_KEY), rows)

    def close(self) -> None:
        self.watch = None


class _Copied:
    """All of the pairs; values are never changed, so this is a list of references."""

    def __init__(self, meta: bytes | None, rows: list[tuple[bytes, bytes]]) -> None:
        self.meta, self._rows, self._at = meta, rows, 0

    def rows(self, limit: int) -> list[tuple[bytes, bytes]]:
        found = self._rows[self._at : self._at + limit]
        self._at += len(found)
        return found

    def close(self) -> None:
        self._rows = []


class MemoryStores:
    """Opens nothing, so each is empty when it is opened."""

    def open(self, partition: int) -> Store:
        return MemoryStore()

    def wipe(self, partition: int) -> None:
        pass

    def set_aside(self, partition: int) -> str:
        return f"the memory of partition {partition}, which ends with its store"

    def kept(self) -> set[int]:
        return set()

    def close(self) -> None:
        pass
