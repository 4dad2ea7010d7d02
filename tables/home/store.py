"""What a store is: key and value of one partition, on disk (`rocks.py`) or in memory.

A store holds exactly what the partition's changelog says up to one offset: rows,
window segments, the meta record, and beside them `Local`, which says how far.
Everything of one call to `write` or `load` appears together or not at all, and never without
what was written before it, also after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NoReturn, Protocol

import msgspec

from tables.keys import FIRST_ROW

#: Number of the layout below. A store of another number is wiped and restored.
FORMAT = 3


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


class StoreError(Exception):
    """A store did not do what it was asked for. The message is one sentence."""


class StoreFailed(StoreError):
    """The disk refused. The message is one sentence with the remedy."""


class StoreUnfit(StoreError):
    """Nobody can go on with what this store holds. The message is one sentence that says why.

    Not the worker's end: the partition's store is given up and restored, while all others go on.
    """


class StoreDamaged(StoreUnfit):
    """What the disk gives back is not what was written."""


class Undecodable(StoreDamaged):
    """Bytes that came back whole, and say nothing."""


def undecodable(what: str, error: Exception) -> Undecodable:
    """For what a caller reads from a store."""
    return Undecodable(f"{what} of its store cannot be read ({error})")


class DataFolderInUse(Exception):
    """Another worker holds the data folder."""


class WriteWatch(Protocol):
    """Who wants to know which rows a store has."""

    def wrote(self, keys: Iterable[bytes]) -> None:
        """These were written just now; those of rows that the store had not are among them."""
        ...


class Store(Protocol):
    """Content of one partition. Keys and values are bytes; order is that of bytes.

    Each read raises StoreDamaged rather than give less than there is, and each write raises
    it where it meets damage.
    """

    local: Local
    #: Told of each write. Nobody is any more after a `load`, and once the store is closed.
    watch: WriteWatch | None

    def get(self, key: bytes) -> bytes | None: ...

    def get_many(self, keys: Sequence[bytes]) -> list[bytes | None]: ...

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` pairs with start <= key < stop, in order."""
        ...

    def write(
        self,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        local: Local,
        new: Iterable[bytes] | None = None,
    ) -> None:
        """Apply everything at once; raises StoreFailed.

        new: keys of the rows that the store has not yet; None: any of them may be.
        """
        ...

    def load(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> None:
        """The same for a rebuild: less work, but a crash may undo the last loads.

        Not those that a `write` came after.
        """
        ...

    def snapshot(self) -> Snapshot:
        """All of it as it is now, whatever is written from here on."""
        ...

    def close(self) -> None:
        """Let go of the disk; once more does nothing. Its snapshots end with it."""
        ...


class Snapshot(Protocol):
    """The rows of a store as they were at one moment, and what said then how far they were.

    It holds what it shows of disk and memory: close it soon.
    """

    #: The meta record as it was, None in a new store.
    meta: bytes | None

    def rows(self, limit: int) -> list[tuple[bytes, bytes]]:
        """The next rows in the order of their keys; none at the end.

        Raises StoreDamaged rather than give less than there was, StoreFailed where the store
        was closed meanwhile.
        """
        ...

    def close(self) -> None:
        """Let go; once more does nothing."""
        ...


class Stores(Protocol):
    """Opens the stores of one worker."""

    def open(self, partition: int) -> Store:
        """Raises StoreFailed, and StoreUnfit where there is one that cannot be gone on with."""
        ...

    def wipe(self, partition: int) -> None:
        """Delete what the disk holds of a partition; its store is closed.

        For `tables/home/discarding.py` alone, which decides. Raises StoreFailed.
        """
        ...

    def set_aside(self, partition: int) -> str:
        """Keep it instead, under another name, which is returned; nothing reads it there.

        For `tables/home/discarding.py` alone, which decides. Raises StoreFailed.
        """
        ...

    def kept(self) -> set[int]:
        """Partitions that there is a store of, open or not; asked from another thread."""
        ...

    def close(self) -> None: ...


class NoStore:
    """Stands in the place of a store that was given up, until another is open.

    Whoever comes to read is told why, and nobody takes it for an empty one.
    """

    def __init__(self, why: StoreUnfit, held: Local | None) -> None:
        """`held`: what the store said of itself; None where it could not be read."""
        self.local = Local()
        self.watch: WriteWatch | None = None
        self.why, self.held = why, held

    def get(self, key: bytes) -> NoReturn:
        raise self.why

    def get_many(self, keys: Sequence[bytes]) -> NoReturn:
        raise self.why

    def scan(self, start: bytes, stop: bytes | None, limit: int) -> NoReturn:
        raise self.why

    def write(
        self,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        local: Local,
        new: Iterable[bytes] | None = None,
    ) -> NoReturn:
        raise self.why

    def load(self, puts: Mapping[bytes, bytes], deletes: Iterable[bytes], local: Local) -> NoReturn:
        raise self.why

    def snapshot(self) -> NoReturn:
        raise self.why

    def close(self) -> None:
        pass


def row_pairs(store: Store, start: bytes = FIRST_ROW) -> Iterator[tuple[bytes, bytes]]:
    """All rows in order, a thousand at a time: for tools and tests, not for the loop."""
    while page := store.scan(start, None, 1000):
        yield from page
        start = page[-1][0] + b"\x00"
