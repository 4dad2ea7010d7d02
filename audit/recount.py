"""One partition's stock, counted again from its first record by another fold.

Shared with the table: how record batches are read (`wire/`), and the rules for one record with
its hashes (`domain/columns.py`). Not shared: repetitions are found in a plain dictionary of all
that was accepted within the window, sums are Python's own numbers in a list for each row, and
positions and counts are kept here. So a mistake in the table's window, sums, cache, commit,
restore or following shows; one in the rules for a single record does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from core.records import Address, Record
from domain.columns import columns
from domain.events import decode_batch
from domain.events import identity as name_of_event
from domain.rows import Row
from ledger.books import APPLIED, REFUSED, REPEATED

#: Five sums by kind, events, checksum, newest time in ms.
Tally: TypeAlias = list[int]
SUMS: Final = Row.__struct_fields__[:5]
EVENT_COUNT, CHECKSUM, UPDATED_AT = 5, 6, 7
_WIDTH: Final = 8
_MASK: Final = 2**64 - 1


class Counted(NamedTuple):
    """What became of one record. kind is -1 where no rule could read it; then key is b""."""

    topic: str
    offset: int
    outcome: int
    key: bytes
    time_ms: int
    kind: int
    quantity: int
    crc: int


class WatchedFact(NamedTuple):
    """An event of a row that is looked at closely, whatever became of it."""

    counted: Counted
    source: str
    id: str


class Recount:
    """Rows, counts and positions of a partition.

    Args:
        topics: role by full name.
        partition: which one. partitions: of each topic.
        window: W, in offsets.
        watched: keys of rows whose events are kept, with who said them.
    """

    def __init__(
        self,
        topics: Mapping[str, str],
        partition: int,
        partitions: int,
        window: int,
        watched: frozenset[bytes] = frozenset(),
    ) -> None:
        self._addresses = {
            topic: Address(topic, role, partition, partitions) for topic, role in topics.items()
        }
        self._window, self._watched = window, watched
        self._accepted: dict[str, dict[int, tuple[int, int]]] = {topic: {} for topic in topics}
        self.rows: dict[bytes, Tally] = {}
        self.counts = {topic: [0, 0, 0] for topic in topics}
        self.next = dict.fromkeys(topics, 0)
        self.facts: dict[bytes, list[WatchedFact]] = {key: [] for key in watched}
        #: What came after `keep_apart`: not in rows and counts.
        self.apart: list[Counted] = []
        self._keeps_apart = False
        #: How many were given.
        self.records = 0

    def keep_apart(self) -> None:
        """From here on, keep each record's outcome by itself: copies end somewhere in between."""
        self._keeps_apart = True

    def add(self, topic: str, records: Sequence[Record]) -> None:
        """Count the next records of a topic: some hundreds, in offset order."""
        if not records:
            return
        found = columns(self._addresses[topic], records)
        for letter in found.refused:
            time_ms = letter.timestamp_ms
            self._note(Counted(topic, letter.offset, REFUSED, b"", time_ms, -1, 0, 0))
        events, accepted, window = found.events, self._accepted[topic], self._window
        names = ("offset", "time_ms", "identity", "content", "crc", "kind", "quantity")
        rows, counts = self.rows, self.counts[topic]
        plain = not self._keeps_apart and not self._watched
        for key, offset, time_ms, identity, content, crc, kind, quantity in zip(
            found.keys, *(events[name].tolist() for name in names), strict=True
        ):
            before = accepted.get(identity)
            outcome = APPLIED
            if before is not None and before[0] >= offset - window:
                outcome = REPEATED if before[1] == content else REFUSED
            else:
                accepted[identity] = offset, content
            if not plain:
                counted = Counted(topic, offset, outcome, key, time_ms, kind, quantity, crc)
                if key in self._watched:
                    self._watch(counted, records)
                self._note(counted)
                continue
            counts[outcome] += 1
            if outcome == APPLIED:
                row = rows.get(key)
                if row is None:
                    row = rows[key] = [0] * _WIDTH
                row[kind] += quantity
                row[EVENT_COUNT] += 1
                row[CHECKSUM] += crc
                row[UPDATED_AT] = max(row[UPDATED_AT], time_ms)
        self.records += len(records)
        self.next[topic] = records[-1][0] + 1
        if len(accepted) > 2 * window + 10_000:
            floor = self.next[topic] - window
            kept = {known: at for known, at in accepted.items() if at[0] >= floor}
            self._accepted[topic] = kept

    def reached(self, positions: Mapping[str, int]) -> None:
        """All below these offsets was given: what else there is are markers."""
        for topic, at in positions.items():
            self.next[topic] = max(self.next[topic], at)

    def _note(self, counted: Counted) -> None:
        if self._keeps_apart:
            self.apart.append(counted)
        else:
            self.counts[counted.topic][counted.outcome] += 1
            if counted.outcome == APPLIED:
                _add(self.rows, counted)

    def _watch(self, counted: Counted, records: Sequence[Record]) -> None:
        record = next(one for one in records if one[0] == counted.offset)
        event = decode_batch([record[3]], [record[4]])[0]
        source, _, ident = name_of_event(event).decode().rpartition("\x00")  # type: ignore[arg-type]  # it was counted
        self.facts[counted.key].append(WatchedFact(counted, source, ident))

    # ---- as a copy should be that is at a position

    def at(self, positions: Mapping[str, int]) -> Expected:
        """What a copy must hold whose next offsets these are: at or behind `keep_apart`'s."""
        more: dict[bytes, Tally] = {}
        counts = {topic: list(counted) for topic, counted in self.counts.items()}
        for counted in self.apart:
            if counted.offset >= positions.get(counted.topic, 0):
                continue
            counts[counted.topic][counted.outcome] += 1
            if counted.outcome == APPLIED:
                if counted.key not in more and (row := self.rows.get(counted.key)) is not None:
                    more[counted.key] = list(row)
                _add(more, counted)
        return Expected(self.rows, more, {topic: tuple(each) for topic, each in counts.items()})


def _add(rows: dict[bytes, Tally], counted: Counted) -> None:
    row = rows.setdefault(counted.key, [0] * _WIDTH)
    row[counted.kind] += counted.quantity
    row[EVENT_COUNT] += 1
    row[CHECKSUM] += counted.crc
    row[UPDATED_AT] = max(row[UPDATED_AT], counted.time_ms)


class Expected(NamedTuple):
    """Rows and counts of a prefix. more: rows that differ from `base`."""

    base: Mapping[bytes, Tally]
    more: Mapping[bytes, Tally]
    counts: Mapping[str, tuple[int, ...]]

    def row(self, key: bytes) -> Row | None:
        """A row as it must be; None where no event has named it."""
        numbers = self.more.get(key) or self.base.get(key)
        return None if numbers is None else as_row(numbers)

    def keys(self) -> Iterator[bytes]:
        """Of all rows that must be there."""
        yield from self.base
        yield from (key for key in self.more if key not in self.base)


def as_row(numbers: Tally) -> Row:
    """As it is stored."""
    return Row(*[*numbers[:CHECKSUM], numbers[CHECKSUM] & _MASK, numbers[UPDATED_AT]])
