"""Facts of one batch are told together, each once, and none waits beyond its time."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from dev.workers import until
from web.writes import singles
from web.writes.singles import Singles

PRODUCER = cast(AIOKafkaProducer, object())


class Batches:
    """In place of `Joining`: one batch for each partition; partition 9 has no room."""

    def __init__(self) -> None:
        self.future = [asyncio.get_running_loop().create_future() for _ in range(9)]
        self.count = [0] * 9

    def join(self, topic: str, partition: int, *rest: object) -> tuple[Any, int] | None:
        if partition == 9:
            return None
        self.count[partition] += 1
        return self.future[partition], self.count[partition] - 1


class Till:
    """Puts facts, and keeps what it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, timeout_s: float) -> None:
        self.batches, self.settled = Batches(), 0
        self.producer = PRODUCER

        def joining(producer: AIOKafkaProducer) -> Batches:
            assert producer is self.producer
            return self.batches

        monkeypatch.setattr(singles, "Joining", joining)
        self.singles = Singles(timeout_s, self._settle)
        self.told: list[tuple[str, int | None, str | None]] = []

    def _settle(self, producer: AIOKafkaProducer, done: asyncio.Future[Any]) -> None:
        assert producer is self.producer
        assert done.done()
        self.settled += 1

    def put(self, name: str, partition: int) -> bool:
        def tell(offset: int | None, trouble: str | None) -> None:
            self.told.append((name, offset, trouble))

        return self.singles.put(self.producer, "sales", partition, b"k", b"v", (), tell)


def at(offset: int, log_start: int = 0) -> SimpleNamespace:
    return SimpleNamespace(offset=offset, log_start_offset=log_start)


async def so(till: Till, count: int) -> None:
    async def come() -> bool:
        return len(till.told) >= count

    await until(come, "be told", 60, every_s=0.001)


async def test_each_fact_of_a_batch_is_told_its_own_offset(monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till(monkeypatch, 60)
    assert all(till.put(name, partition) for name, partition in (("a", 0), ("b", 1), ("c", 0)))

    till.batches.future[0].set_result(at(40))
    await so(till, 2)
    till.batches.future[1].set_result(at(7))
    await so(till, 3)

    assert till.told == [("a", 40, None), ("c", 41, None), ("b", 7, None)]
    assert till.settled == 2


async def test_a_fact_is_told_when_its_time_is_over_and_never_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    till = Till(monkeypatch, 0.02)
    till.put("late", 0)
    till.put("later", 1)
    await so(till, 2)
    till.batches.future[0].set_result(at(1))
    till.batches.future[1].set_result(at(1))
    till.put("alone", 2)
    await so(till, 3)

    why = "Kafka did not confirm within 0.02 s."
    assert till.told == [("late", None, why), ("later", None, why), ("alone", None, why)]


async def test_what_kafka_refused_and_what_has_no_place_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    till = Till(monkeypatch, 60)
    for name, partition in (("refused", 0), ("nowhere", 1), ("cut off", 2)):
        till.put(name, partition)
    till.batches.future[0].set_exception(KafkaError("no"))
    till.batches.future[1].set_result(at(-1, log_start=-1))
    till.batches.future[2].cancel()
    await so(till, 3)

    assert [offset for _, offset, _ in till.told] == [None] * 3
    assert all(trouble and trouble.startswith("Kafka refused: ") for _, _, trouble in till.told)
    assert till.settled == 3


async def test_what_has_no_room_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till(monkeypatch, 60)

    assert not till.put("a", 9)
    assert not till.told


async def test_a_producer_that_was_replaced_is_given_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    till = Till(monkeypatch, 60)
    till.put("old", 0)
    till.batches.future[0].set_result(at(5))
    await so(till, 1)

    old, till.producer, till.batches = till.batches, cast(AIOKafkaProducer, object()), Batches()
    till.put("new", 0)
    till.batches.future[0].set_result(at(9))
    await so(till, 2)

    assert till.told == [("old", 5, None), ("new", 9, None)]
    assert (old.count[0], till.batches.count[0], till.settled) == (1, 1, 2)


async def test_what_was_told_is_forgotten_before_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    till = Till(monkeypatch, 60)
    till.put("first", 0)
    till.put("waits", 1)
    till.put("told", 2)
    for partition in (0, 2):
        till.batches.future[partition].set_result(at(5))
    await so(till, 2)
    # The first is gone; what stands behind one that waits is gone with it.
    assert len(till.singles._waiting) == 2

    for single in till.singles._waiting:
        single.deadline = 0
    till.singles._ring()

    assert [name for name, _, _ in till.told] == ["first", "told", "waits"]
    assert not till.singles._waiting


async def test_who_came_later_waits_his_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    till = Till(monkeypatch, 60)
    till.put("early", 0)
    till.put("late", 1)
    early, late = till.singles._waiting
    early.deadline, late.deadline = 0, asyncio.get_running_loop().time() + 0.5

    assert till.singles._clock is not None
    till.singles._clock.cancel()  # as if it rang now
    till.singles._ring()
    if asyncio.get_running_loop().time() < late.deadline:
        assert [name for name, _, _ in till.told] == ["early"]
    await so(till, 2)

    assert [name for name, _, _ in till.told] == ["early", "late"]
