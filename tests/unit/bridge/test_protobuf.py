"""Protobuf in a bridge: what the official serializer writes, field by field."""

import base64
import json
from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from tests.support.topics.registries import Registry
from tests.support.topics.serialized import (
    Reading,
    a_file,
    a_map,
    an_order,
    proto_serialized,
)


@pytest.mark.parametrize("in_header", [False, True])
async def test_protobuf_is_read_with_the_schemas_number_before_it_or_in_a_header(
    registry: Registry, in_header: bool
) -> None:
    paths = {
        "time": "value.at",
        "id": "value.shops.1",
        "reason": "value.kind",
        "actor": 'value.tags."till.no"',
        "reference": "value.price.cents",
    }
    written = proto_serialized(registry, an_order(), in_header)

    event = await Reading(a_map("protobuf", **paths), registry=registry.url).event(*written)

    assert event["id"] == "s-2"
    assert event["time"] == "2026-11-18T11:06:40.123456789Z"
    assert event["data"] == {
        "sku": "A",
        "location": "s",
        "quantity": 2,
        "reason": "SOLD",
        "actor": "17",
        "reference": "5",
    }


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"sku": None, "ean": 4006381333931}, "value.sku, the sku, is not there."),
        ({"shop": None}, "value.shop, the location, is not there."),
    ],
)
async def test_a_field_that_was_not_set_is_not_there(
    registry: Registry, changed: dict[str, Any], told: str
) -> None:
    written = proto_serialized(registry, an_order(**changed))

    assert await Reading(a_map("protobuf"), registry=registry.url).refused(*written) == told


async def test_a_number_of_protobuf_that_nobody_set_is_0(registry: Registry) -> None:
    written = proto_serialized(registry, an_order(n=None))
    (letter,) = (
        await Reading(a_map("protobuf"), registry=registry.url).translated(*written)
    ).letters

    assert (letter.reason, "data.quantity" in letter.detail) == ("bad_data", True)


async def test_a_number_longer_than_any_is_refused_and_not_worked_out(registry: Registry) -> None:
    value, headers = proto_serialized(registry, an_order())
    overlong = value[:5] + bytes([value[5] | 0x80]) + b"\x80" * 10 + b"\0" + value[6:]

    told = await Reading(a_map("protobuf"), registry=registry.url).refused(overlong, headers)

    assert told == "Which message of its schema the value is cannot be read."


async def test_lines_of_a_message_are_a_fact_each(registry: Registry) -> None:
    by = a_map("protobuf", top='each = "value.shops"', sku="value.sku", location="each")
    written = proto_serialized(registry, an_order())

    found = await Reading(by, registry=registry.url).translated(*written)

    assert [json.loads(fact.value)["data"]["location"] for fact in found.facts] == ["s-1", "s-2"]


async def test_decimals_that_registries_take_as_known_are_numbers(registry: Registry) -> None:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = a_file("sale.proto")
    file.dependency.extend(
        ["confluent/meta.proto", "confluent/type/decimal.proto", "google/type/decimal.proto"]
    )
    sale = file.message_type.add(name="Sale")
    for number, (name, kind) in enumerate(
        (("sku", None), ("n", ".confluent.type.Decimal"), ("shop", ".google.type.Decimal")), 1
    ):
        of = kinds.TYPE_MESSAGE if kind else kinds.TYPE_STRING
        sale.field.add(name=name, number=number, label=1, type=of, type_name=kind)
    text = base64.b64encode(file.SerializeToString()).decode()
    number = registry.register("s", {"schemaType": "PROTOBUF", "schema": text})["id"]
    unscaled = b"\x0a\x01\xc8\x10\x04\x18\x02"  # C8, signed: -56; scale 2: -0.56
    whole = b"\x0a\x02\x00\xc8\x18\x02"  # 200; scale 2: 2
    head = b"\0" + number.to_bytes(4, "big") + b"\0" + b"\x0a\x01A"
    shop = b"\x1a\x04\x0a\x02" + b"70"

    def value(n: bytes) -> bytes:
        return bytes(head + b"\x12" + bytes([len(n)]) + n + shop)

    reading = Reading(a_map("protobuf"), registry=registry.url)
    assert (await reading.event(value(whole)))["data"] == {
        "sku": "A", "location": "70", "quantity": 2,
    }  # fmt: skip
    assert "'-0.56', no whole number" in await reading.refused(value(unscaled))


@pytest.mark.parametrize("number", ["Infinity", "sNaN", "NaN", "1E+1000000", "7.5"])
async def test_a_decimal_that_is_no_name_of_anything_is_refused(
    registry: Registry, number: str
) -> None:
    file = a_file("odd.proto")
    file.dependency.append("google/type/decimal.proto")
    odd = file.message_type.add(name="Odd")
    odd.field.add(name="sku", number=1, label=1, type=11, type_name=".google.type.Decimal")
    text = base64.b64encode(file.SerializeToString()).decode()
    schema = registry.register("odd", {"schemaType": "PROTOBUF", "schema": text})["id"]
    inside = b"\x0a" + bytes([len(number)]) + number.encode()
    value = b"\0" + schema.to_bytes(4, "big") + b"\0" + b"\x0a" + bytes([len(inside)]) + inside

    reading = Reading(a_map("protobuf"), registry=registry.url)

    assert await reading.refused(value) == "value.sku, the sku, is no text."
