"""Who waits for a position keeps nobody else out, and waits for nothing that is not there."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from dev.kafka import Kafka
from dev.workers import until
from tests.support.breaking.kafka_tools import create
from tests.support.inside.fleet import Fleet, a_fleet
from tests.support.inside.patience import hedge_after
from web.cluster import admission, pool
from web.cluster.ends import BrokerEnds
from web.http.gate import Gate

SKU = "SKU-0003"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not change who answers."""
    hedge_after(monkeypatch, 600.0)


def never(fleet: Fleet, sku: str = SKU, wait_ms: int = 9000) -> str:
    """A query for a position that nobody reaches."""
    return f"?min_position=sales-{fleet[0].shelf.partition_of(sku)}@999&wait_ms={wait_ms}"


async def until_waiting(fleet: Fleet, number: int, count: int) -> None:
    async def waiting() -> bool:
        return fleet[number].queries.waiters() >= count

    await until(waiting, f"{count} that wait", 60, every_s=0.01)


async def end(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_hundreds_that_wait_through_one_worker_keep_no_other_read_out() -> None:
    async with a_fleet(2, rows=30) as fleet:
        owner = fleet.owner_of(SKU)
        asked = 1 - owner
        waiting = [
            asyncio.create_task(fleet.row(asked, SKU, query=never(fleet))) for _ in range(300)
        ]

        async def all_there() -> bool:
            done = sum(task.done() for task in waiting)
            return fleet[asked].queries.waiters() + done >= len(waiting)

        await until_waiting(fleet, owner, pool.MAX_WAITING)
        await until(all_there, "all that wait, or were refused", 60, every_s=0.01)

        for _ in range(20):
            answer = await fleet.row(asked, SKU)
            assert (answer.status, answer.role) == (200, "active")  # the owner is no suspect
        sku = await fleet.get(asked, f"/v1/inventory/{SKU}")
        rows = await fleet.get(asked, "/v1/inventory")
        assert (sku.status, rows.status) == (200, 200)

        assert fleet[owner].queries.waiters() <= pool.MAX_WAITING
        await end(waiting)


async def test_one_that_waits_too_many_is_told_so_and_others_are_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "MAX_WAITERS", 3)
    async with a_fleet(1, rows=30) as fleet:
        waiting = [asyncio.create_task(fleet.row(0, SKU, query=never(fleet))) for _ in range(3)]
        await until_waiting(fleet, 0, 3)

        for path in (f"/v1/inventory/{SKU}/store-0", f"/v1/inventory/{SKU}", "/v1/inventory"):
            answer = await fleet.get(0, path + never(fleet))
            assert (answer.status, answer.problem) == (503, "too-busy")
            assert (await fleet.get(0, path)).status == 200
        reached = f"?min_position=sales-{fleet[0].shelf.partition_of(SKU)}@9"
        assert (await fleet.row(0, SKU, query=reached)).status == 200

        await end(waiting)


async def test_those_that_wait_take_no_place_of_those_that_do_not() -> None:
    async def handle(request: Any) -> Any:
        return "answered"

    waiting = 5
    gate = Gate(2, lambda: waiting)
    handler = gate.guarding(handle)
    gate.inside = 6
    assert await handler(None) == "answered"  # type: ignore[arg-type]
    waiting = 4
    assert (await handler(None)).status == 503  # type: ignore[arg-type]


async def test_a_position_beyond_the_end_is_refused_without_the_wait() -> None:
    async with a_fleet(2, rows=30) as fleet:
        partition = fleet[0].shelf.partition_of(SKU)
        for worker in fleet.workers:
            worker.ends["sales", partition] = 999
        for number in range(2):
            for path in (f"/v1/inventory/{SKU}/store-0", f"/v1/inventory/{SKU}"):
                answer = await fleet.get(number, path + never(fleet, wait_ms=10_000))

                assert (answer.status, answer.problem) == (503, "not-caught-up")
                assert "No event is at" in answer.body["detail"]  # not that the time is over


async def test_a_position_that_the_log_holds_is_waited_for() -> None:
    async with a_fleet(2, rows=30) as fleet:
        owner, partition = fleet.owner_of(SKU), fleet[0].shelf.partition_of(SKU)
        fleet[owner].ends["sales", partition] = 1000
        late = [asyncio.create_task(fleet.row(n, SKU, query=never(fleet))) for n in range(2)]
        await until_waiting(fleet, owner, 2)
        fleet[owner].shelf.advance(partition, 1000)

        for answer in await asyncio.gather(*late):
            assert (answer.status, answer.role) == (200, "active")


async def test_the_broker_is_asked_after_the_request_and_once_for_all(kafka: Kafka) -> None:
    topic = f"t-{uuid.uuid4().hex[:8]}"
    await create(kafka.bootstrap, topic, 2)
    ends = BrokerEnds({"bootstrap_servers": kafka.bootstrap})
    asked: list[int] = []
    ask = ends._ends

    async def counted(wanted: Any) -> Any:
        asked.append(len(list(wanted)))
        return await ask(wanted)

    ends._ends = counted  # type: ignore[method-assign]
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    await producer.start()
    try:
        for number in range(5):
            await producer.send_and_wait(topic, b"x", partition=1)
            place = (topic, 1)
            answers = await asyncio.gather(*(ends.of([place, (topic, 0)]) for _ in range(200)))
            assert all(answer == {place: number + 1, (topic, 0): 0} for answer in answers)
        assert len(asked) <= 10  # not 1,000
        assert await ends.of([("no-such-topic", 0)]) == {}
    finally:
        await producer.stop()
        await ends.stop()


async def test_without_a_broker_nothing_is_beyond_the_end() -> None:
    ends = BrokerEnds({"bootstrap_servers": "127.0.0.1:1"})

    assert await ends.of([("sales", 1)]) == {}

    await ends.stop()
