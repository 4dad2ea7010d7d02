"""A ledger that is new beside a long log: lines first, then sums and indexes, in one go.

To keep two indexes and the sums of all rows up with each batch costs more than the lines
themselves. So a ledger that has far to go drops the indexes before its first line, keeps no sums,
and makes all of them when it is nearly there, in one transaction: history answers 503 until then.
Whether a ledger is being built is told by the index of rows, and by nothing else that could be
at odds with it.

A writer holds PostgreSQL's ROW EXCLUSIVE lock of `event` before it asks, and whoever finishes
takes a stronger one: no lines come between the sums and the index. Nobody waits long for the
stronger one: a ledger that is frozen inside COPY keeps its own for as long as it sleeps, and is
only ended by whoever writes its lines.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql, sqlite

from domain.rows import ROW_FIELDS
from ledger.schema import agreed_table, event_table
from ledger.sums import LINE_SUMS

#: Records from which on it is worth it.
FAR: Final = 200_000
#: How many records may be missing when a ledger is nearly there, and which part of all.
_NEARLY: Final = 20_000
_PART: Final = 100
_NAME: Final = "records to build from"
_INDEX: Final = "event_row"
# SQLite has one writer, whatever it does, so nothing needs to be locked there.
_LOCK_FOR_WRITING: Final = text("LOCK TABLE event IN ROW EXCLUSIVE MODE")
_LOCK_FOR_FINISHING: Final = text("LOCK TABLE event IN SHARE ROW EXCLUSIVE MODE")
_LOCK_FOR_BEGINNING: Final = text("LOCK TABLE event IN ACCESS EXCLUSIVE MODE")
_SUMS: Final = (
    f"INSERT INTO stock (sku, location, part, {', '.join(ROW_FIELDS)}) "  # noqa: S608  our names
    f"SELECT sku, location, max(part), {', '.join(LINE_SUMS)} "
    "FROM event WHERE outcome = 0 GROUP BY sku, location"
)


class Building(Exception):
    """Nothing can be answered yet.

    done, total: records that are written, and that there were when it began.
    """

    def __init__(self, done: int, total: int) -> None:
        super().__init__(
            f"This ledger is being built: {done:,} of about {total:,} records are written. It "
            "answers once all are, and their indexes."
        )
        self.done, self.total = done, total


def is_there(connection: Connection) -> bool:
    """Whether the index of rows is there: nothing is being built."""
    found = text("SELECT to_regclass(:name)")
    if connection.dialect.name == "sqlite":
        found = text("SELECT name FROM sqlite_master WHERE type = 'index' AND name = :name")
    return connection.execute(found, {"name": _INDEX}).scalar() is not None


def check_built(connection: Connection) -> bool:
    """Whether it will never be built again: something is in it, and all indexes are.

    Raises:
        Building: the indexes are not.
    """
    done, furthest = connection.execute(_DONE).one()
    if not is_there(connection):
        total = connection.execute(_TOTAL, {"name": _NAME}).scalar()
        raise Building(int(done or 0), int(total or 0))
    return bool(furthest)


_DONE: Final = text("SELECT sum(applied + repeated + refused), max(next_offset) FROM position")
_TOTAL: Final = text("SELECT value FROM agreed WHERE name = :name")


def lock(connection: Connection) -> bool:
    """Take a writer's lock; whether sums are to be kept up. The first statement of a writer."""
    if connection.dialect.name == "postgresql":
        # To make the indexes takes minutes.
        connection.execute(_WAIT_LONG)
        connection.execute(_LOCK_FOR_WRITING)
        connection.execute(_WAIT_SHORT)
    return is_there(connection)


_WAIT_LONG: Final = text("SET LOCAL lock_timeout = 0")
# Longer than a batch takes.
_WAIT_A_WHILE: Final = text("SET LOCAL lock_timeout = '10s'")
_WAIT_SHORT: Final = text("SET LOCAL lock_timeout = DEFAULT")


def begin_building(connection: Connection, total: int) -> bool:
    """Drop the indexes, if nothing has been written yet and it is far; whether that was so.

    Args:
        connection: in a transaction of its own.
        total: records in the log.

    Raises:
        OperationalError: another one holds the lines, and does not let go (`is_locked`).
    """
    if total < FAR:
        return False
    if _has_begun(connection):
        return False  # as at nearly every start: nobody is asked for a lock
    if connection.dialect.name == "postgresql":
        connection.execute(_WAIT_A_WHILE)
        connection.execute(_LOCK_FOR_BEGINNING)
        if _has_begun(connection):
            return False
    for index in event_table.indexes:
        index.drop(connection)
    insert = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    said = insert(agreed_table).values(name=_NAME, value=str(total))
    connection.execute(
        said.on_conflict_do_update(index_elements=["name"], set_={"value": str(total)})
    )
    return True


def _has_begun(connection: Connection) -> bool:
    return bool(connection.execute(_DONE).one()[1]) or not is_there(connection)


def is_near(missing: int, total: int) -> bool:
    """Whether so few records are missing that the rest may be written with indexes."""
    return missing <= max(_NEARLY, total // _PART)


def finish_building(connection: Connection) -> bool:
    """Make sums and indexes, unless another one has; whether it was us. Takes minutes.

    Raises:
        OperationalError: another one holds the lines, and does not let go (`is_locked`).
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_WAIT_A_WHILE)
        connection.execute(_LOCK_FOR_FINISHING)
        connection.execute(text("SET LOCAL maintenance_work_mem = '256MB'"))
        connection.execute(text("SET LOCAL work_mem = '256MB'"))
    if is_there(connection):
        return False
    # A ledger that began at the same moment may have kept some.
    connection.execute(text("DELETE FROM stock"))
    connection.execute(text(_SUMS))
    for index in event_table.indexes:
        index.create(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(text("ANALYZE event, stock"))
    return True
