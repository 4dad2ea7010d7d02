"""Facts are sent until they are in, and each counts once."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from aiohttp import web

from onhand_client import (
    AsyncClient,
    InvalidRequest,
    Line,
    MissingIdentity,
    NoAnswer,
    TooBusy,
    Unauthenticated,
    Unsure,
)
from onhand_client.writing import MOST_BYTES, MOST_LINES
from tests.unit.client.serving import Script, a_client, a_problem, a_shop, cut, hang, serving


def a_line(**more: Any) -> Line:
    line = {"source": "till-1", "sku": "SKU-1", "location": "store-1", "quantity": 1}
    return {**line, **more}  # type: ignore[typeddict-item]


def accepted(request: web.Request) -> web.Response:
    lines = json.loads(request._read_bytes or b"")
    events = [{"id": line.get("id", "x"), "position": "sales-0@7"} for line in lines]
    body = {"accepted": len(events), "events": events, "position": "sales-0@7"}
    return web.json_response(body, status=202)


def unsure(request: web.Request) -> web.Response:
    events = [{"id": "1", "status": "appended", "position": "sales-0@3"},
              {"id": "2", "status": "unknown"}]  # fmt: skip
    return a_problem("append-incomplete", events=events)


@pytest.mark.parametrize(
    ("call", "topic", "kind"),
    [
        ("shipments", "shipments", "inventory.shipment.received.v1"),
        ("dispatches", "shipments", "inventory.shipment.dispatched.v1"),
        ("sales", "sales", "inventory.sale.completed.v1"),
        ("returns", "sales", "inventory.sale.returned.v1"),
        ("adjustments", "adjustments", "inventory.stock.adjusted.v1"),
    ],
)
async def test_each_call_appends_its_kind_of_fact(call: str, topic: str, kind: str) -> None:
    async with a_shop() as shop, a_client(shop[0].url) as client:
        result = await getattr(client, f"post_{call}")([a_line(id="7", reason="count")])

        (record,) = shop.log.records
        event = json.loads(record.value)
        assert (record.topic, event["type"], event["id"]) == (topic, kind, "7")
        assert result.is_accepted
        assert result.events[0].id == "7"
        assert result.position == result.events[0].position == f"{topic}-{record.partition}@0"


async def test_cloud_events_go_as_they_are() -> None:
    async with a_shop() as shop, a_client(shop[0].url, source="wms") as client:
        data = {"sku": "SKU-1", "location": "store-1", "quantity": 4}
        event = {"type": "inventory.shipment.received.v1", "data": data, "traceparent": "x"}

        result = await client.post_events([event, {**event, "id": "b", "source": "dock"}])

        sent = [json.loads(record.value) for record in shop.log.records]
        assert [one["source"] for one in sent] == ["wms", "dock"]
        assert [one.id for one in result.events] == [one["id"] for one in sent]
        assert sent[0]["traceparent"] == "x"


@pytest.mark.parametrize("trouble", [cut, unsure, lambda request: a_problem("append-failed")])
async def test_after_any_trouble_the_very_same_body_goes_out_again(trouble: Any) -> None:
    scripts = [Script(trouble, trouble, accepted), Script(trouble, trouble, accepted)]
    async with serving(*scripts) as client:
        result = await client.post_sales([a_line()])

    assert result.is_accepted
    sent = [body for script in scripts for *_, body, _ in script.seen]
    assert len(sent) >= 3
    assert len(set(sent)) == 1
    (line,) = json.loads(sent[0])
    assert uuid.UUID(line["id"]).version == 4


async def test_the_lines_of_the_caller_stay_as_they_are() -> None:
    lines = [a_line()]
    async with a_shop() as shop, a_client(shop[0].url) as client:
        await client.post_sales(lines)
        await client.post_sales(lines)

        assert lines == [a_line()]
        assert len({json.loads(record.value)["id"] for record in shop.log.records}) == 2


async def test_with_an_idempotency_key_the_workers_make_the_ids() -> None:
    async with a_shop() as shop, a_client(*shop.urls) as client:
        results = [await client.post_sales([a_line()], idempotency_key="order-7") for _ in range(2)]

        assert results[0].events[0].id == results[1].events[0].id
        assert len({json.loads(record.value)["id"] for record in shop.log.records}) == 1


async def test_a_line_without_source_is_refused_unless_the_client_has_one() -> None:
    line = a_line()
    del line["source"]
    async with a_shop() as shop, a_client(shop[0].url) as client:
        with pytest.raises(MissingIdentity):
            await client.post_sales([line])
    async with a_shop() as shop, a_client(shop[0].url, source="till-9") as client:
        await client.post_sales([line])

        assert json.loads(shop.log.records[0].value)["source"] == "till-9"


async def test_a_write_goes_to_one_worker_at_a_time() -> None:
    scripts = [Script(hang), Script(hang)]
    async with serving(*scripts, write_timeout_s=1.5) as client:
        with pytest.raises(Unsure) as caught:
            await client.post_sales([a_line(id="1")])

    assert sum(len(script.seen) for script in scripts) == 1
    assert [(one.id, one.status) for one in caught.value.result.events] == [("1", "unknown")]


async def test_at_the_deadline_each_event_is_told_as_far_as_it_is_known() -> None:
    async with serving(Script(unsure), write_timeout_s=1.0) as client:
        with pytest.raises(Unsure) as caught:
            await client.post_sales([a_line(id="1"), a_line(id="2")])

    result = caught.value.result
    assert not result.is_accepted
    assert [(one.id, one.status, one.position) for one in result.events] == [
        ("1", "accepted", "sales-0@3"),
        ("2", "unknown", None),
    ]
    assert result.position == "sales-0@3"


async def test_what_surely_did_not_arrive_is_not_called_unsure() -> None:
    async with AsyncClient("http://127.0.0.1:1", write_timeout_s=0.3) as client:
        with pytest.raises(NoAnswer):
            await client.post_sales([a_line()])
    async with serving(
        Script(lambda request: a_problem("too-busy", retry_after="60")), write_timeout_s=9
    ) as client:
        with pytest.raises(TooBusy):
            await client.post_sales([a_line()])


async def test_a_no_after_a_try_that_may_have_arrived_stays_unsure() -> None:
    script = Script(cut, lambda request: a_problem("unauthenticated", 401))
    async with serving(script) as client:
        with pytest.raises(Unsure) as caught:
            await client.post_sales([a_line()])

    assert isinstance(caught.value.__cause__, Unauthenticated)


async def test_more_than_1000_lines_go_in_several_requests_in_their_order() -> None:
    lines = [a_line(id=str(n), sku=f"S{n}") for n in range(2 * MOST_LINES + 1)]
    async with a_shop() as shop, a_client(*shop.urls) as client:
        result = await client.post_sales(lines)

        assert [json.loads(r.value)["id"] for r in shop.log.records] == [x["id"] for x in lines]
        assert [event.id for event in result.events] == [line["id"] for line in lines]
        assert sum(shop.asked("/v1/sales")) == 3
        assert result.position.count("@") == shop.count


async def test_lines_that_are_large_go_in_smaller_requests() -> None:
    lines = [a_line(id=str(n), reference="x" * 60_000) for n in range(40)]
    script = Script(accepted)
    async with serving(script) as client:
        await client.post_sales(lines)

    bodies = [body for *_, body, _ in script.seen]
    assert all(len(body) <= MOST_BYTES + 2 for body in bodies)
    assert [line["id"] for body in bodies for line in json.loads(body)] == [x["id"] for x in lines]


async def test_each_request_of_many_lines_has_a_key_of_its_own() -> None:
    lines = [a_line(sku=f"S{n}") for n in range(MOST_LINES + 1)]
    script = Script(accepted)
    async with serving(script) as client:
        await client.post_sales(lines, idempotency_key="count-7")
        await client.post_sales(lines[:2], idempotency_key="count-8")

    keys = [headers["Idempotency-Key"] for *_, headers in script.seen]
    assert keys == ["count-7/1", "count-7/2", "count-8"]


async def test_a_bad_line_is_told_by_its_place_among_all_with_what_is_in_already() -> None:
    lines = [a_line(id=str(n), sku=f"S{n}") for n in range(MOST_LINES + 5)]
    lines[MOST_LINES + 2]["quantity"] = 0
    async with a_shop() as shop, a_client(*shop.urls) as client:
        with pytest.raises(InvalidRequest) as caught:
            await client.post_sales(lines)

        assert [error["line"] for error in caught.value.errors] == [MOST_LINES + 3]
        assert caught.value.result is not None
        assert len(caught.value.result.events) == len(shop.log.records) == MOST_LINES


async def test_nothing_to_send_is_nothing_sent() -> None:
    async with a_shop(1) as shop, a_client(shop[0].url) as client:
        result = await client.post_sales([])

        assert result == ((), "")
        assert shop.asked("/v1/sales") == [0]


async def test_what_became_of_each_is_asked_for_and_told() -> None:
    def outcome(request: web.Request) -> web.Response:
        assert request.query["outcome"] == "true"
        assert 0 < int(request.query["wait_ms"]) <= 10_000
        events = [{"id": "1", "position": "sales-0@4", "outcome": "repeated", "of": "sales-0@3"},
                  {"id": "2", "position": "sales-0@5", "outcome": "refused",
                   "reason": "id_conflict", "detail": "again"}]  # fmt: skip
        return web.json_response({"accepted": 2, "events": events, "position": "sales-0@5"},
                                 status=202)  # fmt: skip

    async with serving(Script(outcome)) as client:
        one, two = (await client.post_sales([a_line(), a_line()], outcome=True)).events

    assert (one.outcome, one.of, one.reason) == ("repeated", "sales-0@3", None)
    assert (two.outcome, two.reason, two.detail) == ("refused", "id_conflict", "again")


async def test_an_answer_that_does_not_name_each_event_confirms_none() -> None:
    script = Script(lambda request: web.json_response({"ok": True}, status=202))
    async with serving(script) as client:
        with pytest.raises(Unsure) as caught:
            await client.post_sales([a_line(id="1")])

    assert [event.status for event in caught.value.result.events] == ["unknown"]


async def test_a_number_that_json_does_not_know_is_refused_before_anything_is_sent() -> None:
    async with a_shop(1) as shop, a_client(shop[0].url) as client:
        with pytest.raises(ValueError, match="JSON"):
            await client.post_sales([a_line(quantity=float("nan"))])

        assert shop.asked("/v1/sales") == [0]
