"""A version that nobody asks yet may be kept to so many events a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from app.group.transport import BatchConsumer
from wire.fetch import Fetched, Ration


class SlowClock:
    """What is slept is what passes, in seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slept = 100.0, list[float]()
        #: Called after each sleep.
        self.then: Callable[[], None] = lambda: None
        monkeypatch.setattr("wire.fetch.asyncio", SimpleNamespace(sleep=self._sleep))

    async def _sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(round(seconds, 6))
        await asyncio.sleep(0)
        self.then()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SlowClock:
    return SlowClock(monkeypatch)


def test_it_rests_for_as_long_as_what_it_took_may_last_and_makes_up_for_nothing() -> None:
    now = 100.0
    ration = Ration(lambda: now)
    ration.took(500, 1_000)
    assert ration.rest_s() == 0.5

    now += 0.2  # spent on them
    ration.took(100, 1_000)
    assert round(ration.rest_s(), 6) == 0.4

    now += 60
    ration.took(1_000, 1_000)
    assert ration.rest_s() == 1


def test_without_a_bound_it_never_rests() -> None:
    ration = Ration(lambda: 100.0)
    ration.took(10**9, 1_000)
    ration.took(10**9, 0)
    assert ration.rest_s() == 0


async def test_it_gives_way_after_each_piece_and_rests_where_there_is_a_bound(
    clock: SlowClock,
) -> None:
    ration = Ration(lambda: clock.now)
    await ration.rest(500, lambda: 0)
    assert clock.slept == [0]

    await ration.rest(500, lambda: 20_000)
    assert clock.slept == [0, 0, 0.025]


async def test_a_rest_ends_when_the_bound_has_gone(clock: SlowClock) -> None:
    ration, bound = Ration(lambda: clock.now), 1_000

    def promoted() -> None:
        nonlocal bound
        if clock.now >= 100.3:
            bound = 0

    clock.then = promoted
    await ration.rest(10_000, lambda: bound)

    assert 0.2 < sum(clock.slept) < 0.5


async def test_a_rebalance_does_not_wait_for_a_rest(clock: SlowClock) -> None:
    consumer: Any = SimpleNamespace(
        flow_active=True,
        _ration=Ration(lambda: clock.now),
        app=SimpleNamespace(most_events_per_s=lambda: 1),
    )

    def revoked() -> None:
        consumer.flow_active = False

    clock.then = revoked
    await BatchConsumer.rest(consumer, 10_000)

    assert sum(clock.slept) <= Ration.LOOK_S


@pytest.mark.parametrize("bound", [0, 1_000])
async def test_who_is_kept_to_a_rate_decodes_by_itself(bound: int) -> None:
    """Else it takes two cores at once, however seldom."""
    asked: list[tuple[Any, ...]] = []

    def batch(*arguments: Any) -> Any:
        asked.append(arguments)
        return SimpleNamespace(nbytes=1)

    consumer: Any = SimpleNamespace(
        flow_active=True,
        _budget=SimpleNamespace(take=lambda topic, nbytes: None),
        app=SimpleNamespace(
            most_events_per_s=lambda: bound,
            decoder=SimpleNamespace(batch=batch),
            consumer_generation_id=1,
            topics=SimpleNamespace(deliver=lambda tp, message: None),
        ),
    )
    deliver: Any = BatchConsumer._deliver
    await deliver(consumer, TopicPartition("sales", 0), Fetched(b"", 0, 10), 1, False)

    assert [arguments[-1] for arguments in asked] == [bound > 0]
