"""Long reads take turns: many at once keep others waiting no longer than one does."""

from __future__ import annotations

import asyncio

import pytest

from web.http.pacing import Lane


class Clock:
    """Seconds that pass only when work is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("web.http.pacing.time.perf_counter", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


async def test_in_each_pass_of_the_loop_one_read_moves_and_each_gets_its_turn(
    clock: Clock,
) -> None:
    lane, passes, moved = Lane(), 0, list[tuple[int, int]]()

    async def read(number: int) -> None:
        async with lane.turn() as pacer:
            for _ in range(5):
                clock.now += 0.01
                moved.append((passes, number))
                await pacer.give_way()

    reads = [asyncio.create_task(read(number)) for number in range(4)]
    while not all(task.done() for task in reads):
        passes += 1
        await asyncio.sleep(0)

    assert len({at for at, _ in moved}) == len(moved) == 20
    assert [number for _, number in moved] == [0, 1, 2, 3] * 5


async def test_short_pieces_go_on_without_giving_way(clock: Clock) -> None:
    passes = 0

    async def read() -> None:
        async with Lane().turn() as pacer:
            for _ in range(5):
                clock.now += 0.0001
                await pacer.give_way()

    task = asyncio.create_task(read())
    while not task.done():
        passes += 1
        await asyncio.sleep(0)

    assert passes == 1


async def test_a_read_that_is_cancelled_gives_up_its_turn(clock: Clock) -> None:
    lane = Lane()

    async def read() -> None:
        async with lane.turn() as pacer:
            while True:
                clock.now += 0.01
                await pacer.give_way()

    reads = [asyncio.create_task(read()) for _ in range(3)]
    for task in reads:
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*reads, return_exceptions=True)

    async with asyncio.timeout(30), lane.turn():
        pass
