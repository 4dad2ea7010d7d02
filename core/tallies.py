"""The two plain kinds of table: one keeps a number for each key, one only passes records on.

Of a record both take keys and one amount for them. `core/projection.py` says what any other
projection has to bring along.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest, xxh32_intdigest

from core.columns import HEAD, Columns
from core.projection import Changes, Emitted, Load, Memory
from core.records import Address, Record, TooLarge, crc_of
from core.refusals import RECORD_TOO_LARGE, DeadLetter, Refused, dead_letter
from core.sums import Changed, RowNumbers, Sums
from core.window import IDENTITY_BITS

#: Of a row, of 8 bytes, the most significant first: what Java's longSerde writes.
_BYTES: Final = 8
_ENCODE: Final = 1_000
_NO_VALUE = Refused("null_value", "The record has no value.")
_TOO_LARGE = Refused(RECORD_TOO_LARGE, "The record is larger than 1 MiB.")


class RefusedRecord(Exception):
    """This record may not be counted: it becomes a dead letter.

    reason: one word, of few. detail: one ASCII sentence for a person.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.why = Refused(reason, detail)


class Amounts(NamedTuple):
    """What one record comes to.

    keys: one or several, or none. amount: goes to each of them. id: with identity, what makes it
    this record and no other; it has one key then.
    """

    keys: Sequence[bytes]
    amount: int
    id: bytes = b""


class Amounting(ABC):
    """What both kinds are: a `Projection` by `read`.

    identity: what is sent twice within the window counts once, and the same id with another
    value is a dead letter. Without it, what is sent twice counts twice.
    """

    name: ClassVar[str]
    rules: ClassVar[int] = 1
    line: np.dtype[Any] = np.dtype([*HEAD, ("amount", "<i8")])
    identity: ClassVar[bool] = False
    naming: frozenset[str] = frozenset()

    @abstractmethod
    def read(self, record: Record, value: bytes) -> Amounts:
        """What to count of a record, by the record alone; raises RefusedRecord."""

    @abstractmethod
    def memory(self, partition: int, partitions: int, *, empty: bool) -> Memory:
        """As `Projection.memory`."""

    def columns(self, address: Address, records: Sequence[Record]) -> Columns:
        """As `Projection.columns`; a record gives as many events as it has keys."""
        keys: list[bytes] = []
        sizes, read = list[int](), list[tuple[int, ...]]()
        refused: list[DeadLetter] = []
        for record in records:
            try:
                found, amount, known_by = self._read(record)
            except RefusedRecord as error:
                refused.append(dead_letter(address, record, error.why))
                continue
            keys += found
            sizes.append(len(found))
            ids = _hashes(known_by, record[3], len(found)) if self.identity else (0, 0)
            read.append((record[0], record[1], *ids, amount))
        events = np.zeros(len(keys), self.line)
        if keys:
            for name, column in zip(self.line.names or (), zip(*read, strict=True), strict=True):
                kind = self.line[name]
                events[name] = np.repeat(np.fromiter(column, kind, len(column)), sizes)
        return Columns(keys, events, refused, records[0][:2], records[-1][:2], crc_of(records[-1]))

    def _read(self, record: Record) -> Amounts:
        value = record[3]
        if value is None:
            raise RefusedRecord(_NO_VALUE.reason, _NO_VALUE.detail)
        if isinstance(value, TooLarge):
            raise RefusedRecord(_TOO_LARGE.reason, _TOO_LARGE.detail)
        return self.read(record, value)


def _hashes(known_by: bytes, value: bytes | None, keys: int) -> tuple[int, int]:
    if keys != 1:
        raise ValueError(f"a record with an id has one key, not {keys}")
    return xxh3_64_intdigest(known_by) >> 64 - IDENTITY_BITS, xxh32_intdigest(value or b"")


class KeySums(Amounting):
    """A row for each key: the sum of its amounts, modulo 2^64, as `as_number` reads it."""

    def told(self, key: bytes, total: int, partition: int) -> Emitted | None:
        """What to emit, if anything, of a row that has changed in a group."""
        return None

    def memory(self, partition: int, partitions: int, *, empty: bool) -> Memory:
        """As `Projection.memory`."""
        return _Tallying(self, partition, empty)


class Relay(Amounting):
    """No rows: `passed` is emitted.

    sums_up: amounts of one key that meet in a group are emitted as one. How many records come
    of it then depends on where the groups end; their sum does not.
    """

    sums_up: ClassVar[bool] = True

    @abstractmethod
    def passed(self, key: bytes, amount: int, partitions: int) -> Emitted:
        """What to emit of a key. `partitions`: of every topic."""

    def memory(self, partition: int, partitions: int, *, empty: bool) -> Memory:
        """As `Projection.memory`."""
        return _Summing(self, partitions) if self.sums_up else _Passing(self, partitions)


def as_number(stored: bytes) -> int:
    """A row's, or an amount's; raises ValueError for what is none."""
    if len(stored) != _BYTES:
        raise ValueError(f"{len(stored)} bytes are no number of {_BYTES}")
    return int.from_bytes(stored, "big", signed=True)


def record_key(record: Record) -> bytes:
    """A record's key; raises RefusedRecord where it has none."""
    if (key := record[2]) is None:
        raise RefusedRecord("missing_key", "The record has no key.")
    return key


def amount_of(value: bytes) -> int:
    """The same of a record's value; raises RefusedRecord."""
    try:
        return as_number(value)
    except ValueError as error:
        raise RefusedRecord("bad_amount", f"{error}.".capitalize()) from None


def as_bytes(amount: int) -> bytes:
    """As `as_number` reads it."""
    return amount.to_bytes(_BYTES, "big", signed=True)


def _read_row(stored: bytes) -> RowNumbers:
    return (as_number(stored),)


def _written(rows: list[RowNumbers]) -> Iterable[bytes]:
    return [as_bytes(total) for (total,) in rows]


class _Tallying:
    """A `Memory` of rows."""

    def __init__(self, tally: KeySums, partition: int, empty: bool) -> None:
        self._tally, self._partition = tally, partition
        self._sums = Sums(np.dtype([("total", "<i8")]), _read_row, _written, empty=empty)
        self._emits = type(tally).told is not KeySums.told

    @property
    def waiting(self) -> int:
        # As many rows at most; they fill a group as events already.
        return 0

    def add(self, columns: Columns, load: Load) -> None:
        rows = self._sums.change(columns.keys, load)
        self._sums.add(rows, 0, columns.events["amount"])

    def take(self) -> Changes:
        rows = self._sums.take()
        return Changes(rows, self._emitted(rows) if self._emits else ())

    def _emitted(self, rows: Changed) -> Iterator[Emitted]:
        told, partition = self._tally.told, self._partition
        for first in range(0, len(rows.keys), _ENCODE):
            lines: NDArray[Any] = rows.lines["total"][first : first + _ENCODE]
            for key, total in zip(rows.keys[first : first + _ENCODE], lines.tolist(), strict=True):
                if (record := told(key, total, partition)) is not None:
                    yield record


class _Summing:
    """A `Memory` that emits one record for each key of a group."""

    def __init__(self, relay: Relay, partitions: int) -> None:
        self._relay, self._partitions = relay, partitions
        self._amounts: Counter[bytes] = Counter()

    @property
    def waiting(self) -> int:
        # Fewer than the events that they were made of.
        return 0

    def add(self, columns: Columns, load: Load) -> None:
        amounts = columns.events["amount"]
        if (amounts == 1).all():
            self._amounts.update(columns.keys)
            return
        mine = self._amounts
        for key, amount in zip(columns.keys, amounts.tolist(), strict=True):
            mine[key] += amount

    def take(self) -> Changes:
        amounts, self._amounts = self._amounts, Counter()
        passed, partitions = self._relay.passed, self._partitions
        return Changes(emitted=(passed(key, amount, partitions) for key, amount in amounts.items()))


class _Passing:
    """A `Memory` that emits one record for each event."""

    def __init__(self, relay: Relay, partitions: int) -> None:
        self._relay, self._partitions = relay, partitions
        self._amounts: list[tuple[bytes, int]] = []

    @property
    def waiting(self) -> int:
        # Each is an event, and fills a group as that.
        return 0

    def add(self, columns: Columns, load: Load) -> None:
        amounts = columns.events["amount"].tolist()
        self._amounts += zip(columns.keys, amounts, strict=True)

    def take(self) -> Changes:
        amounts, self._amounts = self._amounts, []
        passed, partitions = self._relay.passed, self._partitions
        return Changes(emitted=(passed(key, amount, partitions) for key, amount in amounts))
