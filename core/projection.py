"""What a table counts, and in which steps: the one thing that a new table brings along.

A `Projection` is a pure function of the log in two halves. `columns` reads records and needs
nothing but them, so it may run in another process. `memory` makes what an owner folds the
columns into, one for each partition; `core/fold.py` keeps the rest of a partition's memory
(positions, counts, duplicates window, dead letters), the same for every projection.

Both halves see the log in offset order, slice by slice, cut anywhere: where it is cut may not
matter. Nothing may be read of the clock, of the worker or of other partitions, or two workers
would count differently.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from importlib import import_module
from typing import Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from msgspec import Struct

from core.columns import Columns
from core.records import Address, Headers, Record

#: Committed rows by key, as they were written; None where there is none. Ask for many at once.
Load: TypeAlias = Callable[[list[bytes]], Sequence[bytes | None]]


class NotARow(Exception):
    """What the store gave for a row is no row of this projection."""


class Projection(Protocol):
    """What a table is. It has no state, and a module-level name by which it is imported."""

    @property
    def name(self) -> str:
        """In the names of stores on disk: "inventory". Letters, digits and dashes."""
        ...

    @property
    def rules(self) -> int:
        """Number of the rules; with another number the same log may give other rows."""
        ...

    @property
    def line(self) -> np.dtype[Any]:
        """One event: the fields of `core.columns.HEAD`, then its own, all of fixed width."""
        ...

    @property
    def identity(self) -> bool:
        """Whether events have ids, so that repetitions are found. Else there is no window."""
        ...

    @property
    def naming(self) -> Container[str]:
        """Headers that say whose event a record holds.

        They are kept, if short, of a refused record that is too large to keep.
        """
        ...

    def columns(self, address: Address, records: Sequence[Record]) -> Columns:
        """Decode and check some hundred records, at least one, in offset order.

        What may not be folded goes into `refused`, never into an exception.
        """
        ...

    def memory(self, partition: int, partitions: int, *, empty: bool) -> Memory:
        """A new owner's memory of one partition.

        Args:
            partition: 0 to `partitions` - 1.
            partitions: of the sources, and of every topic that is emitted to.
            empty: the store has no rows, so none need be asked for.
        """
        ...


class Memory(Protocol):
    """One partition's rows on their way from the log to the store. Changed by the fold alone.

    After an exception it is dropped, and made again from what was committed.
    """

    @property
    def waiting(self) -> int:
        """How many records `take` would emit now. They fill a group, as events do."""
        ...

    def add(self, columns: Columns, load: Load) -> None:
        """Fold events that are new.

        Raises:
            NotARow: what `load` gave is no row.
        """
        ...

    def take(self) -> Changes:
        """Give what has changed since the last call; folding goes on meanwhile.

        One group travels at a time. The next call says that the last one's rows are in the
        store, so that they may leave memory then, and not before.
        """
        ...


@runtime_checkable
class Repairable(Protocol):
    """A memory whose rows an audit can set right while events go on being added."""

    def repair(self, key: bytes, found: bytes | None, right: bytes | None, load: Load) -> None:
        """Add to a row what `right` has more than `found`.

        Both are of one prefix of the log, and the row is further by now: what is added is true
        of it all the same, since its events only ever add to it.

        Args:
            key: of the row.
            found: as it was stored; None where it was not there.
            right: as it should have been; None where there should be none.
            load: as `Memory.add`.

        Raises:
            NotARow: what `load` gave, or one of the two, is no row.
        """
        ...


class Rows(Protocol):
    """Rows as they were when they were taken."""

    def encoded(self, size: int) -> Iterator[dict[bytes, bytes]]:
        """Keys and values as they are written, at most `size` at a time: each is one step."""
        ...


class Emitted(Struct, frozen=True, gc=False):
    """A record for another topic, written in the transaction of the group that made it.

    Readers of committed records see it exactly once, if and when the group is committed. Those
    of one partition keep their order.

    role: what the projection calls the topic; `TableConfig.outputs` has its name.
    partition: of that topic; `core.partitioning.partition_for` says where a key lives.
    """

    role: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class NoRows:
    """Of a memory that keeps nothing: it only emits."""

    def encoded(self, size: int) -> Iterator[dict[bytes, bytes]]:
        """Nothing."""
        return iter(())


class Changes(Struct, frozen=True):
    """What a memory gives to one group.

    emitted: gone through once, after the call; the loop gets its turn in between, so it must
    not look at what folding changes. gone: keys of rows that are no more. new: keys of the rows
    that the store has not yet; None where that is not known.
    """

    rows: Rows = NoRows()
    emitted: Iterable[Emitted] = ()
    gone: Sequence[bytes] = ()
    new: Sequence[bytes] | None = None


def imported(where: str) -> Projection:
    """The projection of this name, "module:NAME"."""
    module, _, name = where.partition(":")
    return cast(Projection, getattr(import_module(module), name))
