"""Writes go in the order in which they came, and are refused only when it is too late."""

from __future__ import annotations

import asyncio

import pytest

from web.writes.turns import TooLate, TurnLimits, Turns


class Writes:
    """Some writes that end when they are told to."""

    def __init__(self, limits: TurnLimits) -> None:
        self.turns = Turns(limits)
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}

    def start(self, name: str, size: int) -> asyncio.Task[None]:
        self._ends[name] = asyncio.Event()
        return asyncio.create_task(self._write(name, size))

    def end(self, name: str) -> None:
        self._ends[name].set()

    async def _write(self, name: str, size: int) -> None:
        await self.turns.begin(size)
        try:
            self.begun.append(name)
            await self._ends[name].wait()
        finally:
            self.turns.end(size)


async def passes() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_first_goes_first_and_the_small_do_not_overtake_the_large() -> None:
    writes = Writes(TurnLimits(at_once_bytes=10, wait_s=30))
    tasks = [writes.start(*each) for each in (("a", 6), ("large", 8), ("b", 2), ("c", 2))]
    await passes()
    assert writes.begun == ["a"]  # b would fit, but is behind the large one
    writes.end("a")
    await passes()
    assert writes.begun == ["a", "large", "b"]
    for name in ("large", "b", "c"):
        writes.end(name)
    await asyncio.gather(*tasks)
    assert writes.begun[-1] == "c"


async def test_one_write_is_taken_however_large() -> None:
    writes = Writes(TurnLimits(at_once_bytes=10, wait_s=30))
    task = writes.start("whale", 1000)
    await passes()
    assert writes.begun == ["whale"]
    writes.end("whale")
    await task


async def test_who_waited_too_long_is_told_and_those_behind_go_on() -> None:
    writes = Writes(TurnLimits(at_once_bytes=10, wait_s=0.05))
    first = writes.start("first", 9)
    await passes()
    late = [writes.start("late", 9), writes.start("later", 9)]
    for task in late:
        with pytest.raises(TooLate, match="no turn within"):
            await task
    writes.end("first")
    await first
    fresh = writes.start("fresh", 9)
    await passes()
    assert writes.begun == ["first", "fresh"]
    writes.end("fresh")
    await fresh


async def test_what_waits_is_bounded_in_bytes() -> None:
    writes = Writes(TurnLimits(at_once_bytes=10, waiting_bytes=20, wait_s=30))
    tasks = [writes.start(name, 10) for name in "abc"]
    await passes()
    with pytest.raises(TooLate, match="2 writes wait"):
        await writes.start("d", 10)
    for name in "abc":
        writes.end(name)
    await asyncio.gather(*tasks)
    assert writes.begun == ["a", "b", "c"]


async def test_who_goes_away_leaves_no_place_taken() -> None:
    writes = Writes(TurnLimits(at_once_bytes=10, wait_s=30))
    tasks = [writes.start(name, 10) for name in ("a", "b", "c")]
    await passes()
    for task in tasks[:2]:
        task.cancel()
    await passes()
    assert writes.begun == ["a", "c"]
    writes.end("c")
    await tasks[2]
