"""Lists over HTTP, through any worker of a small fleet."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import pytest
from aiohttp import web

from app.upgrades.diff import sides
from app.upgrades.diff.sides import Side
from core.stages import Role
from domain.rows import split_key
from tables.home.store import row_pairs
from tests.support.inside.fleet import Answer, Fleet, Handler, a_fleet, keys
from tests.support.inside.passes import Passes
from tests.support.inside.patience import hedge_after, never_late
from web.http.pacing import Pacer
from web.reads import cursors
from web.reads.cursors import START, LastGiven
from web.reads.parameters import STORED_ROWS, Filters

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


# ---- rows as they are stored


def stored_in(fleet: Fleet, partition: int) -> list[tuple[bytes, bytes]]:
    """Of a partition, as its owner has them."""
    owner = fleet[partition % len(fleet.workers)].shelf
    return [*row_pairs(owner.held[partition].store)]


def asking_for(fleet: Fleet, number: int) -> Side:
    """A comparison that asks one worker for everything."""

    async def owners(version: int) -> dict[int, str]:
        return dict.fromkeys(range(fleet.count), fleet[number].url)

    return Side(1, 2, fleet.count, fleet[0].queries.peers, owners)


async def stored(side: Side, partition: int) -> tuple[list[tuple[bytes, bytes]], set[str]]:
    """All rows of a partition, and who gave them."""
    place, found, workers = START, list[tuple[bytes, bytes]](), set[str]()
    while True:
        page = await side.page(partition, place)
        found += page.pairs()
        workers.add(page.worker)
        if page.reach is None:
            return found, workers
        place = page.reach


def of_an_older_build(fleet: Fleet, number: int) -> None:
    """A worker that knows no rows as they are stored."""

    def without_accept(handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            kept = request.headers.copy()
            kept.popall("Accept", None)
            return await handler(request.clone(headers=kept))

        return handle

    routes = [
        web.RouteDef(one.method, one.path, without_accept(one.handler), one.kwargs)
        for one in fleet[number].routes
    ]
    fleet[number].routes = routes


@pytest.mark.parametrize("old", [None, 0, 1])
async def test_rows_as_they_are_stored_come_from_their_owner_through_any_worker(
    monkeypatch: pytest.MonkeyPatch, old: int | None
) -> None:
    monkeypatch.setattr(sides, "PAGE_ROWS", 4)
    fleet = Fleet(3, count=6)
    if old is not None:
        of_an_older_build(fleet, old)
    async with fleet:
        fleet.share(60)
        for number in range(3):
            side = asking_for(fleet, number)
            for partition in range(fleet.count):
                found, workers = await stored(side, partition)

                assert found == stored_in(fleet, partition)
                assert workers == {fleet[partition % 3].url}


def first_page(partition: int, count: int, **more: str) -> str:
    """Path and query of the first rows of a partition."""
    places: list[LastGiven] = [None] * count
    places[partition] = START
    query = {"cursor": cursors.token_of(Filters(), places) or "", **more}
    return f"/v1/inventory?{urlencode(query)}"


async def test_rows_as_they_are_stored_are_as_fresh_as_others(fleet: Fleet) -> None:
    page = first_page(1, fleet.count)
    got = await fleet.get(0, page, Accept=STORED_ROWS)
    assert (got.status, got.headers["Content-Type"]) == (200, STORED_ROWS)
    assert (got.role, got.headers["Onhand-Worker"]) == ("active", fleet[1].url)
    assert got.headers["Onhand-Position"] == "sales-1@9"

    asked = first_page(1, fleet.count, min_position="sales-1@99", wait_ms="200")
    never = await fleet.get(0, asked, Accept=STORED_ROWS)
    assert (never.status, never.problem) == (503, "not-caught-up")

    fleet[1].shelf.advance(1, 20)
    assert (await fleet.get(0, page, Accept=STORED_ROWS)).status == 200
    await fleet[1].die()
    older = await fleet.get(0, page, Accept=STORED_ROWS)
    assert (older.status, older.problem) == (503, "not-caught-up")
    fleet[2].shelf.advance(1, 20)
    assert (await fleet.get(0, page, Accept=STORED_ROWS)).role == "standby"


@pytest.mark.parametrize("query", ["", "limit=5", "location=store-1", "sku_prefix=SKU-0"])
async def test_who_wants_more_than_a_partition_is_answered_in_json(
    fleet: Fleet, query: str
) -> None:
    usual = await fleet.get(0, f"/v1/inventory?{query}")
    other = await fleet.get(0, f"/v1/inventory?{query}", Accept=STORED_ROWS)

    assert other.headers["Content-Type"] == "application/json"
    assert keys(other) == keys(usual)


async def test_rows_as_they_are_stored_end_where_their_partition_leaves(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.reads.stored.CHUNK", 2)
    chunks = 0

    async def give_way(pacer: Pacer) -> None:
        nonlocal chunks
        chunks += 1
        if chunks == 2:
            fleet[1].shelf.drop(1)

    monkeypatch.setattr(Pacer, "give_way", give_way)
    rows, side = stored_in(fleet, 1), asking_for(fleet, 1)
    assert len(rows) > 4

    first = await side.page(1, START)
    assert [*first.pairs()] == rows[:4]
    assert first.reach == split_key(rows[3][0])
    fleet[1].shelf.hold([1], Role.STANDBY)
    fleet.tell()
    rest = await side.page(1, first.reach)

    assert [*rest.pairs()] == rows[4:]
    assert rest.worker == fleet[2].url


async def test_a_page_of_rows_as_they_are_stored_does_not_keep_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.reads.stored.CHUNK", 10)
    async with a_fleet(1, count=1) as fleet:
        for number in range(2000):
            fleet.put(f"SKU-{number:05d}", "store-0", received=1)
        path = first_page(0, 1, limit="1000")
        await fleet.get(0, path, Accept=STORED_ROWS)

        # As if 20 rows took as long as a long read may keep the loop.
        passes = Passes(monkeypatch, a_look_s=0.001)
        page = asyncio.create_task(fleet.get(0, path, Accept=STORED_ROWS))
        await passes.beside(page)

        assert (await page).headers["Content-Type"] == STORED_ROWS
        assert sum(passes.work) > 90
        assert max(passes.work) < 8
