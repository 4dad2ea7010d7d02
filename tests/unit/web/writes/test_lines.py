"""How a body of facts is read: ids made from a key, unknown fields, binary mode, what to say."""

import asyncio
import base64
import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from tests.unit.web.shop import Shop, a_line, an_event
from web.writes.lines import TYPE_OF_PATH, PostedLines, derived_id, ranks_of

# ---- ids from a key


def test_the_definition_of_derived_ids_never_changes() -> None:
    # Written down once. A retry after an upgrade must give the same ids.
    namespace = uuid.UUID("14bf3c54-d6e3-489e-9159-cce1c41efe68")
    odd = ("Kasse Süd", '"quoted"', "inventory.sale.returned.v1", 'a/\u007f\t"\\', "ß", 999)

    assert derived_id("till-17", "order-77", "inventory.sale.completed.v1", "A", "s-7", 0) == str(
        uuid.uuid5(namespace, '["till-17","order-77","inventory.sale.completed.v1","A","s-7",0]')
    )
    assert derived_id(*odd) == str(
        uuid.uuid5(namespace, json.dumps(odd, ensure_ascii=False, separators=(",", ":")))
    )
    assert derived_id(*odd) == "4c121a51-fc58-5288-8d57-07436aa8b4ce"


def test_no_two_lines_can_be_given_the_same_derived_id() -> None:
    def named(source: str = "a", key: str = "b", kind: str = "c", *rest: Any) -> str:
        sku, location, rank = rest or ("d", "e", 1)
        return derived_id(source, key, kind, sku, location, rank)

    ids = {
        named(), named("b", "a"), named('a","b', "c"), named("a", 'b","c'), named("ab", ""),
        named("a", "b", "c", "e", "d", 1), named("a", "b", "c", "d", "e", 11),
        named("a", "b", "c", "d", 'e",1', 1), named("a", "b", "c", "d,e", "", 1),
    }  # fmt: skip

    assert len(ids) == 9


ALIKE: list[dict[str, Any]] = [
    {"quantity": 1}, {"quantity": 2}, {"quantity": 2, "reason": "a"}, {"quantity": 3.0},
    {"quantity": 1, "time": "2026-11-23T10:00:00Z"}, {"quantity": 1, "actor": "x"},
    {"quantity": 1, "sku": "SKU-2"}, {"quantity": 1, "location": "s-8"},
    {"quantity": 1, "source": "till-18"}, {"quantity": 1},
]  # fmt: skip


@given(st.permutations(range(len(ALIKE))))
def test_lines_in_another_order_are_the_same_facts(order: list[int]) -> None:
    async def ids(numbers: Sequence[int]) -> list[str]:
        lines = [Raw(json.dumps(a_line(id=..., **ALIKE[i])).encode()) for i in numbers]
        posted = PostedLines("inventory.sale.completed.v1", "k", await ranks_of(lines))
        events = [posted.event(raw, line) for line, raw in enumerate(lines, 1)]
        return [json.loads(e)["id"] + str(json.loads(e)["data"]) for e in events]  # type: ignore[arg-type]

    # Ids with what they stand for: two lines that are alike in all may change places.
    assert sorted(asyncio.run(ids(order))) == sorted(asyncio.run(ids(range(len(ALIKE)))))
    assert len({told[:36] for told in asyncio.run(ids(order))}) == len(ALIKE)


async def test_a_retry_in_another_order_is_appended_as_the_same_events(shop: Shop) -> None:
    lines = [a_line(id=..., sku=sku, quantity=n) for sku, n in (("A", 1), ("B", 2), ("A", 3))]

    await shop.post("/v1/sales", lines, Idempotency_Key="k")
    await shop.post("/v1/sales", lines[::-1], Idempotency_Key="k")

    values = [record.value for record in shop.log.records]
    assert sorted(values[:3]) == sorted(values[3:])


async def test_another_quantity_under_the_same_key_is_the_same_id(shop: Shop) -> None:
    # So that it is seen as a conflict where it meets the first one, not counted as well.
    await shop.post("/v1/sales", a_line(id=..., quantity=1), Idempotency_Key="k")
    await shop.post("/v1/sales", a_line(id=..., quantity=2), Idempotency_Key="k")

    first, second = (json.loads(record.value) for record in shop.log.records)
    assert first["id"] == second["id"]


async def test_a_line_with_an_id_of_its_own_does_not_move_the_others(shop: Shop) -> None:
    with_id, without = a_line(id="mine"), a_line(id=...)

    _, one = await shop.post("/v1/sales", [with_id, without], Idempotency_Key="k")
    _, other = await shop.post("/v1/sales", [without, with_id], Idempotency_Key="k")

    assert {e["id"] for e in one["events"]} == {e["id"] for e in other["events"]}


# ---- fields that nobody knows


@pytest.mark.parametrize(
    ("field", "meant"), [("tiem", "time"), ("referense", "reference"), ("Sku", "sku"), ("qty", "")]
)
async def test_an_unknown_field_of_a_line_is_refused_by_name(
    shop: Shop, field: str, meant: str
) -> None:
    for path in TYPE_OF_PATH:
        lines = [a_line(reason="r"), a_line(id="2", reason="r", **{field: None})]

        status, body = await shop.post(path, lines)

        (error,) = body["errors"]
        assert (status, error["line"], error["reason"]) == (400, 2, "unknown_field")
        assert f"'{field}'" in error["detail"]
        assert f"did you mean {meant}" in error["detail"] or not meant
    assert shop.log.records == []


@pytest.mark.parametrize("packed", [False, True], ids=["data", "data_base64"])
async def test_an_unknown_field_of_data_is_refused_and_an_unknown_attribute_is_not(
    shop: Shop, packed: bool
) -> None:
    def event(**more: Any) -> dict[str, Any]:
        data = {"sku": "SKU-1", "location": "s-7", "quantity": 2, **more}
        if not packed:
            return an_event(data=data, traceparent="00-1", tiem="x")
        encoded = base64.b64encode(json.dumps(data).encode()).decode()
        return {k: v for k, v in an_event(data_base64=encoded).items() if k != "data"}

    kind = "application/cloudevents+json"
    assert (await shop.post("/v1/events", event(), kind))[0] == 202
    status, body = await shop.post("/v1/events", event(referense="r"), kind)

    assert (status, body["errors"][0]["reason"]) == (400, "unknown_field")
    assert "'referense' (did you mean reference?)" in body["errors"][0]["detail"]


@pytest.mark.parametrize(
    "packed",
    [
        pytest.param(json.dumps(value), id=name)
        for name, value in {
            "a number": 5,
            "true": True,
            "an array": [1],
            "an object": {"sku": "SKU-1"},
            "not base64": "é!",
            "no text": base64.b64encode(b"\xff\xfe").decode(),
            "nested": base64.b64encode(b"[" * 5000 + b"]" * 5000).decode(),
        }.items()
    ],
)
async def test_whatever_is_said_to_be_packed_data_is_refused_and_no_bug(
    shop: Shop, packed: str
) -> None:
    event = {name: value for name, value in an_event().items() if name != "data"}
    body = f'{json.dumps(event)[:-1]},"data_base64":{packed}}}'.encode()

    status, told = await shop.post("/v1/events", body, "application/cloudevents+json")

    assert (status, told["errors"][0]["line"]) == (400, 1)
    assert shop.log.records == []


async def test_a_cloud_event_at_the_path_of_lines_is_told_where_to_go(shop: Shop) -> None:
    _, body = await shop.post("/v1/sales", an_event())

    assert "/v1/events" in body["errors"][0]["detail"]


# ---- what a mistake is called


@pytest.mark.parametrize(
    ("path", "change", "told"),
    [
        ("/v1/sales", {"quantity": -1}, "POST /v1/returns"),
        ("/v1/returns", {"quantity": -1}, "POST /v1/sales"),
        ("/v1/shipments", {"quantity": -1}, "POST /v1/dispatches"),
        ("/v1/sales", {"quantity": ...}, "data.quantity is missing"),
        ("/v1/sales", {"sku": ...}, "data.sku is missing"),
        ("/v1/adjustments", {"quantity": "98"}, "by how much the stock changes, not what was"),
        ("/v1/adjustments", {"reason": ...}, "data.reason is missing"),
        ("/v1/sales", {"sku": "SKU\u200b1"}, "must not hold U+200B, an invisible character"),
        ("/v1/sales", {"sku": "e\u0301"}, "NFC: U+00E9"),
    ],
)
async def test_a_mistake_is_called_by_its_name(
    shop: Shop, path: str, change: dict[str, Any], told: str
) -> None:
    status, body = await shop.post(path, a_line(**({"reason": "count"} | change)))

    assert status == 400
    assert told in body["errors"][0]["detail"]


async def test_a_count_that_confirms_is_an_adjustment_by_0(shop: Shop) -> None:
    assert (await shop.post("/v1/adjustments", a_line(quantity=0, reason="count")))[0] == 202


async def test_another_actor_and_an_empty_word_do_not_make_another_fact(shop: Shop) -> None:
    lines = [a_line(), a_line(actor="b", reference=""), a_line(actor="c", reason="")]

    assert (await shop.post("/v1/sales", lines))[0] == 202


# ---- binary mode, as the HTTP binding has it


HTTP = {
    "ce_specversion": "1.0", "ce_id": "1", "ce_source": "till-17",
    "ce_type": "inventory.sale.completed.v1",
}  # fmt: skip
DATA = {"sku": "SKU-1", "location": "s-7", "quantity": 2}


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=UTF-8", "application/vnd.shop+json"],
)
async def test_an_event_in_binary_mode_is_appended_in_structured_mode(
    shop: Shop, content_type: str
) -> None:
    more = {"ce_time": "2026-11-23T10:00:00Z", "ce_traceparent": "00-1", "CE_Subject": "a%20b"}

    status, body = await shop.post("/v1/events", DATA, content_type, **HTTP, **more)

    media = content_type.partition(";")[0]
    assert (status, body["events"][0]["id"]) == (202, "1")
    assert json.loads(shop.log.records[0].value) == an_event(
        time="2026-11-23T10:00:00Z", traceparent="00-1", subject="a b", datacontenttype=media
    )


@pytest.mark.parametrize(
    ("header", "read"),
    [
        ("Kasse%20S%C3%BCd", "Kasse Süd"), ("Kasse Süd", "Kasse Süd"), ('"a \\"b\\""', 'a "b"'),
        ("100%", "100%"), ("%2525", "%25"),
    ],
)  # fmt: skip
async def test_a_header_is_unescaped_once(shop: Shop, header: str, read: str) -> None:
    await shop.post("/v1/events", DATA, **HTTP | {"ce_source": header})

    assert json.loads(shop.log.records[0].value)["source"] == read


@pytest.mark.parametrize(
    ("change", "content_type", "status", "reason"),
    [
        ({"ce_id": ""}, "application/json", 400, "bad_envelope"),
        ({"ce_specversion": "0.3"}, "application/json", 400, "bad_envelope"),
        ({"ce_type": "x"}, "application/json", 400, "unknown_type"),
        ({"ce_time": "now"}, "application/json", 400, "bad_time"),
        ({"ce_source": "%ff"}, "application/json", 400, None),
        ({}, "text/plain", 415, None),
        ({}, "application/cloudevents+avro", 415, None),
    ],
)
async def test_what_is_wrong_in_binary_mode_is_wrong_as_it_is_in_structured_mode(
    shop: Shop, change: dict[str, str], content_type: str, status: int, reason: str | None
) -> None:
    answered, body = await shop.post("/v1/events", DATA, content_type, **HTTP | change)

    assert answered == status
    assert body.get("errors", [{}])[0].get("reason") == reason
    assert shop.log.records == []


async def test_data_in_binary_mode_may_not_bring_attributes_along(shop: Shop) -> None:
    body = b'{"sku":"SKU-1","location":"s-7","quantity":2},"id":"other"'

    assert (await shop.post("/v1/events", body, **HTTP))[0] == 400
    assert (await shop.post("/v1/events", {**DATA, "id": "2"}, **HTTP))[0] == 400
    assert (await shop.post("/v1/events", [DATA], **HTTP))[0] == 400
    assert shop.log.records == []
