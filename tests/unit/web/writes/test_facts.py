"""POST: all lines are checked, all are appended or none, and a retry is the same facts."""

import json
from typing import Any

import pytest

from core.partitioning import partition_for
from core.refusals import Refused
from domain.rules.held import CURRENT
from tests.unit.web.shop import PARTITIONS, Shop, a_line, an_event
from web.writes.lines import TYPE_OF_PATH


@pytest.mark.parametrize(
    ("path", "topic"),
    [
        ("/v1/shipments", "eu.shipments"),
        ("/v1/dispatches", "eu.shipments"),
        ("/v1/sales", "eu.sales"),
        ("/v1/returns", "eu.sales"),
        ("/v1/adjustments", "eu.adjustments"),
    ],
)
async def test_a_line_becomes_the_event_of_its_path_under_the_sku_as_key(
    shop: Shop, path: str, topic: str
) -> None:
    line = a_line(reason="found", reference="r", actor="a", time="2026-11-23T10:00:00.123+01:00")

    status, body = await shop.post(path, line)

    (record,) = shop.log.records
    partition = partition_for(b"SKU-1", PARTITIONS)
    assert status == 202
    assert (record.topic, record.partition, record.key) == (topic, partition, b"SKU-1")
    assert json.loads(record.value) == {
        "specversion": "1.0", "id": "1", "source": "till-17", "type": TYPE_OF_PATH[path],
        "time": "2026-11-23T10:00:00.123+01:00",
        "data": {
            "sku": "SKU-1", "location": "s-7", "quantity": 2,
            "reason": "found", "reference": "r", "actor": "a",
        },
    }  # fmt: skip
    position = f"{topic}-{partition}@0"
    assert body == {
        "accepted": 1, "events": [{"id": "1", "position": position}], "position": position,
    }  # fmt: skip


async def test_an_array_is_appended_in_order_and_answered_with_the_furthest_positions(
    shop: Shop,
) -> None:
    lines = [a_line(id=str(i), sku=f"SKU-{i % 2}") for i in range(4)]

    status, body = await shop.post("/v1/sales", lines)

    p0, p1 = (partition_for(sku, PARTITIONS) for sku in (b"SKU-0", b"SKU-1"))
    assert status == 202
    assert body["accepted"] == 4
    assert [event["id"] for event in body["events"]] == ["0", "1", "2", "3"]
    assert body["events"][1]["position"] == f"eu.sales-{p1}@1"
    assert sorted(body["position"].split(",")) == sorted([f"eu.sales-{p0}@2", f"eu.sales-{p1}@3"])


async def test_curls_default_type_is_taken(shop: Shop) -> None:
    status, _ = await shop.post("/v1/sales", a_line(), "application/x-www-form-urlencoded")

    assert status == 202


async def test_one_bad_line_keeps_all_out_and_every_bad_line_is_named(shop: Shop) -> None:
    lines = [
        a_line(id="1"),
        a_line(id="2", quantity=0),
        a_line(id="3", sku=" x"),
        a_line(id="4", time="yesterday"),
        a_line(id=5),
        7,
        a_line(id="7", location=...),
        a_line(id="8", quantity=1.5),
        a_line(id="9", source=17),
    ]

    status, body = await shop.post("/v1/sales", lines)

    assert status == 400
    assert body["type"] == "/problems/invalid-request"
    assert [error["line"] for error in body["errors"]] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert all(error["detail"] and error["reason"] for error in body["errors"])
    assert shop.log.records == []


async def test_whole_numbers_may_be_written_as_floats(shop: Shop) -> None:
    assert (await shop.post("/v1/sales", b"[" + json.dumps(a_line(quantity=2.0)).encode() + b"]"))[
        0
    ] == 202


async def test_a_null_stands_for_a_field_left_out(shop: Shop) -> None:
    line = a_line(time=None, reason=None, reference=None, actor=None)

    assert (await shop.post("/v1/sales", line))[0] == 202
    assert b"null" not in shop.log.records[0].value


async def test_an_adjustment_needs_a_reason_and_may_be_negative(shop: Shop) -> None:
    assert (await shop.post("/v1/adjustments", a_line(quantity=-3)))[0] == 400
    assert (await shop.post("/v1/adjustments", a_line(quantity=-3, reason="theft")))[0] == 202


# ---- identity


async def test_without_an_identity_nothing_is_appended(shop: Shop) -> None:
    lines = [a_line(id="1"), a_line(id=...), a_line(id=None), a_line(source=..., id="4")]

    status, body = await shop.post("/v1/sales", lines)

    assert status == 400
    assert body["type"] == "/problems/missing-identity"
    assert [error["line"] for error in body["errors"]] == [2, 3, 4]
    assert shop.log.records == []


async def test_a_line_that_is_bad_otherwise_makes_the_request_invalid(shop: Shop) -> None:
    lines = [a_line(id=...), a_line(quantity="2")]

    status, body = await shop.post("/v1/sales", lines)

    assert (status, body["type"]) == (400, "/problems/invalid-request")
    assert [error["line"] for error in body["errors"]] == [1, 2]


async def test_an_idempotency_key_gives_ids_and_a_retry_gives_the_same(shop: Shop) -> None:
    lines = [a_line(id=..., sku="A"), a_line(id=..., sku="B")]

    first = await shop.post("/v1/sales", lines, Idempotency_Key="order-77")
    again = await shop.post("/v1/sales", lines, Idempotency_Key="order-77")
    other = await shop.post("/v1/sales", lines, Idempotency_Key="order-78")

    ids = [[event["id"] for event in body["events"]] for _, body in (first, again, other)]
    assert [status for status, _ in (first, again, other)] == [202, 202, 202]
    assert ids[0] == ids[1]
    assert len({*ids[0], *ids[2]}) == 4
    assert [r.value for r in shop.log.records[:2]] == [r.value for r in shop.log.records[2:4]]


async def test_one_object_and_an_array_of_one_are_the_same_fact(shop: Shop) -> None:
    await shop.post("/v1/sales", a_line(id=...), Idempotency_Key="k")
    await shop.post("/v1/sales", [a_line(id=...)], Idempotency_Key="k")

    assert shop.log.records[0].value == shop.log.records[1].value


async def test_an_id_in_the_line_counts_more_than_the_header(shop: Shop) -> None:
    status, body = await shop.post("/v1/sales", a_line(id="mine"), Idempotency_Key="k")

    assert status == 202
    assert body["events"][0]["id"] == "mine"


@pytest.mark.parametrize("key", ["x" * 256, "schlüssel", ""])
async def test_a_key_that_not_all_clients_can_repeat_is_refused(shop: Shop, key: str) -> None:
    status, body = await shop.post("/v1/sales", a_line(id=...), Idempotency_Key=key)

    assert (status, body["type"]) == (400, "/problems/invalid-request")


async def test_the_same_fact_twice_in_one_array_is_taken_and_counted_once(shop: Shop) -> None:
    status, body = await shop.post("/v1/sales", [a_line(), a_line()])

    assert status == 202
    assert body["accepted"] == 2
    assert shop.log.records[0].value == shop.log.records[1].value  # the fold counts one


async def test_one_id_for_two_facts_in_one_array_is_refused(shop: Shop) -> None:
    # Appended, the second would end among the dead letters.
    status, body = await shop.post("/v1/sales", [a_line(), a_line(id="2"), a_line(quantity=3)])

    assert status == 400
    assert [(e["line"], e["reason"]) for e in body["errors"]] == [(3, "id_conflict")]
    assert "line 1" in body["errors"][0]["detail"]


# ---- what is no list of lines


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[{},", b"nul", b"\xff\xfe", b'{"a":1} x', b"[" * 100_000]
)
async def test_what_is_not_json_is_refused_as_a_whole(shop: Shop, body: bytes) -> None:
    status, answer = await shop.post("/v1/sales", body)

    assert (status, answer["type"]) == (400, "/problems/invalid-request")


async def test_an_empty_array_and_one_too_long_are_refused(shop: Shop) -> None:
    long = [a_line(id=str(i)) for i in range(1001)]

    assert (await shop.post("/v1/sales", []))[0] == 400
    assert (await shop.post("/v1/sales", long))[0] == 400
    assert (await shop.post("/v1/sales", long[:1000]))[0] == 202


@pytest.mark.parametrize("text", [b'"\\ud800"', b"1e999", b"9" * 5000, b"[" * 2000 + b"]" * 2000])
async def test_hostile_json_in_a_line_is_a_bad_line_not_a_bug(shop: Shop, text: bytes) -> None:
    for field in (b"sku", b"source", b"quantity", b"anything", b"time"):
        line = json.dumps(a_line(id="x")).encode()[:-1] + b',"' + field + b'":' + text + b"}"

        status, _ = await shop.post("/v1/sales", line)

        assert status in (202, 400)
    assert all(not isinstance(CURRENT.decode(record.value), Refused) for record in shop.log.records)


async def test_an_event_far_too_large_is_named_before_kafka_refuses_it(shop: Shop) -> None:
    status, body = await shop.post("/v1/sales", [a_line(reference="r" * 60_000)])

    assert status == 400
    assert body["errors"][0]["reason"] == "too_large"


@pytest.mark.parametrize("sku", ["Süßigkeit/🍬", "a b", "%2F", "日本" * 64, "a'\"\\"])
async def test_a_sku_in_any_script_is_its_own_key(shop: Shop, sku: str) -> None:
    status, _ = await shop.post("/v1/sales", a_line(sku=sku))

    assert status == 202
    assert shop.log.records[0].key == sku.encode()
    event = CURRENT.decode(shop.log.records[0].value)
    assert not isinstance(event, Refused)
    assert event.data.sku == sku


# ---- CloudEvents


async def test_an_event_is_appended_byte_for_byte(shop: Shop) -> None:
    value = json.dumps(an_event(traceparent="00-1", extra={"a": [1]}), indent=1).encode()

    status, _ = await shop.post("/v1/events", value, "application/cloudevents+json")

    assert status == 202
    assert shop.log.records[0].value == value
    assert shop.log.records[0].topic == "eu.sales"


async def test_a_batch_goes_to_the_topics_of_its_types(shop: Shop) -> None:
    events = [an_event(id=str(i), type=kind) for i, kind in enumerate(TYPE_OF_PATH.values())]
    events[4]["data"]["reason"] = "count"

    status, _ = await shop.post("/v1/events", events, "application/cloudevents-batch+json")

    roles = [record.topic.removeprefix("eu.") for record in shop.log.records]
    assert status == 202
    assert roles == ["shipments", "shipments", "sales", "sales", "adjustments"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"type": "inventory.sale.cancelled.v1"}, "unknown_type"),
        ({"specversion": "0.3"}, "bad_envelope"),
        ({"id": ""}, "bad_envelope"),
        ({"data": {"sku": "a"}}, "bad_data"),
        ({"time": "10:00"}, "bad_time"),
    ],
)
async def test_an_event_that_the_fold_would_refuse_is_refused_here(
    shop: Shop, change: dict[str, Any], reason: str
) -> None:
    batch = [an_event(id="0"), an_event(**change)]

    status, body = await shop.post("/v1/events", batch, "application/cloudevents-batch+json")

    assert status == 400
    assert [(e["line"], e["reason"]) for e in body["errors"]] == [(2, reason)]
    assert shop.log.records == []


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/x"])
async def test_events_are_named_as_what_they_are(shop: Shop, content_type: str) -> None:
    assert (await shop.post("/v1/events", an_event(), content_type))[0] == 415


async def test_batch_and_single_are_not_confused(shop: Shop) -> None:
    assert (await shop.post("/v1/events", [an_event()], "application/cloudevents+json"))[0] == 400
    batch = "application/cloudevents-batch+json"
    assert (await shop.post("/v1/events", an_event(), batch))[0] == 400


# ---- Kafka slow or gone


@pytest.mark.parametrize(
    ("confirmed", "name"),
    [(0, "append-failed"), (1, "append-incomplete"), (2, "append-incomplete")],
)
async def test_what_kafka_did_not_confirm_is_unknown_and_never_called_lost(
    shop: Shop, confirmed: int, name: str
) -> None:
    shop.log.take = confirmed

    status, body = await shop.post("/v1/sales", [a_line(id=str(i)) for i in range(3)])

    statuses = ["appended"] * confirmed + ["unknown"] * (3 - confirmed)
    assert (status, body["type"]) == (503, f"/problems/{name}")
    assert [event["status"] for event in body["events"]] == statuses
    assert [event["id"] for event in body["events"]] == ["0", "1", "2"]
    assert ["position" in event for event in body["events"]] == [
        status == "appended" for status in statuses
    ]


async def test_a_get_or_put_on_a_fact_path_says_what_it_takes(shop: Shop) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
        async with shop.client.request(method, "/v1/sales") as response:
            assert response.status == 405
            assert response.headers["Allow"] == "OPTIONS, POST"
    async with shop.client.options("/v1/sales") as response:
        assert response.status == 204
        assert response.headers["Allow"] == "OPTIONS, POST"
