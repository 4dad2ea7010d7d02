"""No answer is older than what was asked for, or than what this worker has told before."""

from __future__ import annotations

import asyncio

import pytest

from core.stages import Freshness, Role
from dev.workers import until
from domain.lookup import NotCaughtUp, NotReady, TooStale
from tests.support.inside.fleet import KnownEnds
from tests.support.inside.shelf import TOPICS, Shelf
from web.cluster.admission import ANYTHING, Admission, Asked


def a_desk(sales: int = 10, lag: int = 0) -> tuple[Shelf, Admission]:
    shelf = Shelf(2)
    shelf.hold([0], Role.ACTIVE, sales=sales, lag=lag)
    return shelf, Admission(shelf, TOPICS)


def at_least(offset: int, topic: str = "sales", partition: int = 0, wait_s: float = 0.05) -> Asked:
    return Asked(min_position={(topic, partition): offset}, wait_s=wait_s)


async def test_who_asks_for_nothing_special_gets_what_there_is() -> None:
    shelf, admission = a_desk()

    assert await admission.admit(0, ANYTHING) == shelf.freshness(0) == admission.at_once(0)


async def test_a_partition_that_is_not_held_or_loads_is_not_ready() -> None:
    shelf, admission = a_desk()
    shelf.load(1)

    for partition in (0, 1):
        if partition == 0:
            shelf.drop(0)
        assert isinstance(await admission.admit(partition, ANYTHING), NotReady)
        assert admission.at_once(partition) is None


async def test_a_position_is_waited_for() -> None:
    shelf, admission = a_desk()
    waiting = asyncio.create_task(admission.admit(0, at_least(10, wait_s=5)))
    await asyncio.sleep(0.01)
    assert not waiting.done()

    shelf.advance(0, 11)

    assert isinstance(await waiting, Freshness)


async def test_a_position_that_does_not_come_is_refused() -> None:
    _, admission = a_desk()

    assert isinstance(await admission.admit(0, at_least(10)), NotCaughtUp)


async def test_a_partition_that_leaves_while_its_position_is_awaited_is_not_ready() -> None:
    shelf, admission = a_desk()
    waiting = asyncio.create_task(admission.admit(0, at_least(10, wait_s=3600)))
    await asyncio.sleep(0.01)

    shelf.drop(0)

    # At once: nobody need wait for what cannot come any more.
    assert isinstance(await asyncio.wait_for(waiting, 30), NotReady)


async def test_what_another_worker_claims_beyond_the_end_binds_only_until_the_broker_says_so() -> (
    None
):
    shelf = Shelf(2)
    shelf.hold([0], Role.ACTIVE, sales=10)
    admission = Admission(shelf, TOPICS, KnownEnds({("sales", 0): 11}))

    admission.heard([0], f"sales-0@{10**12}")

    async def lowered() -> bool:
        return admission.floor(0, ANYTHING) == {("sales", 0): 10}

    await until(lowered, "lowered to the end", 30, 0.01)
    shelf.advance(0, 11)

    assert isinstance(await admission.admit(0, ANYTHING), Freshness)
    await admission.close()


async def test_what_other_workers_say_of_unknown_topics_or_partitions_binds_nobody() -> None:
    _, admission = a_desk(sales=10)

    admission.answered(0, "history-0@7,sales-1@99,sales-0@9")
    admission.heard([0, 1], "history-0@7,sales-9@1,sales-0@9")

    assert isinstance(await admission.admit(0, ANYTHING), Freshness)
    assert admission.floor(0, ANYTHING) == {("sales", 0): 9}


@pytest.mark.parametrize(
    "asked", [at_least(99, partition=1), at_least(99, topic="history"), at_least(9)]
)
async def test_only_positions_of_this_partitions_topics_count(asked: Asked) -> None:
    _, admission = a_desk()

    assert isinstance(await admission.admit(0, asked), Freshness)


async def test_a_topic_without_any_event_yet_is_waited_for_too() -> None:
    _, admission = a_desk()

    assert isinstance(await admission.admit(0, at_least(0, topic="adjustments")), NotCaughtUp)


async def test_what_was_told_once_is_the_floor_of_all_later_answers() -> None:
    shelf, admission = a_desk()
    admission.answered(0, "sales-0@14,shipments-0@3")

    assert admission.at_once(0) is None
    assert admission.floor_token([0], ANYTHING) == "sales-0@14,shipments-0@3"
    assert admission.floor_token([0], at_least(20)) == "sales-0@20,shipments-0@3"
    shelf.held[0].advance({"sales": 15, "shipments": 4})
    assert admission.at_once(0) is not None


async def test_positions_that_come_in_any_order_only_raise_the_floor() -> None:
    _, admission = a_desk()
    for token in ("sales-0@14", "sales-0@12", "shipments-0@7", ""):
        admission.answered(0, token)

    assert admission.floor_token([0, 1], ANYTHING) == "sales-0@14,shipments-0@7"


async def test_a_token_of_a_list_raises_the_floor_of_each_partition_in_it() -> None:
    _, admission = a_desk()

    admission.heard([0, 1], "sales-0@5,sales-1@6,shipments-1@7,sales-77@8")

    assert admission.floor_token([0], ANYTHING) == "sales-0@5"
    assert admission.floor_token([1], ANYTHING) == "sales-1@6,shipments-1@7"


async def test_more_events_behind_than_the_caller_takes_is_too_stale() -> None:
    _, admission = a_desk(lag=5)

    assert isinstance(await admission.admit(0, Asked(max_lag_events=4)), TooStale)
    assert isinstance(await admission.admit(0, Asked(max_lag_events=5)), Freshness)


async def test_a_refused_answer_was_not_told() -> None:
    _, admission = a_desk(lag=5)

    await admission.admit(0, Asked(max_lag_events=4))

    assert admission.floor(0, ANYTHING) == {}
