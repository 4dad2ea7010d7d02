"""One place puts the worker together, of what it is handed or of what the settings say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from app.config import Settings
from app.programs.wiring import build_program
from app.wiring import build
from dev.workers import ROOT
from examples.wordcount.program import WORDCOUNT
from tables.home.kafka import KafkaHome
from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from web.config import Limits

#: Nobody listens there: who asks anybody fails.
NOWHERE = "127.0.0.1:1"


def stores_of(app: Any) -> object:
    return app.table._opening._stores


async def test_what_the_root_is_handed_is_what_the_worker_is_made_of(tmp_path: Path) -> None:
    settings = Settings.from_env({}, kafka=NOWHERE, data_dir=tmp_path / "data")
    stores, told = MemoryStores(), list[str]()

    async def end(sentence: str, error: BaseException | None) -> None:
        told.append(sentence)

    class Elsewhere(KafkaHome):
        """Another place for rows."""

    limits = replace(Limits(), reads=7)
    app = build(settings, stores=stores, home=Elsewhere, limits=limits, end=end)
    await app.fail("It cannot go on.", None)

    assert stores_of(app) is stores
    assert type(app.table._home) is Elsewhere
    assert app.web_part._config.limits.reads == 7
    assert told == ["It cannot go on."]
    assert not (tmp_path / "data").exists()  # nothing was opened, nothing was made


def test_a_programs_root_takes_the_same(tmp_path: Path) -> None:
    class Elsewhere(KafkaHome):
        """Another place for rows."""

    settings = WORDCOUNT.settings(kafka=NOWHERE, data_dir=tmp_path / "data")
    app = build_program(WORDCOUNT, settings, stores=lambda names: MemoryStores(), home=Elsewhere)

    assert {type(one.table._home) for one in app.counted} == {Elsewhere}
    assert not (tmp_path / "data").exists()


def test_without_any_of_it_the_settings_decide(tmp_path: Path) -> None:
    settings = Settings.from_env({}, kafka=NOWHERE, data_dir=tmp_path)

    app = build(settings)

    assert isinstance(stores_of(app), RocksStores)
    assert app.end is None


@pytest.mark.parametrize(("session_ms", "most_s"), [(10_000, 0.25), (1_000, 0.2)])
def test_a_member_asks_often_whether_its_group_rebalances(
    tmp_path: Path, session_ms: int, most_s: float
) -> None:
    """Who has heard of it folds nothing until the last one has."""
    settings = Settings.from_env(
        {}, kafka=NOWHERE, data_dir=tmp_path, session_timeout_ms=session_ms
    )

    assert build(settings).conf.broker_heartbeat_interval <= most_s


def test_a_worker_loads_no_sql() -> None:
    """A third of its start would go into it, for questions that it passes on."""
    code = "import sys, app.service, app.wiring; print('sqlalchemy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("False\n", "")
