"""One partition's stock, counted again from its first record by another fold.

Shared with the table: how record batches are read (`wire/`), and the rules for one record with
its hashes (`domain/columns.py`). Not shared: repetitions are found in a plain dictionary of all
that was accepted within the window, sums are Python's own numbers in a list for each row, and
positions and counts are kept here. So a mistake in the table's window, sums, cache, commit,
restore or following shows; one in the rules for a single record does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeAlias

from core.columns import Columns
from core.fold import CONFLICT
from core.records import Address, Record
from domain.columns import columns
from domain.rows import CHECKSUM, EVENT_COUNT, ROW_FIELDS, UPDATED_AT, Row
from domain.rules.sets import RuleSet
from ledger.lines import APPLIED, REFUSED, REPEATED

#: The numbers of a row, in the order of its fields; the checksum whole.
Totals: TypeAlias = list[int]
_WIDTH: Final = len(ROW_FIELDS)
#: Names beyond the window that may be kept, so that they are looked through seldom.
_SPARE: Final = 10_000
_MASK: Final = 2**64 - 1


class Recounted(NamedTuple):
    """What became of one record. field is -1 where no rule could read it; then key is b"".

    field, amount: which number of the row it changes, and by how much. content, identity: as
    in `domain/columns.py`. repeat_of: offset of the event that it says again, or of another
    event of the same name; -1 for none. why: reason of a refusal.
    """

    topic: str
    offset: int
    outcome: int
    key: bytes
    time_ms: int
    field: int = -1
    amount: int = 0
    crc: int = 0
    content: int = 0
    identity: int = 0
    repeat_of: int = -1
    why: str = ""


#: Is told of every record, in the order of their offsets.
See: TypeAlias = Callable[[Recounted, Record], None]


class Recount:
    """Rows, counts and positions of a partition.

    Args:
        topics: role by full name.
        partition: which one. partitions: of each topic.
        window: W, in offsets.
        rules: of the version.
        see: is told of every record, which takes about as long as counting it.
    """

    def __init__(
        self,
        topics: Mapping[str, str],
        partition: int,
        partitions: int,
        window: int,
        rules: RuleSet,
        see: See | None = None,
    ) -> None:
        self._addresses = {
            topic: Address(topic, role, partition, partitions) for topic, role in topics.items()
        }
        self._window, self._rules, self._see = window, rules, see
        self._accepted: dict[str, dict[int, tuple[int, int]]] = {topic: {} for topic in topics}
        self.rows: dict[bytes, Totals] = {}
        self.counts = {topic: [0, 0, 0] for topic in topics}
        self.next = dict.fromkeys(topics, 0)
        #: What came after `keep_apart`: not in rows and counts.
        self.apart: list[Recounted] = []
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
        found = columns(self._addresses[topic], records, self._rules)
        self.records += len(records)
        self.next[topic] = records[-1][0] + 1
        if self._keeps_apart or self._see is not None:
            self._add_each(topic, records, found)
        else:
            self._add_all(topic, found)
        self._forget(topic)

    def _add_all(self, topic: str, found: Columns) -> None:
        """As `_add_each`, in one quick loop."""
        accepted, window = self._accepted[topic], self._window
        rows, counts = self.rows, self.counts[topic]
        counts[REFUSED] += len(found.refused)
        for key, offset, time_ms, identity, content, crc, field, amount in _events(found):
            before = accepted.get(identity)
            if before is not None and before[0] >= offset - window:
                counts[REPEATED if before[1] == content else REFUSED] += 1
                continue
            accepted[identity] = offset, content
            counts[APPLIED] += 1
            row = rows.get(key)
            if row is None:
                row = rows[key] = [0] * _WIDTH
            row[field] += amount
            row[EVENT_COUNT] += 1
            row[CHECKSUM] += crc
            if time_ms > row[UPDATED_AT]:
                row[UPDATED_AT] = time_ms

    def _add_each(self, topic: str, records: Sequence[Record], found: Columns) -> None:
        accepted, window = self._accepted[topic], self._window
        outcomes = [
            Recounted(
                topic, letter.offset, REFUSED, b"", letter.timestamp_ms, why=str(letter.reason)
            )
            for letter in found.refused
        ]
        for key, offset, time_ms, identity, content, crc, field, amount in _events(found):
            before = accepted.get(identity)
            outcome, repeat_of, why = APPLIED, -1, ""
            if before is not None and before[0] >= offset - window:
                outcome, repeat_of = REPEATED, before[0]
                if before[1] != content:
                    outcome, why = REFUSED, CONFLICT.reason
            else:
                accepted[identity] = offset, content
            what = field, amount, crc, content, identity, repeat_of, why
            outcomes.append(Recounted(topic, offset, outcome, key, time_ms, *what))
        outcomes.sort(key=attrgetter("offset"))
        for counted, record in zip(outcomes, records, strict=True):
            if self._see is not None:
                self._see(counted, record)
            if self._keeps_apart:
                self.apart.append(counted)
                continue
            self.counts[topic][counted.outcome] += 1
            if counted.outcome == APPLIED:
                _add(self.rows, counted)

    def _forget(self, topic: str) -> None:
        """What nothing that comes can repeat any more; now and then, since it takes a while."""
        accepted = self._accepted[topic]
        if len(accepted) > 2 * self._window + _SPARE:
            floor = self.next[topic] - self._window
            kept = {known: at for known, at in accepted.items() if at[0] >= floor}
            self._accepted[topic] = kept

    def reached(self, positions: Mapping[str, int]) -> None:
        """All below these offsets was given: what else there is are markers."""
        for topic, at in positions.items():
            self.next[topic] = max(self.next[topic], at)

    # ---- as a copy should be that is at a position

    def at(self, positions: Mapping[str, int]) -> Expected:
        """What a copy must hold whose next offsets these are: at or behind `keep_apart`'s."""
        more: dict[bytes, Totals] = {}
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


def _events(found: Columns) -> Iterator[tuple[Any, ...]]:
    names = ("offset", "time_ms", "identity", "content", "crc", "field", "amount")
    numbers = (found.events[name].tolist() for name in names)
    return zip(found.keys, *numbers, strict=True)


def _add(rows: dict[bytes, Totals], counted: Recounted) -> None:
    row = rows.setdefault(counted.key, [0] * _WIDTH)
    row[counted.field] += counted.amount
    row[EVENT_COUNT] += 1
    row[CHECKSUM] += counted.crc
    row[UPDATED_AT] = max(row[UPDATED_AT], counted.time_ms)


class Expected(NamedTuple):
    """Rows and counts of a prefix. more: rows that differ from `base`."""

    base: Mapping[bytes, Totals]
    more: Mapping[bytes, Totals]
    counts: Mapping[str, tuple[int, ...]]

    def row(self, key: bytes) -> Row | None:
        """A row as it must be; None where no event has named it."""
        numbers = self.tally(key)
        return None if numbers is None else as_row(numbers)

    def tally(self, key: bytes) -> Totals | None:
        """The same with all bits of the checksum."""
        return self.more.get(key) or self.base.get(key)

    def keys(self) -> Iterator[bytes]:
        """Of all rows that must be there."""
        yield from self.base
        yield from (key for key in self.more if key not in self.base)


def as_row(numbers: Totals) -> Row:
    """As it is stored."""
    return Row(*[n & _MASK if at == CHECKSUM else n for at, n in enumerate(numbers)])
