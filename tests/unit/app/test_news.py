import logging
from types import SimpleNamespace
from typing import Any

import pytest

from app.news import News
from core.stages import Role

A, S, F = Role.ACTIVE, Role.STANDBY, Role.FORMER


class Worker:
    """What a worker holds and whom it knows, as the test wants it."""

    def __init__(self) -> None:
        self.holds: dict[int, Role | None] = {}
        self.others: dict[str, bool] = {}
        self.restored = 0
        self.news = News(self._status, self._views, lambda: self.restored)

    def _status(self) -> Any:
        return [SimpleNamespace(partition=p, role=role) for p, role in self.holds.items()]

    def _views(self) -> Any:
        views = [(url, alive, False) for url, alive in self.others.items()]
        return [
            SimpleNamespace(beat=SimpleNamespace(url=url), alive=alive, this=this)
            for url, alive, this in [*views, ("http://me", True, True)]
        ]


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    caplog.set_level(logging.INFO, "app")

    def said() -> list[str]:
        found = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return found

    return said


def test_a_rebalance_is_one_line_once_every_partition_answers(worker: Worker, lines: Any) -> None:
    worker.news.assigned({0, 1, 2}, {7})
    for holds in ({0: A}, {0: A, 1: F, 2: A, 7: S}, {0: A, 1: A, 2: A, 7: None}):
        worker.holds = dict(holds)
        worker.news.changed()
    assert lines() == []

    worker.holds, worker.restored = {0: A, 1: A, 2: A, 7: S, 9: F}, 1234
    for _ in range(3):
        worker.news.changed()
    (line,) = lines()
    assert line.startswith("All 4 partitions of this worker answer, 0.0 s after")
    assert line.endswith("owner of 0–2; standby for 7; 1,234 changelog records restored.")


def test_who_was_dead_before_this_worker_looked_is_no_news(worker: Worker, lines: Any) -> None:
    worker.others = {"http://dead": False, "http://b": True}
    worker.news.look()
    assert lines() == ["Worker http://b is there."]

    worker.others = {"http://b": False, "http://c": True}
    worker.news.look()
    worker.news.look()
    assert lines() == ["Worker http://b is gone.", "Worker http://c is there."]

    worker.others = {"http://b": True, "http://c": True}
    worker.news.look()
    assert lines() == ["Worker http://b is back."]
