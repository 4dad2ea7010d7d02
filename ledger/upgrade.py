"""Brings the schema of a database up to this build's, at every start."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, text

from ledger.engine import LedgerUnavailable

_STEPS: Final = Path(__file__).parent / "migrations"
#: Of the lock under which only one of several starting processes takes the steps.
_LOCK: Final = 0x6F6E68616E64


def to_this_schema(engine: Engine) -> None:
    """Take the steps that are missing, all or none.

    Raises:
        LedgerUnavailable: a newer build has been here.
        DBAPIError: the database cannot be used.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            # Another one that starts may take longer than this session waits for a lock.
            connection.execute(text("SET LOCAL lock_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        try:
            command.upgrade(config_on(connection), "head")
        except CommandError as error:
            raise LedgerUnavailable(
                f"The ledger's schema is of another build ({error}): run the newest build that "
                "has written it, or give this one a database of its own (ONHAND_LEDGER_URL)."
            ) from error


def config_on(connection: Connection) -> Config:
    """Alembic's settings for one connection: no file, no log of its own."""
    config = Config()
    config.set_main_option("script_location", str(_STEPS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
