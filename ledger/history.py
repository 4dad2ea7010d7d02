"""What was in stock, and why: questions to the ledger, all answered at one moment.

Which prefix an answer is of: `ledger/questions/cuts.py`. Rows: `ledger/questions/rows.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import URL, Connection, Engine, and_, select, tuple_
from sqlalchemy.exc import DBAPIError

from core.partitioning import partition_for
from core.positions import format_position
from domain.columns import identity_hash_of
from domain.rows import ROW_FIELDS, Row
from ledger.engine import open_reader, unavailable
from ledger.lines import APPLIED, TOPICS
from ledger.questions import cuts
from ledger.questions.cuts import Extent
from ledger.questions.prefixes import BeforeHistory, Cut, Cuts, NotThatFar, Prefix
from ledger.questions.rows import Whose, row_at, rows_between
from ledger.reaches import reaches_of
from ledger.schema import event_table, refusal_table, stock_table
from ledger.sums import change_of, row_from
from ledger.upkeep import building

_of: Final = event_table.c
#: Keys of one page that are looked at for it; most of them may be of rows that did not fit.
_MOST_LOOKED_AT: Final = 5_000
#: Behind every text that begins so: no name holds it.
_LAST_CHARACTER: Final = "\U0010ffff"


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
    field: int | None
    amount: int | None
    balance: int | None = None
    refused: tuple[str, str] | None = None

    @property
    def change(self) -> int:
        """What it adds to on hand."""
        said = self.kind, self.quantity, self.field, self.amount
        return change_of(*said) if self.outcome == APPLIED else 0


_NAMES: Final = ("topic", "part", "off", *Entry._fields[3:19])


class ListWish(NamedTuple):
    """Which rows. after: go on behind this key."""

    location: str | None = None
    sku_prefix: str = ""
    on_hand_below: int | None = None
    on_hand_above: int | None = None
    limit: int = 100
    after: Whose | None = None


class ListPage(NamedTuple):
    """Rows in the order of SKU and location. next: `after` of the next page, None: no more."""

    rows: list[At]
    next: Whose | None


class Ledger:
    """Answers for one moment; made by `History.look`."""

    def __init__(self, connection: Connection, topics: Sequence[str], partitions: int) -> None:
        self.connection, self._partitions = connection, partitions
        self.topics = dict(enumerate(topics))
        self._places: dict[int | None, dict[tuple[int, int], Extent]] = {}

    def partition_of(self, sku: str) -> int:
        """Where all rows of a SKU are."""
        return partition_for(sku.encode(), self._partitions)

    def token(self, part: int, cut: Cut) -> str:
        """The position of a cut: what it counts, inclusive."""
        return self.token_of({(topic, part): end for topic, end in cut.items()})

    def token_of(self, all_cuts: Cuts) -> str:
        """The same of several partitions."""
        return format_position(
            {(self.topics[t], p): end - 1 for (t, p), end in all_cuts.items() if end > 0}
        )

    # ---- which prefix

    def places(self, part: int | None) -> dict[tuple[int, int], Extent]:
        """How far each topic-partition is; of one partition, or of all.

        Raises:
            NotThatFar: some have not been opened yet.
        """
        if part not in self._places:
            found = cuts.extents_of(self.connection, part)
            parts = range(self._partitions) if part is None else [part]
            missing = {p for p in parts for t in range(len(TOPICS)) if (t, p) not in found}
            if missing:
                raise NotThatFar(f"The ledger has not begun with partition {min(missing)} yet.")
            self._places[part] = found
        return self._places[part]

    def begins(self, part: int | None) -> int:
        """From when on all is known, µs since the epoch; 0: from the first record on."""
        return cuts.begins(self.places(part))

    def ends(self) -> dict[tuple[int, int], int]:
        """Next offset of each topic-partition, by topic's number and partition."""
        return {at: reach.next_offset for at, reach in reaches_of(self.connection).items()}

    def now(self, part: int) -> Cut:
        """All that is in the ledger."""
        return cuts.of_part(self.all_now(part), part)

    def until(self, part: int, time: int) -> Cut:
        """The prefix before the first record with a later log_at, of each topic.

        Raises:
            NotThatFar: a record of this time may still come.
            BeforeHistory: the lines of then are gone.
        """
        return cuts.of_part(self.all_until(time, part), part)

    def at(self, part: int, offsets: Mapping[int, int]) -> Cut:
        """The prefix up to and with these offsets, by topic's number.

        Raises:
            NotThatFar: the ledger has not read so far.
            BeforeHistory: the lines of then are gone.
        """
        found = self.all_at({(topic, part): off for topic, off in offsets.items()}, part)
        return cuts.of_part(found, part)

    def all_now(self, part: int | None = None) -> Cuts:
        """As `now`, of all partitions."""
        return cuts.ends(self.places(part))

    def all_until(self, time: int, part: int | None = None, *, whole_to: int | None = None) -> Cuts:
        """As `until`, of all partitions; `whole_to`: see `cuts.until`."""
        return cuts.until(self.connection, self.places(part), time, whole_to)

    def all_at(self, offsets: Mapping[tuple[int, int], int], part: int | None = None) -> Cuts:
        """As `at`, of all partitions."""
        return cuts.at(self.places(part), offsets, self.topics)

    def handled(self, offsets: Mapping[tuple[int, int], int], part: int | None = None) -> None:
        """Make sure that the ledger has read this far.

        Raises:
            NotThatFar: it has not.
        """
        if offsets:
            cuts.handled(self.places(part), offsets, self.topics)

    def held(self, all_cuts: Cuts, part: int | None = None) -> None:
        """Make sure that a prefix of an earlier answer can still be told.

        Raises:
            BeforeHistory: its lines went meanwhile.
        """
        extents = self.places(part)
        for at, end in all_cuts.items():
            if at in extents and 0 < end < extents[at].history_from:
                raise BeforeHistory(cuts.begins(extents))

    # ---- rows

    def row(self, sku: str, location: str, prefix: Prefix) -> At:
        """One row as it was."""
        part = self.partition_of(sku)
        row = row_at(self.connection, self.places(part), sku, location, prefix)
        return At(sku, location, row, self.token(part, prefix.cut))

    def rows_of(self, sku: str, prefix: Prefix) -> list[At]:
        """All rows of a SKU that had an event by then, by location."""
        part = self.partition_of(sku)
        of = stock_table.c
        query = select(of.sku, of.location).where(of.sku == sku).order_by(of.location)
        keys = [(sku, location) for sku, location in self.connection.execute(query)]
        all_cuts = {(topic, part): end for topic, end in prefix.cut.items()}
        token = self.token(part, prefix.cut)
        found = self._rows(keys, all_cuts, prefix.occurred, part=part)
        return [At(*key, row, token) for key, row in found.items()]

    def page(self, wish: ListWish, all_cuts: Cuts, occurred: int | None) -> ListPage:
        """Rows of all SKUs as they were: a page, which may hold fewer than wished."""
        found: list[At] = []
        after, looked = wish.after, 0
        while len(found) < wish.limit and looked < _MOST_LOOKED_AT:
            wanted = wish.limit - len(found)
            keys = self._keys(wish, after, wanted)
            rows = self._rows(keys, all_cuts, occurred, location=wish.location)
            found += [At(*key, row, "") for key, row in rows.items() if _fits(wish, row)]
            looked += len(keys)
            if len(keys) < wanted:
                return ListPage(found, None)
            after = keys[-1]
        return ListPage(found, after)

    def _keys(self, wish: ListWish, after: Whose | None, count: int) -> list[Whose]:
        of = stock_table.c
        query = select(of.sku, of.location)
        if wish.location is not None:
            query = query.where(of.location == wish.location)
        if wish.sku_prefix:
            query = query.where(begins_with(of.sku, wish.sku_prefix))
        if after is not None:
            query = query.where(tuple_(of.sku, of.location) > tuple_(*after))
        query = query.order_by(of.sku, of.location).limit(count)
        return [(sku, location) for sku, location in self.connection.execute(query)]

    def _rows(
        self,
        keys: Sequence[Whose],
        all_cuts: Cuts,
        occurred: int | None,
        part: int | None = None,
        location: str | None = None,
    ) -> dict[Whose, Row]:
        if not keys:
            return {}
        return rows_between(
            *(self.connection, self.places(part), keys, all_cuts, occurred, location),
            self.partition_of,
        )

    def stock(self) -> Iterator[tuple[str, str, Row]]:
        """The sums as they are kept: SKU, location, row. In the order of SKU and location."""
        of = stock_table.c
        sums_of_row = (of[name] for name in ROW_FIELDS)
        query = select(of.sku, of.location, *sums_of_row).order_by(of.sku, of.location)
        for sku, location, *sums in self.connection.execute(query):
            if (row := row_from(sums)) is not None:
                yield sku, location, row

    # ---- facts

    def facts(self, source: str, ident: str) -> Sequence[Entry]:
        """What became of a fact, each time that it came; oldest first."""
        if "\x00" in source + ident:
            return []  # no record is kept under such a name, and PostgreSQL takes no such question
        query = ENTRIES.where(
            _of.identity == identity_hash_of(source, ident),
            _of.source == source,
            _of.id == ident,
        ).order_by(_of.log_at, _of.topic, _of.part, _of.off)
        return [entry_of(line) for line in self.connection.execute(query)]


def begins_with(column: Any, prefix: str) -> Any:
    """The condition that a text begins so, in a form that an index serves."""
    return and_(column >= prefix, column < prefix + _LAST_CHARACTER)


def _fits(wish: ListWish, row: Row) -> bool:
    below, above = wish.on_hand_below, wish.on_hand_above
    return (below is None or row.on_hand < below) and (above is None or row.on_hand > above)


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


class History:
    """The way to the questions. Blocks: look in a thread.

    Args:
        engine: of `ledger.engine.open_reader`.
        topics: full names in the order of `ledger.lines.TOPICS`.
        partitions: of each.
    """

    def __init__(self, engine: Engine, topics: Sequence[str], partitions: int) -> None:
        self._engine, self._topics, self.partitions = engine, topics, partitions
        self._is_built = False

    @contextmanager
    def look(self) -> Iterator[Ledger]:
        """For as long as this is open, all answers are of one prefix.

        Raises:
            Building: the indexes are not there yet.
            LedgerUnavailable: the database cannot be used.
        """
        try:
            with self._engine.begin() as connection:
                self._is_built = self._is_built or building.check_built(connection)
                yield Ledger(connection, self._topics, self.partitions)
        except DBAPIError as error:
            raise unavailable(self._engine.url, error) from error

    @classmethod
    def opened(
        cls, database: URL, application: str, topics: Sequence[str], partitions: int
    ) -> History:
        """With connections of its own; `application` is how they call themselves."""
        return cls(open_reader(database, application), topics, partitions)

    def close(self) -> None:
        """After the last question."""
        self._engine.dispose()
