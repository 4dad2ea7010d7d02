"""Calls that take facts and documents, and what a line and an event of theirs hold.

No Struct says this: a body may be one line or many, and each line is judged by itself.
"""

from __future__ import annotations

from domain.events import MAX_ID_CHARS
from web.http.multipart import FORM_DATA
from web.http.problems import Problem
from web.http.replies import JSON
from web.openapi.describing import (
    APPENDS,
    DATE_TIME,
    LOADS,
    JsonObject,
    as_json_content,
    call_of,
    lines_like,
    query_of,
    ref_to,
)
from web.reads.parameters import NAME
from web.writes.documents import BYTES, DOCUMENTS, DOCUMENTS_PATH, FILE, PARTS
from web.writes.facts import POST
from web.writes.lines import BATCH_JSON, EVENT_JSON, TYPE_OF_PATH

_NO_NUL = {"pattern": r"^[^\u0000]*$"}
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, **_NO_NUL}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Instead of `id` in the lines: ids are made from it, source, type, SKU, "
    "location and the line's rank among those of equal SKU and location. A retry needs the same "
    "key and the same lines, in any order.",
}


def _or_null(schema: JsonObject) -> JsonObject:
    """`null` stands for absent, as many serialisers write it."""
    return {**schema, "type": [schema["type"], "null"]}


_SAID = {name: _or_null({"type": "string", **_NO_NUL}) for name in ("reason", "reference", "actor")}
_REASON = {"type": "string", "minLength": 1, **_NO_NUL}


def _line(adjusts: bool) -> JsonObject:
    """One line of a POST."""
    quantity = {"type": "integer", "maximum": 10**9, "minimum": -(10**9) if adjusts else 1}
    what = "In the SKU's smallest unit" + (
        ": by how much the stock changes, not what was counted." if adjusts else "."
    )
    properties = {
        "source": _ID | {"description": "Who says it, such as a till."},
        "id": _or_null(_ID)
        | {"description": "Which of its facts this is; made before the first try."},
        "sku": NAME,
        "location": NAME,
        "quantity": quantity | {"description": what},
        "time": _or_null(DATE_TIME)
        | {"description": "When it occurred; the time of recording if absent."},
        **_SAID,
        **({"reason": _REASON} if adjusts else {}),
    }
    required = ["source", "sku", "location", "quantity", *(["reason"] if adjusts else [])]
    known_only = {"additionalProperties": False}
    return {"type": "object", "required": required, "properties": properties, **known_only}


def _data(adjusts: bool) -> JsonObject:
    """What a CloudEvent holds, as a line does."""
    line = _line(adjusts)
    fields = ("sku", "location", "quantity", "reason", "reference", "actor")
    return line | {
        "required": [name for name in line["required"] if name in fields],
        "properties": {name: line["properties"][name] for name in fields},
    }


def _cloud_event(adjusts: bool) -> JsonObject:
    """In structured mode. Extensions are allowed."""
    kinds = [kind for kind in TYPE_OF_PATH.values() if ("adjusted" in kind) is adjusts]
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _ID,
            "source": _ID,
            "type": {"enum": sorted(kinds)},
            "time": _or_null(DATE_TIME),
            "data": ref_to("AdjustmentData" if adjusts else "MovementData"),
        },
    }


def schemas_of_lines() -> dict[str, JsonObject]:
    """By name. An adjustment may be negative, and says why; no other line may."""
    schemas: dict[str, JsonObject] = {}
    for adjusts, line, kind in ((False, "Line", "Movement"), (True, "Adjustment", "Adjustment")):
        schemas[line] = _line(adjusts)
        schemas[f"{kind}Data"], schemas[f"{kind}Event"] = _data(adjusts), _cloud_event(adjusts)
    kinds = ("Movement", "Adjustment")
    schemas["CloudEvent"] = {"oneOf": [ref_to(f"{kind}Event") for kind in kinds]}
    schemas["Data"] = {"anyOf": [ref_to(f"{kind}Data") for kind in kinds]}
    return schemas


def _fact(path: str, kind: str) -> JsonObject:
    line = ref_to("Adjustment" if "adjusted" in kind else "Line")
    return call_of(
        f"Append {path.rpartition('/')[2]} ({kind}): one, or an array; all are appended or none. "
        "With the same ids a retry is counted once. The same source and id twice in one array is "
        "counted once, too; with other content it is refused.",
        202,
        as_json_content("Accepted"),
        (*APPENDS, Problem.MISSING_IDENTITY),
        parameters=[_KEY, *query_of(POST)],
        body={JSON: {"oneOf": [line, lines_like(line)]}},
    )


def _documents() -> JsonObject:
    """One document, with what it needs beside it."""
    some = {"type": "string", "contentMediaType": BYTES}
    parts = {"type": "object", "required": [FILE], "properties": dict.fromkeys(PARTS, some)}
    call = call_of(
        "Load a document, such as a CSV or Excel file, EPCIS, X12 or EDIFACT: all of its lines "
        "become facts, or none",
        202,
        as_json_content("Document"),
        LOADS,
        parameters=query_of(DOCUMENTS),
        body={FORM_DATA: parts | {"additionalProperties": False}, BYTES: {}},
    )
    checked = {"description": "What would become of it (`dry_run=true`)"}
    call["responses"]["200"] = call["responses"]["202"] | checked
    return call


def calls_of_facts() -> dict[str, JsonObject]:
    """POSTs, by path."""
    event = ref_to("CloudEvent")
    return {
        **{path: _fact(path, kind) for path, kind in TYPE_OF_PATH.items()},
        "/v1/events": call_of(
            "Append CloudEvents, in structured mode byte for byte; all are appended or none. In "
            "binary mode the body is `data` and attributes are headers `ce-…`, percent-encoded",
            202,
            as_json_content("Accepted"),
            APPENDS,
            parameters=query_of(POST),
            body={EVENT_JSON: event, BATCH_JSON: lines_like(event), JSON: ref_to("Data")},
        ),
        DOCUMENTS_PATH: _documents(),
    }
