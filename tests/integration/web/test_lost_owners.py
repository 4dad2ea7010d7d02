"""What a reader gets while an owner is dead, frozen, silent, leaving or not known yet."""

from __future__ import annotations

import asyncio
import time

import pytest

from core.stages import Role
from dev.workers import until
from tests.support.inside.fleet import Answer, Fleet, a_claim, a_fleet
from tests.support.inside.patience import hedge_after, never_late
from web.cluster.heartbeats import WorkerState


async def test_a_dead_owners_standby_answers_at_once_and_says_so() -> None:
    async with a_fleet(3, rows=30) as fleet:
        owner = fleet.owner_of("SKU-0003")
        await fleet[owner].die()
        asked = (owner + 2) % 3

        # Nobody is passed over for being slow here: the refused connection says it.
        answer = await fleet.row(asked, "SKU-0003")

        assert answer.status == 200
        assert answer.role == "standby"
        assert answer.body["freshness"]["worker"] == fleet[(owner + 1) % 3].url


async def test_a_frozen_owner_costs_one_slow_answer_then_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_late(monkeypatch)
    async with a_fleet(3, rows=30) as fleet:
        owner = fleet.owner_of("SKU-0003")
        asked = (owner + 2) % 3
        await fleet.row(asked, "SKU-0003")
        fleet[owner].freeze()

        hedge_after(monkeypatch, 0.25)
        slow = await fleet.row(asked, "SKU-0003")
        hedge_after(monkeypatch, 600.0)
        seen = len(fleet[owner].seen)
        quick = await fleet.row(asked, "SKU-0003")

        assert (slow.status, slow.role) == (quick.status, quick.role) == (200, "standby")
        assert len(fleet[owner].seen) == seen > 1  # not even asked again

        fleet[owner].wake()
        fleet.tell(owner)  # it woke, and says so
        assert (await fleet.row(asked, "SKU-0003")).role == "active"


async def test_a_frozen_owner_without_standby_is_a_503_at_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hedge_after(monkeypatch, 0.25)
    async with Fleet(2) as fleet:
        fleet[1].shelf.hold(range(4), sales=10)
        fleet.tell()
        fleet[1].freeze()

        started = time.perf_counter()
        answer = await fleet.row(0, "SKU-0003")  # without a deadline: never

        assert time.perf_counter() - started > 1.0
        assert (answer.status, answer.problem) == (503, "not-ready")
        assert answer.headers["Retry-After"] == "1"


async def test_a_standby_asks_the_owner_and_answers_itself_when_that_fails() -> None:
    async with a_fleet(2, rows=30) as fleet:
        owner = fleet.owner_of("SKU-0003")
        assert (await fleet.row(1 - owner, "SKU-0003")).role == "active"

        await fleet[owner].die()

        answer = await fleet.row(1 - owner, "SKU-0003")
        assert (answer.status, answer.role) == (200, "standby")


async def test_a_former_owner_answers_itself_until_another_is_known() -> None:
    async with Fleet(2) as fleet:
        fleet[0].shelf.hold(range(4), Role.FORMER, sales=10)
        fleet[1].shelf.hold(range(4), Role.STANDBY, sales=10)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()
        assert [(await fleet.row(n, "SKU-1")).role for n in (0, 1)] == ["former", "standby"]

        fleet.lie(1, *(a_claim(p, Role.ACTIVE, 11) for p in range(4)))

        assert (await fleet.row(0, "SKU-1")).body["freshness"]["worker"] == fleet[1].url


async def test_a_former_owner_that_is_behind_never_says_that_a_key_is_unknown() -> None:
    async with Fleet(2) as fleet:
        fleet[0].shelf.hold(range(4), Role.FORMER, sales=10, lag=1)
        fleet[1].shelf.hold(range(4), Role.ACTIVE, sales=11)
        for path in ("/v1/inventory/SKU-1/store-0", "/v1/inventory/SKU-1"):
            # Nobody else is known; then the owner is, who has it.
            answer = await fleet.get(0, path)
            assert (answer.status, answer.problem) == (503, "not-ready")
            assert (await fleet.get(0, path, Onhand_Hop="1")).status == 503
        fleet[1].shelf.put("SKU-1", "store-0", received=1, events=1)
        fleet.tell(1)
        for path in ("/v1/inventory/SKU-1/store-0", "/v1/inventory/SKU-1"):
            assert (await fleet.get(0, path)).status == 200

        fleet[0].shelf.advance(0, 11)
        p = fleet[0].shelf.partition_of("SKU-2")
        fleet[0].shelf.advance(p, 11)
        fleet.lie(1, state=WorkerState.GONE)
        # With nothing beyond it, an unknown key is unknown.
        assert (await fleet.row(0, "SKU-2")).status == 404


async def test_who_asks_between_two_owners_waits_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_late(monkeypatch)
    async with Fleet(2, count=1) as fleet:
        fleet[0].shelf.hold([0], Role.FORMER, sales=10, lag=1)
        fleet.tell()
        question = asyncio.create_task(fleet.row(1, "SKU-1"))

        async def was_asked_again() -> bool:
            return len(fleet[0].seen) > 1

        await until(was_asked_again, "asked again", 60)
        assert not question.done()
        fleet[0].shelf.put("SKU-1", "store-0", received=1, events=1)
        fleet[0].shelf.advance(0, 11)

        answer = await question
        assert (answer.status, answer.body["received"]) == (200, 1)


async def test_a_former_owner_that_is_behind_leaves_no_key_out_of_a_list_or_lookup() -> None:
    async with Fleet(2, count=1) as fleet:
        fleet[0].shelf.hold([0], Role.FORMER, sales=10, lag=1)
        fleet[1].shelf.hold([0], Role.ACTIVE, sales=11)
        fleet.put("SKU-0", "store-0", received=1)
        fleet[1].shelf.put("SKU-1", "store-0", received=1, events=1)
        both = {"keys": [{"sku": sku, "location": "store-0"} for sku in ("SKU-0", "SKU-1")]}
        path = "/v1/inventory"

        async def lookup(body: object = both) -> Answer:
            return await fleet.request("POST", 0, "/v1/lookup", body)

        # Nobody else is known: what is missing is not known to be missing.
        for answer in (await fleet.get(0, path), await lookup()):
            assert (answer.status, answer.problem) == (503, "partitions-unavailable")
            assert answer.body["missing_partitions"] == [0]
        assert (await fleet.get(0, f"{path}?partial=true", Onhand_Hop="1")).status == 503
        assert (await lookup({"keys": both["keys"][:1]})).status == 200  # it has that one

        fleet.tell(1)
        for answer in (await fleet.get(0, path), await lookup()):
            assert [item["sku"] for item in answer.body["items"]] == ["SKU-0", "SKU-1"]

        fleet[0].shelf.advance(0, 11)
        fleet.lie(1, state=WorkerState.GONE)
        # With nothing beyond it, what it does not have is unknown.
        assert (await fleet.get(0, path)).status == 200
        assert (await lookup()).body["unknown"] == [{"sku": "SKU-1", "location": "store-0"}]


async def test_an_owner_that_leaves_is_asked_only_if_nobody_else_can_answer() -> None:
    async with Fleet(2, count=1) as fleet:
        fleet[1].shelf.hold([0], sales=10)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.lie(1, a_claim(0, Role.ACTIVE, 10), state=WorkerState.LEAVING)
        alone = await fleet.row(0, "SKU-1")
        fleet[0].shelf.hold([0], Role.STANDBY, sales=10)
        fleet[0].shelf.put("SKU-1", "store-0", received=1)
        not_alone = await fleet.row(0, "SKU-1")

        assert (alone.role, not_alone.role) == ("active", "standby")


async def test_a_worker_that_fell_silent_gets_one_try_if_nobody_else_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Fleet(2, count=1) as fleet:
        fleet[1].shelf.hold([0], sales=10)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()
        monkeypatch.setattr("web.cluster.roster.SILENCE_S", -1.0)

        assert (await fleet.row(0, "SKU-1")).status == 200  # too busy for heartbeats, no more
        fleet[1].freeze()
        hedge_after(monkeypatch, 0.25)
        assert (await fleet.row(0, "SKU-1")).status == 503

        tries = len(fleet[1].seen)
        assert (await fleet.row(0, "SKU-1")).status == 503
        assert len(fleet[1].seen) == tries


async def test_a_zombie_that_calls_itself_active_is_overruled_by_a_higher_position() -> None:
    async with Fleet(2, count=1) as fleet:
        fleet[0].shelf.hold([0], Role.ACTIVE, sales=10)
        fleet[1].shelf.hold([0], Role.ACTIVE, sales=12)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()

        answer = await fleet.row(0, "SKU-1")

        assert answer.body["freshness"]["worker"] == fleet[1].url


async def test_a_list_or_lookup_between_two_owners_waits_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_late(monkeypatch)
    key = {"sku": "SKU-1", "location": "store-0"}
    for number in (0, 1):  # the last owner itself, and a worker that asks it
        async with Fleet(2, count=1) as fleet:
            fleet[0].shelf.hold([0], Role.FORMER, sales=10, lag=1)
            fleet.tell()
            questions = [
                asyncio.create_task(fleet.get(number, "/v1/inventory")),
                asyncio.create_task(fleet.request("POST", number, "/v1/lookup", {"keys": [key]})),
            ]

            async def were_asked_again(fleet: Fleet = fleet, number: int = number) -> bool:
                paths = [path.partition("?")[0] for _, path, is_hop in fleet[0].seen if is_hop]
                at_once = number == 0 and len(fleet[0].seen) == 2
                return at_once or min(map(paths.count, ("/v1/inventory", "/v1/lookup"))) > 1

            await until(were_asked_again, "asked again", 60)
            assert not any(question.done() for question in questions)
            fleet[0].shelf.put("SKU-1", "store-0", received=1, events=1)
            fleet[0].shelf.advance(0, 11)

            for question in questions:
                answer = await question
                assert (answer.status, answer.body["items"][0]["received"]) == (200, 1)
                assert answer.body["missing_partitions"] == []


async def test_of_a_list_only_what_is_between_two_owners_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_late(monkeypatch)
    async with Fleet(2, count=2) as fleet:
        fleet[0].shelf.hold([0], Role.FORMER, sales=10, lag=1)
        fleet[0].shelf.hold([1], Role.ACTIVE, sales=10)
        fleet.tell()
        question = asyncio.create_task(fleet.get(1, "/v1/inventory?partial=true"))

        async def was_asked_again() -> bool:
            return len(fleet[0].seen) > 1

        await until(was_asked_again, "asked again", 60)
        fleet[0].shelf.advance(0, 11)

        answer = await question
        assert (answer.status, answer.body["missing_partitions"]) == (200, [])
        assert sorted(p[:7] for p in answer.body["positions"].split(",")) == ["sales-0", "sales-1"]
        # By then there is a floor for the other one, which would be named.
        assert not any("sales-1" in path for _, path, _ in fleet[0].seen[1:])


async def test_with_the_owner_gone_the_freshest_copy_is_asked_and_own_rows_are_never_left_out() -> (
    None
):
    async with Fleet(4, count=1) as fleet:
        fleet[0].shelf.hold([0], Role.STANDBY, sales=10)
        fleet[1].shelf.hold([0], Role.ACTIVE, sales=13)
        fleet[2].shelf.hold([0], Role.STANDBY, sales=12)
        fleet[3].shelf.hold([0], Role.STANDBY, sales=11)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()
        await fleet[1].die()

        answer = await fleet.row(0, "SKU-1")
        page = await fleet.get(0, "/v1/inventory")

        assert answer.body["freshness"]["worker"] == fleet[2].url
        assert page.body["freshness"]["worker"] == fleet[2].url
        await fleet[2].die()
        assert (await fleet.row(0, "SKU-1")).status == 503  # older than what was told
        await fleet[3].die()
        fleet[0].shelf.advance(0, 13)
        assert (await fleet.row(0, "SKU-1")).body["freshness"]["worker"] == fleet[0].url
