from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.postgres import Postgres, PostgresMissing, postgres_started
from tests.ledgers.kept import Kept


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One server for all tests; each takes a database of its own."""
    try:
        with postgres_started() as server:
            yield server
    except PostgresMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database and gives its URL: the same suite runs on both."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.new_database
    numbers = iter(range(10**6))
    return lambda: f"sqlite:///{tmp_path}/ledger{next(numbers)}.db"


@pytest.fixture
def kept(new_database: Callable[[], str]) -> Iterator[Kept]:
    ledger = Kept(new_database())
    yield ledger
    ledger.close()
