"""Avro in a bridge: what the official serializer writes is read by the schema that wrote it."""

import json
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema as OfficialSchema
from confluent_kafka.schema_registry import (
    SchemaReference,
)

from tests.support.topics.registries import Registry
from tests.support.topics.serialized import (
    LINE,
    RICH,
    RICH_PATHS,
    RICHLY,
    Reading,
    a_map,
    serialized,
)


@pytest.mark.parametrize("in_header", [False, True])
async def test_avro_is_read_with_the_schemas_number_before_it_or_in_a_header(
    registry: Registry, in_header: bool
) -> None:
    written = serialized(registry, LINE, {"sku": "A", "shop": "s", "n": 2}, in_header)

    event = await Reading(a_map("avro"), registry=registry.url).event(*written)

    assert event["data"] == {"sku": "A", "location": "s", "quantity": 2}
    assert event["id"] == "orders-3@41"
    kind = "guids/" if in_header else "ids/"
    assert [path.partition("schemas/")[2].startswith(kind) for path in registry.asked] == [True]


async def test_logical_types_unions_maps_and_lists_of_avro_are_what_they_mean(
    registry: Registry,
) -> None:
    written = serialized(registry, RICH, RICHLY)
    reading = Reading(a_map("avro", **RICH_PATHS), registry=registry.url)

    event = await reading.event(*written)

    assert event["id"] == "5f1d9c1e-0d3b-4a5e-9b7e-0c8b7a6d5e4f"
    assert event["time"] == "2026-11-18T11:06:40.000123Z"
    assert event["data"] == {
        "sku": "A-7",
        "location": "s-2",
        "quantity": 3,
        "reason": "SOLD",
        "reference": "90210",
        "actor": "17",
    }


@pytest.mark.parametrize(
    ("changed", "paths", "told"),
    [
        ({"n": Decimal("2.50")}, {}, "value.n, the quantity, is '2.50', no whole number."),
        (
            {},
            {"time": "value.local"},
            "value.local, the time, is of a clock whose zone nobody knows.",
        ),
        ({}, {"location": "value.raw"}, "value.raw, the location, is no text."),
        ({"article": None}, {}, "value.article.number, the sku, is not there."),
        (
            {"article": "A"},
            {},
            "The text on the way to value.article.number is not JSON: JSON is malformed: invalid "
            "character (byte 0).",
        ),
    ],
)
async def test_what_an_avro_value_does_not_say_is_told(
    registry: Registry, changed: dict[str, Any], paths: dict[str, str], told: str
) -> None:
    written = serialized(registry, RICH, RICHLY | changed)
    reading = Reading(a_map("avro", **RICH_PATHS | paths), registry=registry.url)

    assert await reading.refused(*written) == told


async def test_a_value_is_read_by_the_schema_that_wrote_it_whatever_came_later(
    registry: Registry,
) -> None:
    old = {**LINE, "fields": LINE["fields"]}
    new = {
        **LINE,
        "fields": [
            {"name": "till", "type": ["null", "string"], "default": None},
            {"name": "n", "type": "long"},
            {"name": "shop", "type": "string"},
            {"name": "sku", "type": "string"},
        ],
    }
    value = {"sku": "A", "shop": "s", "n": 2}
    written = [serialized(registry, schema, value) for schema in (old, new, old)]
    reading = Reading(a_map("avro"), registry=registry.url)

    events = [await reading.event(*one) for one in written]

    assert [event["data"] for event in events] == [events[0]["data"]] * 3
    assert len(registry.asked) == 2


async def test_an_avro_schema_is_read_with_those_that_it_refers_to(registry: Registry) -> None:
    registry.register("line", {"schema": json.dumps(LINE)})
    reference = SchemaReference("Line", "line", 1)
    schema = [{"type": "record", "name": "Order", "fields": [{"name": "line", "type": "Line"}]}]
    official = OfficialSchema(json.dumps(schema[0]), "AVRO", [reference])
    value = {"line": {"sku": "A", "shop": "s", "n": 2}}
    written = serialized(registry, None, value, official=official)
    by = a_map("avro", sku="value.line.sku", location="value.line.shop", quantity="value.line.n")

    event = await Reading(by, registry=registry.url).event(*written)

    assert event["data"]["sku"] == "A"


async def test_a_change_event_of_debezium_may_be_avro(registry: Registry) -> None:
    schema = {
        "type": "record",
        "name": "Envelope",
        "fields": [{"name": "op", "type": "string"}, {"name": "after", "type": ["null", LINE]}],
    }
    paths = {"sku": "value.after.sku", "location": "value.after.shop", "quantity": "value.after.n"}
    value = {"op": "c", "after": {"sku": "A", "shop": "s", "n": 2}}
    reading = Reading(a_map("avro", "debezium", **paths), registry=registry.url)

    assert (await reading.event(*serialized(registry, schema, value)))["data"]["quantity"] == 2
    found = await reading.translated(*serialized(registry, schema, {"op": "d", "after": None}))
    assert (found.left, found.facts, found.letters) == (1, [], [])
    no_change = serialized(registry, LINE, value["after"])
    assert (await reading.refused(*no_change)).startswith("The value has no op, so it is no change")
