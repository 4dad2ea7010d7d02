"""Connections to the ledger's database, with the settings that keep its promises.

SQLite: write-ahead log, so that readers and the writer do not wait for each other; every write
begins with `BEGIN IMMEDIATE`, or two writers that both have read would fail instead of waiting.
PostgreSQL: nobody waits longer than a second for a lock (`ledger/writing.py` then ends the
session that holds it, if it is a ledger's that froze); a reader sees one moment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from core.words import without_password

#: How long a writer waits for another one of the same SQLite file, in seconds.
_BUSY_S: Final = 60.0
#: What a writer keeps of an SQLite file. A batch of a long ledger changes a page of each index for
#: nearly each of its lines, and writes those that find no room here more than once.
_WRITER_CACHE_KIB: Final = 64 * 1024
#: How long a PostgreSQL session waits for a lock, in ms.
LOCK_MS: Final = 1_000
#: A session that is frozen between two statements is ended by the server after so many ms.
_IDLE_MS: Final = 10_000
_CONNECT_S: Final = 10
_LOCK_NOT_AVAILABLE: Final = "55P03"


class LedgerUnavailable(Exception):
    """The database cannot be used; the message says what to do."""


def url_of(text: str) -> URL:
    """Read `ONHAND_LEDGER_URL`.

    Raises:
        LedgerUnavailable: it is none that a ledger can be kept at.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise _no_url() from None
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    known = url.drivername in ("sqlite", "postgresql+psycopg")
    if not known or not url.database or url.database == ":memory:":
        raise _no_url()
    return url


def _no_url() -> LedgerUnavailable:
    return LedgerUnavailable(
        "ONHAND_LEDGER_URL names no database that a ledger can be kept in: use "
        "sqlite:///PATH/ledger.db or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE."
    )


def open_writer(url: URL, application: str) -> Engine:
    """For one writer: each transaction takes the right to write when it begins."""
    if url.drivername == "sqlite":
        return _sqlite(url, "BEGIN IMMEDIATE", f"cache_size=-{_WRITER_CACHE_KIB}")
    return _postgresql(url, application, isolation_level="READ COMMITTED")


def open_reader(url: URL, application: str) -> Engine:
    """For questions: all statements of a transaction see the same moment."""
    if url.drivername == "sqlite":
        return _sqlite(url, "BEGIN")
    return _postgresql(
        url, f"{application} reads", isolation_level="REPEATABLE READ", pool_pre_ping=True
    )


def make_place(url: URL) -> None:
    """Make the folder of an SQLite file; where that cannot be, SQLite says what is wrong."""
    if url.drivername == "sqlite" and url.database:
        with suppress(OSError):
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)


def _sqlite(url: URL, begin: str, *pragmas: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _BUSY_S, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver begins nothing by itself
        for pragma in ("journal_mode=WAL", "synchronous=FULL", *pragmas):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def start(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgresql(url: URL, application: str, **options: Any) -> Engine:
    settings = {
        "lock_timeout": LOCK_MS,
        "idle_in_transaction_session_timeout": _IDLE_MS,
        "timezone": "UTC",
    }
    return create_engine(
        url,
        connect_args={
            "application_name": application,
            "connect_timeout": _CONNECT_S,
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        },
        **options,
    )


@contextmanager
def driver_of(connection: Connection) -> Iterator[Any]:
    """The driver's own connection, for what SQLAlchemy has no words for.

    In the transaction that has begun on `connection`. What the driver raises inside comes as
    SQLAlchemy would raise it, so that nobody has to know of two kinds of errors.

    Raises:
        DBAPIError: `orig` is the driver's.
    """
    dbapi = connection.dialect.loaded_dbapi
    try:
        yield connection.connection.driver_connection
    except dbapi.Error as error:
        raised = DBAPIError.instance(None, None, error, dbapi.Error, dialect=connection.dialect)
        raise raised from error


def is_locked(error: DBAPIError) -> bool:
    """Whether a PostgreSQL gave up since another session does not let go of a lock."""
    return getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE


def as_told(url: URL) -> str:
    """A database's address, without a password."""
    return without_password(url.render_as_string(hide_password=True))


def unavailable(url: URL, error: DBAPIError) -> LedgerUnavailable:
    """Say why the database cannot be used."""
    what = str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else repr(error.orig)
    shown = as_told(url)
    remedy = "look at ONHAND_LEDGER_URL, and whether this database is there and lets us in"
    if url.drivername == "sqlite":
        remedy = "look at its folder: it must exist, be writable and have room"
        if isinstance(error, OperationalError) and "locked" in what:
            remedy = "another process holds it and does not let go: end that process"
    return LedgerUnavailable(f"The ledger at {shown} cannot be used ({what}): {remedy}.")
