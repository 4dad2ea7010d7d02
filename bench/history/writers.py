"""Those who write one log into the same tables with the same indexes, a batch a transaction.

Ours judges (checks, window, chain), fences, and keeps sums. A bare loop decodes and writes lines
and sums, and looks at nothing. Who inserts each event does the same by one statement an event.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
import psutil
from msgspec import Struct
from sqlalchemy import Connection, Engine, text

from bench.history.log import PARTITIONS, Batch, number_of
from domain.columns import identity_hash_of
from domain.rules.held import CURRENT
from ledger.books import Book
from ledger.engine import open_writer, url_of
from ledger.lines import APPLIED, TOPICS, Line, as_columns, micros
from ledger.reaches import books_of
from ledger.schema import event_table
from ledger.upgrade import to_this_schema
from ledger.upkeep import building
from ledger.writing import LedgerWriter, add_totals

NAME = "onhand-bench"
WINDOW = 100_000
_SLICE = 500
_KINDS = {name: kind.kind for name, kind in CURRENT.events.items()}


class WritesBatches(Protocol):
    """One side of a comparison, on a database of its own."""

    engine: Engine

    def write(self, batch: Batch) -> None:
        """Commit it."""

    def finish(self) -> None:
        """Do what was put off until the end."""

    def close(self) -> None:
        """Let the database go."""


class OurLedger:
    """The ledger's own way from records to committed lines, without Kafka."""

    def __init__(self, url: str, *, built_from: int = 0) -> None:
        """`built_from`: it is far behind so many records, and builds indexes last."""
        self.engine = open_writer(url_of(url), NAME)
        self._is_built_last = bool(built_from)
        to_this_schema(self.engine)
        self._writer = LedgerWriter(self.engine)
        if built_from:
            with self.engine.begin() as connection:
                assert building.begin_building(connection, built_from)
        self.books = self.opened()

    def opened(self) -> dict[int, dict[str, Book]]:
        """All books, as at a start."""
        topics = {topic: topic for topic in TOPICS}
        with self.engine.begin() as connection:
            return {
                part: books_of(connection, part, PARTITIONS, topics, WINDOW, CURRENT)
                for part in range(PARTITIONS)
            }

    def write(self, batch: Batch) -> None:
        """See `WritesBatches`."""
        self._writer.commit(
            [
                self.books[part][topic].enter(_sliced(records), records[-1][0] + 1)
                for (topic, part), records in batch.items()
            ]
        )

    def finish(self) -> None:
        """Sums and indexes, if they were put off."""
        if self._is_built_last:
            with self.engine.begin() as connection:
                assert building.finish_building(connection)

    def ids_in_windows(self) -> int:
        """Applied lines of the last `WINDOW` offsets of each topic-partition."""
        sql = (
            "SELECT count(*) FROM event JOIN position USING (topic, part) "
            f"WHERE outcome = {APPLIED} AND off >= next_offset - {WINDOW}"
        )
        with self.engine.begin() as connection:
            return int(connection.execute(text(sql)).scalar_one())

    def close(self) -> None:
        """See `WritesBatches`."""
        self.engine.dispose()


def cpu_s(engine: Engine) -> float:
    """CPU seconds so far of this process, and of the session that it has at a PostgreSQL."""
    used_s = time.process_time()
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:  # the only one of its pool
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        of_session = psutil.Process(pid).cpu_times()
        used_s += of_session.user + of_session.system
    return used_s


def _sliced(records: Sequence[Any]) -> list[Sequence[Any]]:
    return [records[at : at + _SLICE] for at in range(0, len(records), _SLICE)]


class _Goods(Struct):
    sku: str
    location: str
    quantity: int
    reason: str | None = None
    reference: str | None = None
    actor: str | None = None


class _Said(Struct):
    id: str
    source: str
    type: str
    data: _Goods
    time: datetime | None = None


_read = msgspec.json.Decoder(_Said).decode


class Bare:
    """Decodes, and writes by `put`; the sums as the ledger does, unless `put` does that too."""

    def __init__(
        self, url: str, put: Callable[[Connection, list[Line]], None], *, keeps_sums: bool = True
    ) -> None:
        self.engine = open_writer(url_of(url), NAME)
        to_this_schema(self.engine)
        self._put, self._keeps_sums = put, keeps_sums

    def write(self, batch: Batch) -> None:
        """See `WritesBatches`."""
        lines = [
            _line(number_of(topic), part, record)
            for (topic, part), records in batch.items()
            for record in records
        ]
        with self.engine.begin() as connection:
            connection.execute(text("SELECT 1"))  # now a transaction has begun
            self._put(connection, lines)
            if self._keeps_sums:
                add_totals(connection, as_columns(lines))

    def finish(self) -> None:
        """See `WritesBatches`."""

    def close(self) -> None:
        """See `WritesBatches`."""
        self.engine.dispose()


def _line(topic: int, part: int, record: Any) -> Line:
    offset, time_ms, _, value, _ = record
    said = _read(value)
    data, at = said.data, time_ms * 1000
    crc = zlib.crc32(f"{said.source}\x00{said.id}".encode())
    happened = at if said.time is None else micros(said.time)
    return (
        *(topic, part, offset, at, at, happened, APPLIED, None, _KINDS[said.type], data.quantity),
        *(crc, 0, identity_hash_of(said.source, said.id), data.sku, data.location),
        *(said.source, said.id, data.reference, data.reason, data.actor, None, None),
    )


_COLUMNS = ", ".join(f'"{column.name}"' for column in event_table.columns)
_TYPES = ["int2", "int4", "int8", "int8", "int8", "int8", "int2", "int8", "int2", "int4"]
_TYPES += ["int8"] * 3 + ["text"] * 7 + ["int2", "int4"]


def by_copy(connection: Connection, lines: list[Line]) -> None:
    """PostgreSQL's COPY, binary."""
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY event ({_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.set_types(_TYPES)
        for line in lines:
            copy.write_row(line)


def by_insert(connection: Connection, lines: list[Line]) -> None:
    """PostgreSQL: of each event a statement for its line, and one for its row."""
    driver: Any = connection.connection.driver_connection
    marks = ", ".join(["%s"] * len(_TYPES))
    sql = f"INSERT INTO event ({_COLUMNS}) VALUES ({marks})"
    with driver.cursor() as cursor:
        for line in lines:
            cursor.execute(sql, line)
            kind, quantity = line[8:10]
            sums = [quantity if number == kind else 0 for number in range(5)]
            cursor.execute(_ADD, (line[13], line[14], line[1], *sums, 1, line[10], line[3]))


_SUMS = ("received", "dispatched", "sold", "returned", "adjusted", "events", "checksum")
_ADD = (
    f"INSERT INTO stock (sku, location, part, {', '.join(_SUMS)}, updated_at) "
    f"VALUES ({', '.join(['%s'] * 11)}) ON CONFLICT (sku, location) DO UPDATE SET "
    + ", ".join(f"{name} = stock.{name} + excluded.{name}" for name in _SUMS)
    + ", updated_at = greatest(stock.updated_at, excluded.updated_at)"
)


def by_executemany(connection: Connection, lines: list[Line]) -> None:
    """SQLite."""
    marks = ", ".join("?" * len(_TYPES))
    connection.exec_driver_sql(
        f"INSERT INTO event ({_COLUMNS}) VALUES ({marks})",
        lines,
    )


__all__ = ["WINDOW", "Bare", "OurLedger", "by_copy", "by_executemany", "by_insert", "cpu_s"]
