"""Lists over HTTP, through any worker of a small fleet."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.fleet import Answer, Fleet, a_fleet, keys
from tests.support.passes import Passes
from tests.support.patience import hedge_after, never_late

KEYS = [(f"SKU-{n // 3:04d}", f"store-{n % 3}") for n in range(60)]


# ---- lists


async def pages(fleet: Fleet, number: int, query: str) -> list[Answer]:
    found, cursor = [], ""
    while True:
        page = await fleet.get(number, f"/v1/inventory?{query}{cursor}")
        assert page.status == 200, page.data
        found.append(page)
        if page.body["next_cursor"] is None:
            return found
        cursor = f"&cursor={page.body['next_cursor']}"


async def test_a_list_is_all_rows_of_all_workers_in_order(fleet: Fleet) -> None:
    for number in range(3):
        found = await pages(fleet, number, "limit=7")

        assert [key for page in found for key in keys(page)] == KEYS
        assert {len(keys(page)) for page in found[:-1]} == {7}
        assert all(page.role == "active" for page in found)


async def test_a_list_can_change_its_worker_between_pages(fleet: Fleet) -> None:
    found, cursor, number = [], "", 0
    while True:
        page = await fleet.get(number % 3, f"/v1/inventory?limit=4{cursor}")
        found += keys(page)
        number += 1
        if page.body["next_cursor"] is None:
            break
        cursor = f"&cursor={page.body['next_cursor']}"

    assert found == KEYS


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("location=store-1", [k for k in KEYS if k[1] == "store-1"]),
        ("sku_prefix=SKU-001", [k for k in KEYS if k[0].startswith("SKU-001")]),
        ("on_hand_below=4", KEYS[:4]),
        ("on_hand_above=50&location=store-0", [KEYS[n] for n in (51, 54, 57)]),
        ("sku_prefix=nothing", []),
        ("sku_prefix=&on_hand_below=-1", []),
    ],
)
async def test_a_list_holds_what_passes_the_filters(
    fleet: Fleet, query: str, wanted: list[tuple[str, str]]
) -> None:
    for number in range(3):
        found = await pages(fleet, number, query)
        assert [key for page in found for key in keys(page)] == wanted


async def test_a_dead_owners_partitions_come_from_the_standby_and_the_page_says_so(
    fleet: Fleet,
) -> None:
    await fleet[1].die()

    found = await pages(fleet, 0, "limit=50")

    assert [key for page in found for key in keys(page)] == KEYS
    assert found[0].role == "standby"
    assert found[0].body["freshness"]["role"] == "standby"


async def test_a_frozen_owners_partitions_come_from_the_standby(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_late(monkeypatch)
    fleet[1].freeze()

    hedge_after(monkeypatch, 0.5)
    page = await fleet.get(0, "/v1/inventory")
    hedge_after(monkeypatch, 600.0)
    seen = len(fleet[1].seen)
    again = await fleet.get(0, "/v1/inventory")

    assert keys(page) == keys(again) == KEYS
    assert len(fleet[1].seen) == seen > 0  # not even asked again
    assert page.role == "standby"


async def test_an_incomplete_list_is_a_503_and_partial_ones_come_back_for_the_rest() -> None:
    async with Fleet(2, count=4) as fleet:
        fleet[0].shelf.hold([0, 1], sales=1)
        fleet[1].shelf.hold([2], sales=1)
        for key in KEYS:
            fleet.put(*key, received=1)
        fleet.tell()

        refused = await fleet.get(0, "/v1/inventory")
        assert (refused.status, refused.problem) == (503, "partitions-unavailable")
        assert refused.body["missing_partitions"] == [3]
        assert "Retry-After" in refused.headers

        partial = await fleet.get(0, "/v1/inventory?partial=true")
        assert partial.body["missing_partitions"] == [3]
        found = keys(partial)
        assert found == sorted(k for k in KEYS if fleet[0].shelf.partition_of(k[0]) != 3)

        cursor = partial.body["next_cursor"]
        waiting = await fleet.get(1, f"/v1/inventory?partial=true&cursor={cursor}")
        assert (waiting.status, waiting.problem) == (503, "partitions-unavailable")

        fleet[1].shelf.hold([3], sales=1)
        for key in KEYS:
            fleet.put(*key, received=1)
        fleet.tell()
        rest = await fleet.get(0, f"/v1/inventory?partial=true&cursor={cursor}")
        assert rest.body["missing_partitions"] == []
        assert rest.body["next_cursor"] is None
        assert sorted(found + keys(rest)) == KEYS


async def test_a_client_that_writes_the_hop_headers_gets_no_wrong_list(fleet: Fleet) -> None:
    refused = await fleet.get(0, "/v1/inventory", Onhand_Hop="1")
    restricted = await fleet.get(0, "/v1/inventory", Onhand_Partitions="0,1")
    partial = await fleet.get(
        0, "/v1/inventory?partial=true", Onhand_Hop="1", Onhand_Partitions="0"
    )
    wrong = await fleet.get(0, "/v1/inventory", Onhand_Partitions="6")

    assert (refused.status, refused.problem) == (503, "partitions-unavailable")
    assert (restricted.status, restricted.problem) == (503, "partitions-unavailable")
    assert partial.body["missing_partitions"] == [1, 2, 3, 4, 5]
    assert (wrong.status, wrong.problem) == (400, "invalid-request")


async def test_a_list_waits_for_a_position_and_says_when_it_is_not_reached(fleet: Fleet) -> None:
    late = asyncio.create_task(fleet.get(0, "/v1/inventory?min_position=sales-1@10&wait_ms=10000"))
    await asyncio.sleep(0.1)
    assert not late.done()
    fleet[1].shelf.advance(1, 11)
    assert (await late).status == 200

    never = await fleet.get(0, "/v1/inventory?min_position=sales-1@99&wait_ms=200")
    assert (never.status, never.problem) == (503, "not-caught-up")
    assert never.body["missing_partitions"] == [1]


async def test_a_list_never_shows_an_older_state_than_the_one_before(fleet: Fleet) -> None:
    fleet[1].shelf.advance(1, 20)
    assert (await fleet.get(0, "/v1/inventory")).status == 200

    await fleet[1].die()

    older = await fleet.get(0, "/v1/inventory")
    assert (older.status, older.problem) == (503, "partitions-unavailable")
    fleet[2].shelf.advance(1, 20)
    assert (await fleet.get(0, "/v1/inventory")).role == "standby"


async def test_a_list_that_scans_much_does_not_keep_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_fleet(1, count=2) as fleet:
        for number in range(8000):
            fleet.put(f"SKU-{number:05d}", "store-0", received=1)
        await fleet.row(0, "SKU-00001")

        # As if 500 rows took as long as a long read may keep the loop.
        passes = Passes(monkeypatch, a_look_s=0.001)
        big = asyncio.create_task(fleet.get(0, "/v1/inventory?location=nowhere"))
        await passes.beside(big)

        page = await big
        assert page.body["items"] == []
        assert page.body["next_cursor"] is None
        assert sum(passes.work) > 30
        assert max(passes.work) < 8


async def test_a_page_stops_scanning_and_goes_on_from_there() -> None:
    async with a_fleet(1, count=1) as fleet:
        for number in range(12_000):
            fleet.put(f"SKU-{number:05d}", "store-0", received=number)

        found = await pages(fleet, 0, "on_hand_above=11997")

        assert len(found) == 3
        assert [len(keys(page)) for page in found] == [0, 0, 2]
