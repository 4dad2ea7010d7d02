"""What the stock must be, worked out from the log by code that the service does not share.

Written from the contract (the event, duplicates, refusals) with the standard
library alone: its own reader (`dev/oracle/reading.py`), its own murmur2, a plain dict for repeats.
A mistake in the service cannot hide behind the same mistake here.

`make demo` and the tests feed it every record of the source topics, in offset
order within each partition, and compare its rows with the service's. Since it
keeps each key's history, it also knows what the row was at any position.
"""

import zlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dev.oracle.reading import ROLES, Fact, Refuse, read
from dev.oracle.rows import NOTHING, Key, Row

MOST_BYTES = 2**20
Place = tuple[str, int, int]
"""(topic, partition, offset): where a record stands in the log."""


class Record(NamedTuple):
    """One record of a topic as it lies in the log; `timestamp_ms` is the broker's."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.topic, self.partition, self.offset

    @property
    def size(self) -> int:
        """Bytes of key, value and headers, each header two more."""
        named = sum(
            len(name.encode(errors="surrogateescape")) + len(its or b"") + 2
            for name, its in self.headers
        )
        return len(self.key or b"") + len(self.value or b"") + named


def murmur2(data: bytes) -> int:
    """Austin Appleby's hash, 32 bits, as Kafka's Java client uses it to place a key."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(sku: str, count: int) -> int:
    """The partition in which all rows of a SKU live."""
    return (murmur2(sku.encode()) & 0x7FFFFFFF) % count


def sku_in(partition: int, count: int) -> str:
    """A SKU of this partition that nobody sells: to ask the partition how it is."""
    return next(
        sku
        for sku in (f"PROBE-{n}" for n in range(1_000 * count))
        if partition_of(sku, count) == partition
    )


@dataclass
class History:
    """One key's row after each of its events in one topic."""

    offsets: list[int] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add(self, offset: int, row: Row) -> None:
        """Take one more event, alone in `row`."""
        self.rows.append(self.rows[-1].plus(row) if self.rows else row)
        self.offsets.append(offset)

    def at(self, offset: int) -> Row:
        """The sum of the events up to and with this offset."""
        count = bisect_right(self.offsets, offset)
        return self.rows[count - 1] if count else NOTHING


@dataclass
class Oracle:
    """The fold of the log, as the contract's section 2 words it.

    Attributes:
        partitions: of each source topic.
        prefix: what stands before the names of the three source topics.
        window: an event's repeats are known this many offsets back.
        rules: number of those that it judges by, 2 or 3.
        history: each key's events by topic.
        repeated: places of records that say again what was said before.
        refused: the contract's reason by place of each record it refuses.
        next: the next offset to feed, by topic and partition.
        applied: events counted, by topic.
    """

    partitions: int
    prefix: str = ""
    window: int = 100_000
    rules: int = 2
    history: dict[Key, dict[str, History]] = field(default_factory=dict)
    repeated: set[Place] = field(default_factory=set)
    refused: dict[Place, str] = field(default_factory=dict)
    records: dict[Place, Record] = field(default_factory=dict)
    next: dict[tuple[str, int], int] = field(default_factory=dict)
    applied: Counter[str] = field(default_factory=Counter)
    _seen: dict[tuple[str, int, str, str], tuple[int, tuple[Any, ...]]] = field(
        default_factory=dict
    )

    @property
    def topics(self) -> list[str]:
        """Full names of the source topics."""
        return [self.prefix + role for role in ROLES]

    def feed(self, record: Record) -> None:
        """Take the next record of its topic and partition."""
        topic, partition, offset = record.place
        self.next[topic, partition] = offset + 1
        try:
            fact = self._judge(record)
        except Refuse as why:
            self.refused[record.place] = str(why)
            self.records[record.place] = record
            return
        if fact is None:
            self.repeated.add(record.place)
            return
        self.applied[topic] += 1
        checksum = zlib.crc32(f"{fact.source}\x00{fact.id}".encode())
        row = Row(events=1, checksum=checksum, updated_at=record.timestamp_ms)
        column, amount = fact.effect(self.rules)
        row = row._replace(**{column: amount})
        topics = self.history.setdefault((fact.sku, fact.location), {})
        topics.setdefault(topic, History()).add(offset, row)

    def _judge(self, record: Record) -> Fact | None:
        """The fact in a record; None if it repeats one within the window."""
        if record.size > MOST_BYTES:
            raise Refuse("too_large")
        fact = read(
            record.value, record.topic.removeprefix(self.prefix), record.headers, self.rules
        )
        if not record.key:
            raise Refuse("missing_key")
        if record.key != fact.sku.encode():
            raise Refuse("key_mismatch")
        if record.partition != partition_of(fact.sku, self.partitions):
            raise Refuse("misrouted")
        identity = record.topic, record.partition, fact.source, fact.id
        before = self._seen.get(identity)
        if before and before[0] >= record.offset - self.window:
            if before[1] != fact.content:
                raise Refuse("id_conflict")
            return None
        self._seen[identity] = record.offset, fact.content
        return fact

    def row(self, key: Key, position: Mapping[tuple[str, int], int] | None = None) -> Row:
        """A key's row now, or as it was when exactly these positions were handled."""
        partition = partition_of(key[0], self.partitions)
        total = NOTHING
        for topic, history in self.history.get(key, {}).items():
            offset = history.offsets[-1]
            if position is not None:
                offset = position.get((topic, partition), -1)
            total = total.plus(history.at(offset))
        return total

    def rows(self) -> dict[Key, Row]:
        """Every row there must be."""
        return {key: self.row(key) for key in self.history}

    @property
    def fed(self) -> int:
        """Records read: counted, repeated and refused."""
        return sum(self.applied.values()) + len(self.repeated) + len(self.refused)
