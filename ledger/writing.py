"""The one way into the ledger: lines, sums and positions in one transaction, or nothing.

1. Fence: `UPDATE position … WHERE next_offset = <where these lines begin>`. Another one wrote
   them already: no row is changed, everything is rolled back, and who lost reads the position.
2. Append the lines. 3. Add the sums to `stock`, in the order of their keys. 4. Commit.

A zombie that wins the fence does no harm: it wrote what the owner would have written. A commit
without an answer is harmless too: the next fence tells whether it was made.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from msgspec.structs import asdict
from sqlalchemy import Column, Connection, Engine, Table, bindparam, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.schema import CreateTable

from domain.rows import ROW_FIELDS
from ledger.books import Posting, Reach
from ledger.engine import driver_of, is_locked
from ledger.lines import LineColumns, as_columns
from ledger.schema import (
    change_table,
    event_table,
    position_table,
    refusal_table,
)
from ledger.totals import changes_of
from ledger.upkeep import building

#: Lines of one transaction.
MOST_LINES: Final = 20_000
#: How often the holder of a lock that does not let go is ended before we give up.
_TRIES: Final = 5


class FencedOut(Exception):
    """Another process has written from this position on: read where it came to."""


class OutOfRange(Exception):
    """A number does not fit its column: a bug, since PostgreSQL would cut it off in silence."""


class LedgerWriter:
    """Commits postings. Blocks: call it in a thread of its own.

    Args:
        engine: of `ledger.engine.open_writer`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keeps_sums = False

    def commit(self, batch: Sequence[Posting]) -> None:
        """Write all of them, or nothing.

        Raises:
            FencedOut: somebody else wrote one of these topic-partitions.
            DBAPIError: the database did not take it, or did not answer. Read the positions.
        """
        # Everybody takes locks in one order.
        batch = sorted(batch, key=itemgetter(1, 0))
        for tries in range(_TRIES):
            try:
                with self._engine.begin() as connection:
                    # Once they are kept, they are for ever.
                    keeps_sums = self._keeps_sums or building.lock(connection)
                    self._write(connection, batch, keeps_sums)
                self._keeps_sums = keeps_sums
                return
            except OperationalError as error:
                if not is_locked(error) or tries + 1 == _TRIES:
                    raise
                self._end_holders(batch)

    def _write(self, connection: Connection, batch: Sequence[Posting], keeps_sums: bool) -> None:
        for posting in batch:
            fence(connection, posting)
        lines = [
            list(chain.from_iterable(posting.events[at] for posting in batch))
            for at in range(len(event_table.columns))
        ]
        append(connection, event_table, lines)
        refusals = [line for posting in batch for line in posting.refusals]
        append(connection, refusal_table, as_columns(refusals))
        if keeps_sums:
            add_totals(connection, lines)

    def _end_holders(self, batch: Sequence[Posting]) -> None:
        """End sessions of ledgers that hold these positions and do not get on.

        Whoever freezes inside COPY keeps his locks: no timeout of PostgreSQL's ends him there.
        """
        with self._engine.begin() as connection:
            for posting in batch:
                connection.execute(_END_HOLDERS, {"topic": posting.topic, "part": posting.part})


# A row that a transaction has changed and not committed carries its number (xmax), and the
# transaction holds a lock of that number. Nobody's sessions but a ledger's are ended.
_END_HOLDERS: Final = text(
    """
    SELECT pg_terminate_backend(holder.pid)
    FROM position AS at
    JOIN pg_locks AS held ON held.locktype = 'transactionid' AND held.granted
        AND held.transactionid = at.xmax
    JOIN pg_stat_activity AS holder ON holder.pid = held.pid
    WHERE at.topic = :topic AND at.part = :part AND holder.pid <> pg_backend_pid()
        AND holder.application_name = current_setting('application_name')
    """
)

_AFTER: Final[dict[str, Any]] = {name: bindparam(f"new_{name}") for name in Reach.__struct_fields__}
_AT_COLUMNS: Final = [
    position_table.c[name] for name in ("topic", "part", *Reach.__struct_fields__)
]
_FENCE: Final = (
    position_table.update()
    .where(
        position_table.c.topic == bindparam("at_topic"),
        position_table.c.part == bindparam("at_part"),
        position_table.c.next_offset == bindparam("at_offset"),
    )
    .values(_AFTER)
)


def fence(connection: Connection, posting: Posting) -> None:
    """Move a position on, if it still is where this posting begins.

    Raises:
        FencedOut: it is not.
    """
    values = {f"new_{name}": value for name, value in asdict(posting.after).items()}
    values |= {"at_topic": posting.topic, "at_part": posting.part}
    values["at_offset"] = posting.before.next_offset
    after = (posting.topic, posting.part, *asdict(posting.after).values())
    check_ranges(_AT_COLUMNS, as_columns([after]))
    if connection.execute(_FENCE, values).rowcount != 1:
        raise FencedOut(
            f"Topic {posting.topic}, partition {posting.part} is not at offset "
            f"{posting.before.next_offset} any more."
        )


def append(connection: Connection, table: Table, lines: LineColumns) -> None:
    """Add lines to a table; all columns, in its order. The one place where databases differ.

    Raises:
        OutOfRange: before anything is written.
        DBAPIError: the database did not take them.
    """
    if not lines or not lines[0]:
        return
    check_ranges(table.columns, lines)
    # Python's sqlite3 looks for an adapter of each None, which takes as long as to write three
    # numbers; so what is NULL in all lines is not mentioned.
    given = [
        (column, values)
        for column, values in zip(table.columns, lines, strict=True)
        if values[0] is not None or values.count(None) < len(values)
    ]
    names = ", ".join(f'"{column.name}"' for column, _ in given)
    each = zip(*(values for _, values in given), strict=True)
    # On the connection of this transaction, which the fence has begun.
    with driver_of(connection) as driver, closing(driver.cursor()) as cursor:
        if connection.dialect.name == "sqlite":
            marks = ", ".join("?" * len(given))
            cursor.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", each)  # noqa: S608  our names
            return
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types([_POSTGRESQL[column.type.__class__.__name__] for column, _ in given])
            for line in each:
                copy.write_row(line)


_POSTGRESQL: Final = {
    "SmallInteger": "int2",
    "Integer": "int4",
    "BigInteger": "int8",
    "Text": "text",
    "LargeBinary": "bytea",
}
#: Of `array`, which takes what the column takes, and looks at each number in C.
_CODES: Final = {"SmallInteger": "h", "Integer": "i", "BigInteger": "q"}
_NOTHING: Final = type(None)


def check_ranges(columns: Iterable[Column[Any]], lines: LineColumns) -> None:
    """Refuse numbers that a column has no room for, and what is no number there.

    SQLite would store them all the same, and psycopg's binary COPY cuts them to the column's
    width without a word.

    Raises:
        OutOfRange: names the column.
    """
    for column, values in zip(columns, lines, strict=True):
        code = _CODES.get(column.type.__class__.__name__)
        if code is None:
            continue
        kinds = set(map(type, values))
        if not kinds <= {int, _NOTHING}:
            raise OutOfRange(f"{column.table.name}.{column.name} was given {kinds - {int}}.")
        if int not in kinds:
            continue
        numbers = [value for value in values if value is not None] if len(kinds) > 1 else values
        try:
            array(code, numbers)
        except OverflowError:
            most = max(numbers, key=abs)
            raise OutOfRange(f"{column.table.name}.{column.name} has no room for {most}.") from None


_SUMS: Final = [name for name in ROW_FIELDS if name != "updated_at"]
_NAMES: Final = ", ".join(column.name for column in change_table.columns)
# The greater of two is max() in SQLite and greatest() in PostgreSQL.
_MERGE: Final = (
    "ON CONFLICT (sku, location) DO UPDATE SET "
    + ", ".join(f"{name} = stock.{name} + excluded.{name}" for name in _SUMS)
    + ", updated_at = CASE WHEN excluded.updated_at > stock.updated_at "
    "THEN excluded.updated_at ELSE stock.updated_at END"
)
_MARKS: Final = ", ".join("?" * len(change_table.columns))
_ADD_EACH: Final = f"INSERT INTO stock ({_NAMES}) VALUES ({_MARKS}) {_MERGE}"  # noqa: S608  our names
_ADD_ALL: Final = text(
    f"INSERT INTO stock ({_NAMES}) SELECT {_NAMES} FROM stock_change "  # noqa: S608  our names
    f"ORDER BY sku, location {_MERGE}"
)


def add_totals(connection: Connection, lines: LineColumns) -> None:
    """Add what lines change to rows of stock, in the order of their keys.

    PostgreSQL takes them all in one statement, from a table of this session's own: a statement
    for each row takes three times as long.
    """
    changes = changes_of(lines)
    if not changes:
        return
    if connection.dialect.name == "sqlite":
        check_ranges(change_table.columns, as_columns(changes))
        connection.exec_driver_sql(_ADD_EACH, changes)
        return
    connection.execute(_MAKE_CHANGE_TABLE)
    append(connection, change_table, as_columns(changes))
    connection.execute(_ADD_ALL)


_MAKE_CHANGE_TABLE: Final = CreateTable(change_table, if_not_exists=True)
