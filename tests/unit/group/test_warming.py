"""When a worker asks the group to be placed again."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from app.group import warming
from app.group.placement import WARM
from app.group.warming import WarmUps
from core.stages import Stage


class Worker:
    """Its partitions, by stage and lag, and how often it asked."""

    def __init__(self) -> None:
        self.holds: dict[int, tuple[Stage, int]] = {}
        self.asked = 0
        self.warm_ups = WarmUps(self._status, self._place_again)

    def _status(self) -> Any:
        return [
            SimpleNamespace(partition=p, state=stage, standby_lag_records=lag)
            for p, (stage, lag) in self.holds.items()
        ]

    def _place_again(self) -> None:
        self.asked += 1


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Worker:
    monkeypatch.setattr(warming, "WARM_EVERY_S", 0)
    return Worker()


async def passes(seconds: float = 0.0) -> None:
    """As many looks as come meanwhile."""
    for _ in range(20):
        await asyncio.sleep(seconds / 20)


async def test_it_asks_once_when_all_that_it_warms_up_is_there(worker: Worker) -> None:
    worker.holds = {0: (Stage.LOADING, 0), 1: (Stage.STANDBY, WARM), 2: (Stage.STANDBY, 0)}
    await worker.warm_ups.assigned(frozenset({0, 1}))
    await passes()
    worker.holds[0] = Stage.STANDBY, 3
    await passes()
    assert worker.asked == 0

    worker.holds[1] = Stage.STANDBY, 3
    await passes()

    assert worker.asked == 1


async def test_nothing_to_warm_up_is_nothing_to_ask(worker: Worker) -> None:
    worker.holds = {0: (Stage.STANDBY, 0)}
    await worker.warm_ups.assigned(frozenset())
    await passes()

    assert worker.asked == 0


async def test_a_newer_assignment_ends_what_an_older_one_asked_for(worker: Worker) -> None:
    await worker.warm_ups.assigned(frozenset({0}))
    await worker.warm_ups.end()
    worker.holds = {0: (Stage.STANDBY, 0)}
    await passes()

    assert worker.asked == 0


async def test_a_group_that_does_not_find_them_warm_is_asked_ever_less_often(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []
    sleep = asyncio.sleep

    async def rest(seconds: float) -> None:
        if seconds > 0:
            rests.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", rest)
    worker.holds = {0: (Stage.STANDBY, 0)}
    for _ in range(8):
        await worker.warm_ups.assigned(frozenset({0}))
        for _ in range(5):
            await sleep(0)
    assert worker.asked == 8
    assert rests == [10, 30, 70, 150, 310, 600, 600]

    await worker.warm_ups.assigned(frozenset())
    await worker.warm_ups.assigned(frozenset({0}))
    for _ in range(5):
        await sleep(0)

    assert (worker.asked, len(rests)) == (9, 7)
