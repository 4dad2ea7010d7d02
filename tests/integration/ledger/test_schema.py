"""The schema is one, on both databases, and every start brings a database up to it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from ledger.engine import LedgerUnavailable, open_writer, url_of
from ledger.reaches import agree_on
from ledger.schema import METADATA
from ledger.upgrade import to_this_schema


def test_what_the_steps_make_is_what_the_schema_says(new_database: Callable[[], str]) -> None:
    engine = open_writer(url_of(new_database()), "test")
    to_this_schema(engine)
    to_this_schema(engine)  # nothing is left to do

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_several_that_start_at_once_take_the_steps_once(new_database: Callable[[], str]) -> None:
    url = url_of(new_database())
    engines = [open_writer(url, "test") for _ in range(4)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(to_this_schema, engines))

    with engines[0].connect() as connection:
        assert set(sa.inspect(connection).get_table_names()) > METADATA.tables.keys()
    for engine in engines:
        engine.dispose()


def test_a_newer_schema_is_refused_with_a_sentence(new_database: Callable[[], str]) -> None:
    engine = open_writer(url_of(new_database()), "test")
    to_this_schema(engine)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(LedgerUnavailable, match="run the newest build"):
        to_this_schema(engine)
    engine.dispose()


def test_a_ledger_of_other_rules_is_refused_with_both_named(
    new_database: Callable[[], str],
) -> None:
    engine = open_writer(url_of(new_database()), "test")
    to_this_schema(engine)
    with engine.begin() as connection:
        agree_on(connection, {"rules": "2", "window": "100000"})
        agree_on(connection, {"rules": "2", "window": "100000"})

        with pytest.raises(LedgerUnavailable, match=r"written with window 100000.* has window 5"):
            agree_on(connection, {"rules": "2", "window": "5"})
    engine.dispose()


@pytest.mark.parametrize("url", ["", "mysql://a/b", "sqlite://", "sqlite:///:memory:", "no url"])
def test_a_url_that_keeps_no_ledger_is_refused(url: str) -> None:
    with pytest.raises(LedgerUnavailable, match="ONHAND_LEDGER_URL names no database"):
        url_of(url)
