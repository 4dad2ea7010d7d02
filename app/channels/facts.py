"""The messages of the three topics of facts: each type of event, in both modes.

Made of the published schemas (`domain/schemas.py`), which stay what they are: as parts of one
document they share the schemas of names and of data. Their words are all of JSON Schema's
draft 07, which every reader of AsyncAPI knows.
"""

from __future__ import annotations

from typing import Any

from domain.events import MAX_ID_CHARS, StockAdjusted, StockEvent
from domain.modes import ATTRIBUTES, CONTENT_TYPE, SPECVERSION, STRUCTURED
from domain.rules.held import NEWEST
from domain.schemas import Schema, export
from web.openapi.describing import ref_to

BINDING = "0.5.0"  # of Kafka, as the newest AsyncAPI 3.0.0 knows it
_SHORT = {True: "AdjustmentData", False: "MovementData"}
_BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_TIME = "2026-11-23T10:00:00.123Z"
_PUBLISHED = {name.removesuffix(".schema.json"): schema for name, schema in export().items()}


def kafka_key(schema: Schema) -> Schema:
    """Bindings of a message with this key."""
    return {"kafka": {"key": schema, "bindingVersion": BINDING}}


def message_name(type_: str, *, binary: bool = False) -> str:
    """`inventory.sale.completed.v1` as the name of its message: `saleCompletedV1`."""
    first, *others = type_.split(".")[1:]
    return first + "".join(map(str.capitalize, others)) + ("Binary" if binary else "")


def fact_messages(role: str) -> dict[str, Schema]:
    """All messages of the topic with this role, by name."""
    found: dict[str, Schema] = {}
    for type_, event in NEWEST.events.items():
        if event.role == role:
            found[message_name(type_)] = _structured(type_, event)
            found[message_name(type_, binary=True)] = _binary(type_, event)
    return found


def structured_names(role: str) -> list[str]:
    """Names of those messages of a role that Onhand itself writes."""
    return [message_name(type_) for type_, event in NEWEST.events.items() if event.role == role]


def fact_schemas() -> dict[str, Schema]:
    """What these messages refer to, by name."""
    found: dict[str, Schema] = {}
    for type_, event in NEWEST.events.items():
        whole = _PUBLISHED[type_]
        found["Name"] = whole["$defs"]["name"]
        properties = dict(whole["properties"])
        found[_data(event)] = _within(properties["data"])
        properties["data"] = ref_to(_data(event))
        known = {name: whole[name] for name in ("title", "description", "type", "required")}
        found[_event(type_)] = known | {"properties": properties}
        found["EventInBase64"] = _in_base64(properties)
    return found


def _within(schema: Any) -> Any:
    """The same, where the names' schema is one of the document's."""
    if isinstance(schema, list):
        return [_within(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$ref") == "#/$defs/name":
        return ref_to("Name")
    return {word: _within(each) for word, each in schema.items()}


def _event(type_: str) -> str:
    name = message_name(type_)
    return name[0].upper() + name[1:]


def _data(event: type[StockEvent]) -> str:
    return _SHORT[event is StockAdjusted]


def _in_base64(properties: Schema) -> Schema:
    """Of any type; that what is within is sound, only who unpacks it can see."""
    same = {name: properties[name] for name in ("specversion", "id", "source", "time")}
    packed = {"type": "string", "pattern": _BASE64, "contentEncoding": "base64"}
    text = "The JSON of `data`, whatever `datacontenttype` says."
    return {
        "description": "An event with `data_base64` in the place of `data`, as some SDKs write it.",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data_base64"],
        "properties": same
        | {"data": {"type": "null"}, "data_base64": packed | {"description": text}},
    }


def _structured(type_: str, event: type[StockEvent]) -> Schema:
    packed = {"allOf": [ref_to("EventInBase64"), {"properties": {"type": {"const": type_}}}]}
    return {
        "name": type_,
        "title": f"{type_}, structured mode",
        "summary": f"{event.__doc__}",
        "contentType": STRUCTURED,
        "headers": {
            "description": "Others are ignored.",
            "type": "object",
            "properties": {
                CONTENT_TYPE: {
                    "type": ["string", "null"],
                    "description": f"`{STRUCTURED}`, in any case and with any parameters: then "
                    "headers `ce_…` beside it count for nothing. Without it there must be no "
                    f"`{SPECVERSION}`.",
                }
            },
            "anyOf": [_has_type(f"^[ \t]*{_any_case(STRUCTURED)}[ \t]*(;|$)"), _NO_MODE_SAID],
        },
        "payload": {"anyOf": [ref_to(_event(type_)), packed]},
        "correlationId": {
            "description": "With `source` the identity: one fact, one id.",
            "location": "$message.payload#/id",
        },
        "bindings": kafka_key(_KEY),
        "examples": [
            {
                "name": message_name(type_),
                "headers": {CONTENT_TYPE: STRUCTURED},
                "payload": {**_attributes(type_, event), "data": _example(event)},
            }
        ],
    }


def _binary(type_: str, event: type[StockEvent]) -> Schema:
    headers = {f"ce_{name}": value for name, value in _attributes(type_, event).items()}
    schemas = {header: _ATTRIBUTE_SCHEMAS[name] for header, name in ATTRIBUTES.items()}
    return {
        "name": type_,
        "title": f"{type_}, binary mode",
        "summary": f"{event.__doc__} The attributes are headers in UTF-8, the value is `data`.",
        "contentType": "application/json",
        "headers": {
            "description": "Names count as they are spelt; of one that comes twice the last "
            "counts. Others are ignored.",
            "type": "object",
            "required": [header for header in ATTRIBUTES if header != "ce_time"],
            "properties": {
                **schemas,
                "ce_type": {"const": type_},
                CONTENT_TYPE: {
                    "description": "JSON, such as `application/json` or "
                    "`application/vnd.shop+json`, or absent.",
                    "anyOf": [{"type": "null"}, {"enum": [""]}, _JSON_TYPE],
                },
            },
        },
        "payload": ref_to(_data(event)),
        "correlationId": {
            "description": "With `ce_source` the identity: one fact, one id.",
            "location": "$message.header#/ce_id",
        },
        "bindings": kafka_key(_KEY),
        "examples": [
            {
                "name": message_name(type_, binary=True),
                "headers": {CONTENT_TYPE: "application/json", **headers},
                "payload": _example(event),
            }
        ],
    }


def _attributes(type_: str, event: type[StockEvent]) -> dict[str, str]:
    ours = {"specversion": "1.0", "id": f"4711-{event.kind + 1}", "source": "till-17"}
    return ours | {"type": type_, "time": _TIME}


def _example(event: type[StockEvent]) -> dict[str, Any]:
    data: dict[str, Any] = {"sku": "SKU-000042", "location": "store-007", "quantity": 2}
    return data | ({"quantity": -1, "reason": "damage"} if event is StockAdjusted else {})


def _any_case(text: str) -> str:
    """A pattern for this text: JSON Schema has no other way to leave upper and lower case open."""
    letters = (f"[{c.upper()}{c}]" if c.isalpha() else f"[{c}]" if c in "+." else c for c in text)
    return "".join(letters)


def _has_type(pattern: str) -> Schema:
    typed = {CONTENT_TYPE: {"type": "string", "pattern": pattern}}
    return {"required": [CONTENT_TYPE], "properties": typed}


_OF_EVENTS = f"^[ \t]*{_any_case('application/cloudevents')}"
#: Neither binary mode, nor a form of CloudEvents that is not read.
_NO_MODE_SAID: Schema = {"not": {"anyOf": [{"required": [SPECVERSION]}, _has_type(_OF_EVENTS)]}}
_JSON_TYPE: Schema = {
    "type": "string",
    "pattern": f"^[ \t]*[^/;]+/([^/;]+[+])?{_any_case('json')}[ \t]*(;|$)",
    "not": {"pattern": _OF_EVENTS},
}
#: The SKU alone: no JSON, no quotes. Not the bare reference: the official schema of AsyncAPI asks
#: that a key be a schema or a reference and not both, and a bare one is both to it.
_KEY: Schema = {"allOf": [ref_to("Name")], "description": "The SKU, in UTF-8."}
_ID: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_ID_CHARS,
    "not": {"pattern": "\\u0000"},
}
_ATTRIBUTE_SCHEMAS: Schema = {
    "specversion": {"const": "1.0"},
    "id": _ID,
    "source": _ID,
    "type": {},
    "time": next(iter(_PUBLISHED.values()))["properties"]["time"],
}
