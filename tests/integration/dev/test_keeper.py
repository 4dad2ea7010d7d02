"""Who looks after the demo's workers: on processes that say no more than that they are ready."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dev.demo.keeper import Keeper, NotNow
from dev.workers import Worker, until

READY = """
import http.server, os

class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

http.server.HTTPServer(("127.0.0.1", int(os.environ["ONHAND_WEB_PORT"])), Ready).serve_forever()
"""
DEADLINE_S = 120


@asynccontextmanager
async def kept(folder: Path, said: list[str], back_after_s: float) -> AsyncIterator[Keeper]:
    """Two of them, `a` and `b`, ready and looked after."""
    workers = [Worker(name, folder, {}, command=("-c", READY)) for name in "ab"]
    keeper = Keeper(workers, said.append, back_after_s)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            await worker.ready(DEADLINE_S)
        looking = asyncio.create_task(keeper.run())
        try:
            yield keeper
            assert not looking.done()
        finally:
            looking.cancel()
    finally:
        for worker in workers:
            worker.kill()


async def is_told(keeper: Keeper, *states: str) -> None:
    """Wait until it says so of `a` and `b`."""

    async def so() -> bool:
        return tuple(one["state"] for one in keeper.told()) == states

    await until(so, f"told: {states}", DEADLINE_S)


def looks(worker: Worker) -> int:
    return worker.log.read_text().count("GET /ready")


async def test_a_worker_that_a_visitor_kills_is_dead_at_once_and_started_again(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    async with kept(tmp_path, said, back_after_s=600) as keeper:
        keeper.is_open = True
        first, second = keeper.workers
        pid = second.pid
        keeper.kill("b")
        assert keeper.told()[1]["state"] == "dead"
        assert 0 < keeper.told()[1]["back_in_s"] <= 600
        assert keeper.urls == [first.url]
        with pytest.raises(NotNow, match="dead already"):
            keeper.kill("b")
        with pytest.raises(KeyError):
            keeper.kill("c")

        keeper.back_after_s = 0
        await is_told(keeper, "answers", "answers")
        assert (first.starts, second.starts, second.pid == pid) == (1, 2, False)
        assert keeper.urls == [first.url, second.url]
    assert said == [
        f"kill -9 worker b (pid {pid}), by the page",
        f"worker b started again (pid {second.pid})",
        "worker b answers again",
    ]


async def test_a_worker_that_dies_in_another_way_is_started_again_as_well(tmp_path: Path) -> None:
    said: list[str] = []
    async with kept(tmp_path, said, back_after_s=0) as keeper:
        keeper.is_open = True
        pid = keeper.workers[0].pid
        os.kill(pid, signal.SIGKILL)

        async def is_back() -> bool:
            return "worker a answers again" in said

        await until(is_back, "back: worker a", DEADLINE_S)
    assert said[0] == f"worker a is gone (pid {pid})"


async def test_before_it_is_the_visitors_turn_nobody_is_killed_or_started_again(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    async with kept(tmp_path, said, back_after_s=0) as keeper:
        with pytest.raises(NotNow, match="Wait for its end"):
            keeper.kill("a")
        keeper.workers[1].kill()
        await is_told(keeper, "answers", "dead")
        before = looks(keeper.workers[0])

        async def looked_again() -> bool:
            return looks(keeper.workers[0]) >= before + 3

        await until(looked_again, "looked at three times", DEADLINE_S)
        assert keeper.told()[1]["back_in_s"] is None
        assert (keeper.workers[0].starts, keeper.workers[1].starts, said) == (1, 1, [])
