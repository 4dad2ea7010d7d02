"""Keys, SKUs, lists and lookups over HTTP, through any worker of a small fleet."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from core.stages import Role
from tests.support.inside.fleet import Answer, Fleet, a_fleet, keys
from tests.support.inside.passes import Passes
from web.cluster.peers import Peers

KEYS = [(f"SKU-{n // 3:04d}", f"store-{n % 3}") for n in range(60)]


# ---- one key


@pytest.mark.parametrize(
    ("sku", "location"),
    [
        ("a/b", "c/d"),
        ("..hidden", "a..b"),
        ("100%", "50 %"),
        ("%2F", "%2e%2e"),
        ("é+ü", "店 1"),
        ("a?b", "c#d"),
        ("lookup", "cluster"),
        ("a;b", "c&d=e"),
        ("x" * 128, "ä" * 128),
    ],
)
async def test_any_id_can_be_asked_for_through_any_worker(
    fleet: Fleet, sku: str, location: str
) -> None:
    fleet.put(sku, location, received=7)

    for number in range(3):
        answer = await fleet.row(number, sku, location)
        assert answer.status == 200, answer.data
        assert (answer.body["sku"], answer.body["location"]) == (sku, location)
        assert answer.body["on_hand"] == 7


@pytest.mark.parametrize(
    "path",
    [
        "/v1/inventory/",
        "/v1/inventory/SKU-0001/",
        "/v1/inventory//store-1",
        "/v1/inventory/./store-1",
        "/v1/inventory/SKU-0001/%2e%2e",
        "/v1/inventory/%20a/store-1",
        "/v1/inventory/a%0a/store-1",
        "/v1/inventory/%zz/store-1",
        "/v1/inventory/%ff/store-1",
        f"/v1/inventory/{'x' * 129}/store-1",
        "/v1/inventory/SKU-0001/store-1?color=red",
        "/v1/inventory/SKU-0001/store-1?wait_ms=1&wait_ms=2",
        "/v1/inventory/SKU-0001/store-1?wait_ms=10001",
        "/v1/inventory/SKU-0001/store-1?wait_ms=1.5",
        "/v1/inventory/SKU-0001/store-1?max_lag_events=-1",
        "/v1/inventory?limit=0",
        "/v1/inventory?limit=1001",
        "/v1/inventory?partial=yes",
        "/v1/inventory?location=",
        "/v1/inventory?on_hand_below=few",
        "/v1/inventory?cursor=nonsense",
    ],
)
async def test_what_cannot_be_meant_is_one_clear_400(fleet: Fleet, path: str) -> None:
    answer = await fleet.get(0, path)

    assert (answer.status, answer.problem) == (400, "invalid-request"), answer.data
    assert answer.body["errors"]


async def test_a_400_names_everything_that_is_wrong(fleet: Fleet) -> None:
    answer = await fleet.get(0, "/v1/inventory?limit=0&partial=1&color=red&on_hand_above=1")

    assert [e["parameter"] for e in answer.body["errors"]] == ["color", "limit", "partial"]


@pytest.mark.parametrize(
    "path",
    [
        # yarl folds the dots away, so aiohttp routes it to the row of B.
        "/v1/inventory/A/../B/store-0",
        "/v1/inventory/../inventory/B/store-0",
        "/v1/inventory/a/b/c",
        "/x/../v1/inventory/B/store-0",
    ],
)
async def test_dots_in_a_path_never_lead_to_another_row(fleet: Fleet, path: str) -> None:
    fleet.put("B", "store-0", received=1)

    answer = await fleet.get(0, path)

    assert answer.status == 404
    assert b"store-0" not in answer.data or b"unknown-path" in answer.data


# ---- one SKU


async def test_a_sku_is_its_rows_and_their_sums_through_any_worker(fleet: Fleet) -> None:
    fleet.put("SKU-0005", "store-9", received=2, sold=5, checksum=2**64 - 1, updated_at=7000)

    for number in range(3):
        answer = await fleet.get(number, "/v1/inventory/SKU-0005")
        body = answer.body
        rows = body["items"]
        assert [row["location"] for row in rows] == ["store-0", "store-1", "store-2", "store-9"]
        for name in ("on_hand", "received", "dispatched", "sold", "returned", "events"):
            assert body[name] == sum(row[name] for row in rows), name
        assert body["checksum"] == "f" * 16
        assert body["updated_at"] == "1970-01-01T00:00:07.000Z"
        assert body["freshness"]["role"] == answer.role == "active"

        again = await fleet.get(
            number, "/v1/inventory/SKU-0005", If_None_Match=answer.headers["ETag"]
        )
        assert (again.status, again.data) == (304, b"")


async def test_an_unknown_sku_is_a_404_with_freshness(fleet: Fleet) -> None:
    answer = await fleet.get(0, "/v1/inventory/nothing")

    assert (answer.status, answer.problem) == (404, "unknown-key")
    assert answer.body["freshness"]["role"] == "active"


async def test_a_sku_with_thousands_of_locations_does_not_keep_others_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_fleet(1, count=1) as fleet:
        for number in range(5000):
            fleet.put("SKU-1", f"store-{number:05d}", received=1)
        fleet.put("SKU-2", "store-0", received=1)
        await fleet.row(0, "SKU-2")

        # As if a row took 10 µs, to add up and to write.
        passes = Passes(monkeypatch, a_look_s=0.000_01)
        big = asyncio.create_task(fleet.get(0, "/v1/inventory/SKU-1"))
        await passes.beside(big)

        assert (await big).body["on_hand"] == 5000
        assert sum(passes.work) > 9000
        assert max(passes.work) < 400


# ---- lookups


async def lookup(
    fleet: Fleet, number: int, wanted: list[tuple[str, str]], query: str = ""
) -> Answer:
    body = {"keys": [{"sku": sku, "location": location} for sku, location in wanted]}
    return await fleet.request("POST", number, "/v1/lookup" + query, body)


async def test_a_lookup_answers_many_keys_of_many_workers_in_their_order(fleet: Fleet) -> None:
    wanted = [KEYS[n] for n in (59, 3, 27, 4, 3)]
    for number in range(3):
        # Of one SKU, before, between and behind what is there.
        unknown = [("SKU-0001", name) for name in ("a", "store-00", "z")]
        asked = [unknown[0], *wanted[:2], unknown[1], *wanted[2:4], unknown[2], wanted[4]]

        answer = await lookup(fleet, number, asked)

        assert answer.status == 200
        assert keys(answer) == wanted
        assert [item["on_hand"] for item in answer.body["items"]] == [59, 3, 27, 4, 3]
        assert [(key["sku"], key["location"]) for key in answer.body["unknown"]] == unknown
        assert answer.body["unanswered"] == answer.body["missing_partitions"] == []
        assert answer.role == answer.body["freshness"]["role"] == "active"


async def test_a_lookup_of_a_thousand_keys_reaches_every_owner_once(fleet: Fleet) -> None:
    wanted = [(f"SKU-{n:04d}", "store-0") for n in range(1000)]

    answer = await lookup(fleet, 0, wanted)

    assert len(answer.body["items"]) + len(answer.body["unknown"]) == 1000
    assert [len(worker.seen) for worker in fleet.workers] == [1, 1, 1]


async def test_a_lookup_survives_a_dead_owner(fleet: Fleet) -> None:
    await fleet[2].die()

    answer = await lookup(fleet, 0, KEYS)

    assert keys(answer) == KEYS
    assert answer.role == "standby"


async def test_whose_rows_do_not_fit_the_keys_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask = Peers.ask

    async def one_less(peers: Peers, url: str, request: bytes, *, waits: bool = False) -> Any:
        answer = await ask(peers, url, request, waits=waits)
        body = msgspec.json.decode(answer.body)
        del body["items"][0]
        return msgspec.structs.replace(answer, body=msgspec.json.encode(body))

    monkeypatch.setattr(Peers, "ask", one_less)
    async with a_fleet(2, rows=60) as fleet:
        answer = await lookup(fleet, 0, KEYS)

        assert keys(answer) == KEYS
        assert [item["on_hand"] for item in answer.body["items"]] == list(range(60))
        assert answer.role == "standby"


async def test_an_incomplete_lookup_is_a_503_unless_partial_will_do() -> None:
    async with Fleet(1, count=2) as fleet:
        fleet[0].shelf.hold([0], Role.ACTIVE, sales=1)
        for key in KEYS:
            fleet.put(*key, received=1)

        refused = await lookup(fleet, 0, KEYS)
        partial = await lookup(fleet, 0, KEYS, "?partial=true")

        assert (refused.status, refused.problem) == (503, "partitions-unavailable")
        assert refused.body["missing_partitions"] == [1]
        unanswered = [(key["sku"], key["location"]) for key in partial.body["unanswered"]]
        assert keys(partial) + unanswered != []
        assert sorted(keys(partial) + unanswered) == KEYS
        assert all(fleet[0].shelf.partition_of(sku) == 1 for sku, _ in unanswered)


@pytest.mark.parametrize(
    ("body", "parameter"),
    [
        ([], "body"),
        ({"keys": []}, "keys"),
        ({"keys": [{"sku": "a"}]}, "body"),
        ({"keys": [{"sku": "a", "location": "b"}] * 1001}, "keys"),
        ({"keys": [{"sku": "a", "location": "b"}, {"sku": "", "location": "b"}]}, "keys[1].sku"),
    ],
)
async def test_a_lookup_says_what_is_wrong_with_it(
    fleet: Fleet, body: object, parameter: str
) -> None:
    answer = await fleet.request("POST", 0, "/v1/lookup", body)

    assert (answer.status, answer.problem) == (400, "invalid-request")
    assert answer.body["errors"][0]["parameter"] == parameter


async def test_a_lookup_waits_for_positions_and_refuses_stale_rows(fleet: Fleet) -> None:
    partition = fleet[0].shelf.partition_of(KEYS[0][0])
    never = f"?min_position=sales-{partition}@99&wait_ms=100"
    assert (await lookup(fleet, 0, KEYS, never)).problem == "not-caught-up"
    assert (await lookup(fleet, 0, KEYS, "?min_position=sales-77@99")).status == 200

    for worker in fleet.workers:
        if worker.shelf.freshness(partition) is not None:
            worker.shelf.advance(partition, 11, lag=5)
    assert (await lookup(fleet, 0, KEYS, "?max_lag_events=4")).problem == "too-stale"
    assert (await lookup(fleet, 0, KEYS, "?max_lag_events=5")).status == 200
