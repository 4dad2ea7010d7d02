"""What was in stock, and why: the fold of any prefix of the log, made by SQL.

Every question about a time becomes one about offsets: a *cut* says for each of a partition's
three topics which offset is the first that does not count. Events of the three commute, so any
cut is a state that the stock could have been in. All of an answer is read at one prefix.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from sqlalchemy import URL, ColumnElement, Connection, Engine, and_, case, false, func, or_, select

from core.partitioning import partition_for
from core.positions import format_position
from domain.columns import identity_hash_of
from domain.rows import Row
from ledger.books import APPLIED, TOPICS, Reach
from ledger.engine import open_reader
from ledger.reaches import reaches_of
from ledger.schema import event_table, refusal_table, stock_table

#: First offset that does not count, by number of the topic; one that is not there counts nothing.
Cut: TypeAlias = Mapping[int, int]
_of: Final = event_table.c
_MASK: Final = 2**64 - 1
#: What a datetime can say.
_FIRST: Final = -62_135_596_800_000_000
_LAST: Final = 253_402_300_799_999_999
_SIGNS: Final = (1, -1, -1, 1, 1)


def time_text(us: int) -> str:
    """Microseconds since the epoch as RFC 3339, to the millisecond where that says it all."""
    time = datetime(1970, 1, 1) + timedelta(microseconds=min(max(us, _FIRST), _LAST))  # noqa: DTZ001
    return time.isoformat(timespec="microseconds" if us % 1000 else "milliseconds") + "Z"


class NotThatFar(Exception):
    """The ledger has not come so far; the message says how far it has."""


class Prefix(NamedTuple):
    """Up to where an answer counts.

    cut: by topic's number. occurred: only what happened up to this time, µs since the epoch.
    """

    cut: Cut
    occurred: int | None = None


class At(NamedTuple):
    """A row as it was. position: token of the prefix; row is None where no event is in it."""

    sku: str
    location: str
    row: Row | None
    position: str


class Entry(NamedTuple):
    """A line of the ledger. Times are µs since the epoch; balance: on hand after it.

    refused: reason and detail, where it was refused.
    """

    topic: int
    part: int
    offset: int
    log_at: int
    recorded_at: int
    occurred_at: int | None
    outcome: int
    repeat_of: int | None
    kind: int | None
    quantity: int | None
    sku: str | None
    location: str | None
    source: str | None
    id: str | None
    reference: str | None
    reason: str | None
    actor: str | None
    balance: int | None = None
    refused: tuple[str, str] | None = None

    @property
    def change(self) -> int:
        """What it adds to on hand."""
        if self.kind is None or self.quantity is None or self.outcome != APPLIED:
            return 0
        return _SIGNS[self.kind] * self.quantity


_NAMES: Final = ("topic", "part", "off", *Entry._fields[3:17])
#: on_hand as SQL.
CHANGE: Final = _of.quantity * case((_of.kind.in_((1, 2)), -1), else_=1)
_SUMS: Final = [
    *(func.sum(case((_of.kind == kind, _of.quantity), else_=0)) for kind in range(5)),
    func.count(),
    func.sum(_of.crc),
    func.max(_of.recorded_at),
]


class Ledger:
    """Answers for one moment; made by `History.look`."""

    def __init__(self, connection: Connection, topics: Sequence[str], partitions: int) -> None:
        self.connection, self._topics, self._partitions = connection, topics, partitions

    def partition_of(self, sku: str) -> int:
        """Where all rows of a SKU are."""
        return partition_for(sku.encode(), self._partitions)

    def token(self, part: int, cut: Cut) -> str:
        """The position of a cut: what it counts, inclusive."""
        return format_position(
            {(self._topics[topic], part): end - 1 for topic, end in cut.items() if end > 0}
        )

    # ---- which prefix

    def ends(self) -> dict[tuple[int, int], int]:
        """Next offset of each topic-partition, by topic's number and partition."""
        return {at: reach.next_offset for at, reach in reaches_of(self.connection).items()}

    def now(self, part: int) -> Cut:
        """All that is in the ledger."""
        places = reaches_of(self.connection, part)
        return {topic: place.next_offset for (topic, _), place in places.items()}

    def until(self, part: int, time: int) -> Cut:
        """The prefix before the first record with a later log_at, of each topic.

        Raises:
            NotThatFar: a record of this time may still come.
        """
        places = self._places(part)
        late = {t: place for t, place in places.items() if place.complete_until < time}
        if late:
            behind = min(place.complete_until for place in late.values())
            raise NotThatFar(
                f"The ledger is whole up to {time_text(behind)}; what was recorded until "
                f"{time_text(time)} may still come."
            )
        return {t: self._offset_after(t, part, time, place) for t, place in places.items()}

    def at(self, part: int, offsets: Mapping[int, int]) -> Cut:
        """The prefix up to and with these offsets, by topic's number.

        Raises:
            NotThatFar: the ledger has not read so far.
        """
        places = self._places(part)
        for topic, offset in offsets.items():
            if (place := places[topic]).next_offset <= offset:
                raise NotThatFar(
                    f"The ledger is at {place.next_offset} of {self._topics[topic]}-{part}, "
                    f"and not beyond {offset}."
                )
        return {topic: offset + 1 for topic, offset in offsets.items()}

    def _places(self, part: int) -> dict[int, Reach]:
        found = reaches_of(self.connection, part)
        return {topic: found.get((topic, part), Reach()) for topic in range(len(TOPICS))}

    def _offset_after(self, topic: int, part: int, time: int, place: Reach) -> int:
        """The first offset whose log_at is later; log_at never goes back, so halves will do."""
        if place.log_at <= time:
            return place.next_offset
        low, high = 0, place.next_offset
        while low < high:
            middle = (low + high) // 2
            found = self.connection.execute(
                select(_of.off, _of.log_at)
                .where(
                    _of.topic == topic,
                    _of.part == part,
                    _of.off >= middle,
                )
                .order_by(_of.off)
                .limit(1)
            ).one_or_none()
            if found is None or found.log_at > time:
                high = middle
            else:
                low = found.off + 1
        return low

    # ---- rows

    def row(self, sku: str, location: str, prefix: Prefix) -> At:
        """One row as it was."""
        query = select(*_SUMS).where(*of_row(sku, location), *counted(prefix))
        row = _row(self.connection.execute(query).one())
        return At(sku, location, row, self.token(self.partition_of(sku), prefix.cut))

    def rows_of(self, sku: str, prefix: Prefix) -> list[At]:
        """All rows of a SKU that had an event by then, by location."""
        query = (
            select(_of.location, *_SUMS)
            .where(_of.sku == sku, *counted(prefix))
            .group_by(_of.location)
            .order_by(_of.location)
        )
        token = self.token(self.partition_of(sku), prefix.cut)
        return [
            At(sku, location, _row(sums), token)
            for location, *sums in self.connection.execute(query)
        ]

    def stock(self) -> Iterator[tuple[str, str, Row]]:
        """The sums as they are kept: SKU, location, row. In the order of SKU and location."""
        query = select(stock_table).order_by(stock_table.c.sku, stock_table.c.location)
        for sku, location, _, *sums in self.connection.execute(query):
            if (row := _row(sums)) is not None:
                yield sku, location, row

    # ---- facts

    def facts(self, source: str, ident: str) -> list[Entry]:
        """What became of a fact, each time that it came; oldest first."""
        query = ENTRIES.where(
            _of.identity == identity_hash_of(source, ident),
            _of.source == source,
            _of.id == ident,
        ).order_by(_of.log_at, _of.topic, _of.part, _of.off)
        return [entry_of(line) for line in self.connection.execute(query)]


_SAME_RECORD: Final = and_(
    refusal_table.c.topic == _of.topic,
    refusal_table.c.part == _of.part,
    refusal_table.c.off == _of.off,
)
#: Lines that `entry_of` reads.
ENTRIES: Final = select(
    *(_of[name] for name in _NAMES), refusal_table.c.reason, refusal_table.c.detail
).select_from(event_table.outerjoin(refusal_table, _SAME_RECORD))


def entry_of(line: Sequence[Any]) -> Entry:
    """Read a line of `ENTRIES`."""
    *fields, reason, detail = line
    return Entry._make([*fields, None, None if reason is None else (reason, detail)])


def of_row(sku: str, location: str) -> tuple[ColumnElement[bool], ...]:
    """Conditions for the lines of one row, counted or not."""
    return _of.sku == sku, _of.location == location


def within(cut: Cut) -> ColumnElement[bool]:
    """Whether a line is of the prefix."""
    parts = [and_(_of.topic == topic, _of.off < end) for topic, end in cut.items()]
    return or_(*parts) if parts else false()


def counted(prefix: Prefix) -> list[ColumnElement[bool]]:
    """Conditions for the lines that count up to a prefix."""
    conditions = [_of.outcome == APPLIED, within(prefix.cut)]
    if prefix.occurred is not None:
        conditions.append(_of.occurred_at <= prefix.occurred)
    return conditions


def _row(sums: Sequence[Any]) -> Row | None:
    """PostgreSQL gives sums of bigint as decimals, however small."""
    *quantities, events, checksum, updated_at = sums
    if not events:
        return None
    numbers = *quantities, events, int(checksum) & _MASK, int(updated_at) // 1000
    return Row(*map(int, numbers))


class History:
    """The way to the questions. Blocks: look in a thread.

    Args:
        engine: of `ledger.engine.open_reader`.
        topics: full names in the order of `ledger.books.TOPICS`.
        partitions: of each.
    """

    def __init__(self, engine: Engine, topics: Sequence[str], partitions: int) -> None:
        self._engine, self._topics, self._partitions = engine, topics, partitions

    @contextmanager
    def look(self) -> Iterator[Ledger]:
        """For as long as this is open, all answers are of one prefix; raises DBAPIError."""
        with self._engine.begin() as connection:
            yield Ledger(connection, self._topics, self._partitions)

    @classmethod
    def opened(
        cls, database: URL, application: str, topics: Sequence[str], partitions: int
    ) -> History:
        """With connections of its own; `application` is how they call themselves."""
        return cls(open_reader(database, application), topics, partitions)

    def close(self) -> None:
        """After the last question."""
        self._engine.dispose()
