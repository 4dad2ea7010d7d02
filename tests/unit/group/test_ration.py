"""A version that nobody asks yet may be kept to so many events a second."""

from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition

from app.group.transport import BatchConsumer
from wire.fetch import Fetched, Ration


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


async def test_nothing_is_fetched_while_it_rests_unless_the_bound_has_gone() -> None:
    fetched = []

    async def fetch(has_room: object) -> dict[Any, Any]:
        fetched.append(1)
        return {TopicPartition("sales", 0): (Fetched(b"", 0, 10_000), 1)}

    async def nothing(*_: object) -> None:
        pass

    bound = 1_000
    consumer: Any = SimpleNamespace(
        flow_active=True,
        _ration=Ration(),
        _budget=SimpleNamespace(has_room=None),
        _await_room=nothing,
        _deliver=nothing,
        _thread=SimpleNamespace(fetch=fetch),
        app=SimpleNamespace(most_events_per_s=lambda: bound, reader_of=lambda topic: "reader"),
    )
    drain: Any = BatchConsumer._drain_once
    await drain(consumer)
    await drain(consumer)
    assert len(fetched) == 1

    bound = 0
    await drain(consumer)
    assert len(fetched) == 2
