"""`/openapi.json`: every call, header and answer, checked by tests against the real ones.

Schemas of answers come from the very Structs that are encoded, those of query parameters
from what reads them; only what a POST holds is written out here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from domain.events import MAX_ID_CHARS
from web import index
from web.access.callers import Scope
from web.calls import SECURITY_SCHEMES, TAGS, named
from web.cluster.freshness import FRESHNESS_HEADERS, FreshnessBody
from web.cluster.sightings import SIGHTINGS_PATH, SightingsAsked, SightingsBody
from web.describing import (
    APPENDS,
    BODIES,
    EVERY,
    LOADS,
    PROBES,
    READS,
    REF,
    TAGGED,
    WAITS,
    JsonObject,
    array_of,
    as_json_content,
    call_of,
    lines_like,
    query_of,
    ref_to,
)
from web.docs import page
from web.feed.asked import ChangesBody
from web.feed.rows import ResetBody, RowChangesBody
from web.history.bodies import (
    PastListBody,
    PastRowBody,
    PastSkuBody,
    ReportBody,
    TimelineBody,
)
from web.history.passing import AUDIT_PATH, OF_A_VERSION
from web.http.multipart import FORM_DATA
from web.http.problems import PAGES, Fault, Problem
from web.http.replies import JSON, SERVER
from web.operations.audits import AuditBody
from web.operations.ops import ClusterBody, HeldBody, LiveBody, ReadyBody
from web.pastcalls import PAST_ALONE, calls_of_the_past
from web.reads.lists import ListBody
from web.reads.lookups import LookupBody
from web.reads.parameters import LIST, LOOKUP, NAME, READ
from web.reads.questions import Keys
from web.reads.replies import RowBody, SkuBody
from web.recordcalls import calls_of_records
from web.records.deadletters import DeadLettersBody
from web.records.factfinding import FACTS_LOOKUP, FACTS_LOOKUP_PATH, FactsAsked, FactsBody
from web.records.kept import AlertsBody, LoadsBody
from web.versions.neighbours import UPGRADE_PATH, UpgradeBody
from web.writes.documents import BYTES, DOCUMENTS, DOCUMENTS_PATH, FILE, PARTS
from web.writes.facts import POST, AcceptedBody, EventBody
from web.writes.lines import BATCH_JSON, EVENT_JSON, TYPE_OF_PATH
from web.writes.loads import DocumentBody

_STRUCTS = (
    RowBody, SkuBody, ListBody, LookupBody, Keys, AcceptedBody, ClusterBody, ReadyBody, LiveBody,
    FreshnessBody, HeldBody, EventBody, Fault, SightingsAsked, SightingsBody, UpgradeBody,
    DeadLettersBody, FactsBody, FactsAsked, PastRowBody, PastSkuBody, PastListBody, TimelineBody,
    ReportBody, AuditBody, ChangesBody, DocumentBody, RowChangesBody, ResetBody,
    AlertsBody, LoadsBody,
)  # fmt: skip
_TIME = {"type": "string", "format": "date-time"}
_NO_NUL = {"pattern": r"^[^\u0000]*$"}
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, **_NO_NUL}
_PARTITIONS = array_of({"type": "integer"})
_FAULTS = ("errors", array_of(ref_to("Fault")), False)
# What a problem's body holds besides type, title, status and detail: name, schema, required.
_MEMBERS: Mapping[Problem, tuple[str, JsonObject, bool]] = {
    Problem.INVALID_REQUEST: _FAULTS,
    Problem.MISSING_IDENTITY: ("errors", array_of(ref_to("Fault")), True),
    Problem.MISSING_SCOPE: ("scope", {"enum": list(Scope)}, False),
    Problem.UNKNOWN_KEY: ("freshness", ref_to("Freshness"), False),
    Problem.BEFORE_HISTORY: ("begins", _TIME, True),
    Problem.NOT_READY: ("partitions", array_of(ref_to("Held")), False),
    Problem.NOT_CAUGHT_UP: ("missing_partitions", _PARTITIONS, False),
    Problem.TOO_STALE: ("freshness", ref_to("Freshness"), False),
    Problem.PARTITIONS_UNAVAILABLE: ("missing_partitions", _PARTITIONS, True),
    Problem.LINES_REFUSED: ("document", ref_to("Document"), True),
    Problem.ALREADY_LOADED: ("position", {"type": "string"}, True),
    Problem.APPEND_FAILED: ("events", array_of(ref_to("Event")), True),
    Problem.APPEND_INCOMPLETE: ("events", array_of(ref_to("Event")), True),
}

_NONE_MATCH = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
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
        "time": _or_null(_TIME)
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
            "time": _or_null(_TIME),
            "data": ref_to("AdjustmentData" if adjusts else "MovementData"),
        },
    }


def _problem_schema(name: Problem) -> JsonObject:
    page = PAGES[name]
    known = {"type": f"/problems/{name}", "title": page.title, "status": page.status}
    properties: JsonObject = {member: {"const": value} for member, value in known.items()}
    properties["detail"] = {"type": "string"}
    required = list(properties)
    members = [_MEMBERS[name]] if name in _MEMBERS else []
    members += [_FAULTS] if name is Problem.MISSING_SCOPE else []
    for member, schema, always in members:
        properties[member] = schema
        required += [member] if always else []
    text = page.happened
    return {"type": "object", "description": text, "required": required, "properties": properties}


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


def _paths() -> dict[str, JsonObject]:
    sku, location = (
        {"name": name, "in": "path", "required": True, "schema": NAME}
        for name in ("sku", "location")
    )
    found = (*READS, Problem.UNKNOWN_KEY)
    missing = Problem.PARTITIONS_UNAVAILABLE
    event = ref_to("CloudEvent")
    gets = {
        "/v1/inventory/{sku}/{location}": call_of(
            "Stock of one SKU at one location",
            200,
            as_json_content("FreshRow", "PastRow"),
            found,
            parameters=[sku, location, *query_of(READ), *query_of(PAST_ALONE), _NONE_MATCH],
            headers=TAGGED,
            past=True,
        ),
        "/v1/inventory/{sku}": call_of(
            "Stock of one SKU: totals over locations, and the rows",
            200,
            as_json_content("Sku", "PastSku"),
            found,
            parameters=[sku, *query_of(READ), *query_of(PAST_ALONE), _NONE_MATCH],
            headers=TAGGED,
            past=True,
        ),
        "/v1/inventory": call_of(
            "Rows, ordered by SKU, then location, in pages",
            200,
            as_json_content("List", "PastList"),
            (*READS, missing),
            parameters=[*query_of(LIST), *query_of(PAST_ALONE)],
            headers=FRESHNESS_HEADERS,
            past=True,
        ),
        **calls_of_the_past(sku, location),
        **calls_of_records(),
        "/live": call_of("Is the process alive", 200, as_json_content("Live"), PROBES),
        "/ready": call_of(
            "Can it answer for something from its own rows",
            200,
            as_json_content("Ready"),
            (*PROBES, Problem.NOT_READY),
        ),
        "/v1/cluster": call_of("Who holds what, how far", 200, as_json_content("Cluster"), EVERY),
        AUDIT_PATH: call_of(
            "What `onhand audit --watch` found last: drift, by partition and copy",
            200,
            as_json_content("Audit"),
            (*EVERY, Problem.TOO_BUSY, Problem.NOT_READY, Problem.AUDIT_NOT_RUNNING),
            parameters=query_of(OF_A_VERSION),
        ),
        UPGRADE_PATH: call_of(
            "The record of versions, as read here", 200, as_json_content("Upgrade"), EVERY
        ),
        "/metrics": call_of(
            "Prometheus metrics", 200, {"text/plain": {"schema": {"type": "string"}}}, EVERY
        ),
    }
    posts = {
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
        FACTS_LOOKUP_PATH: call_of(
            "The same of up to 100 facts",
            200,
            as_json_content("Facts"),
            (*BODIES, missing, Problem.LOG_UNAVAILABLE),
            parameters=query_of(FACTS_LOOKUP),
            body={JSON: ref_to("FactsAsked")},
        ),
        SIGHTINGS_PATH: call_of(
            "Between workers: what this one, as the owner, holds of these hashes of identities",
            200,
            as_json_content("Sightings"),
            (*BODIES, Problem.NOT_READY),
            body={JSON: ref_to("SightingsAsked")},
        ),
        "/v1/lookup": call_of(
            "Many keys at once: the rows, in the order of the keys",
            200,
            as_json_content("Lookup"),
            (*BODIES, *WAITS, missing),
            parameters=query_of(LOOKUP),
            body={JSON: ref_to("Keys")},
            headers=FRESHNESS_HEADERS,
        ),
    }
    return {path: {"get": named(path, call)} for path, call in gets.items()} | {
        path: {"post": named(path, call)} for path, call in posts.items()
    }


def document(build: str, url: str, *, guarded: bool = True) -> JsonObject:
    """The whole document for one worker.

    Args:
        build: of the code that runs, such as 0.1.0.
        url: of the worker.
        guarded: it asks for tokens; one that does not must not say that it refuses who has none.
    """
    _, of_structs = msgspec.json.schema_components(_STRUCTS, ref_template=REF)
    # RowBody is a name of ours; the world calls it Row.
    told = msgspec.json.encode(of_structs).replace(b'Body"', b'"')
    schemas: JsonObject = msgspec.json.decode(told)
    schemas |= {str(name): _problem_schema(name) for name in Problem}
    schemas["RowChange"]["properties"]["data"] = {"anyOf": [ref_to("ToldRow"), ref_to("Reset")]}
    schemas["FreshRow"] = {"allOf": [ref_to("Row"), {"required": ["freshness"]}]}
    for adjusts, line, kind in ((False, "Line", "Movement"), (True, "Adjustment", "Adjustment")):
        schemas[line] = _line(adjusts)
        schemas[f"{kind}Data"], schemas[f"{kind}Event"] = _data(adjusts), _cloud_event(adjusts)
    kinds = ("Movement", "Adjustment")
    schemas["CloudEvent"] = {"oneOf": [ref_to(f"{kind}Event") for kind in kinds]}
    schemas["Data"] = {"anyOf": [ref_to(f"{kind}Data") for kind in kinds]}
    paths = _paths()
    if not guarded:
        for methods in paths.values():
            for call in methods.values():
                call.pop("security", None)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Onhand",
            "version": build,
            "summary": "How many of this SKU are on hand at this location?",
            "description": "Any worker takes any request. Every GET also takes HEAD; every path "
            "says its methods to OPTIONS and refuses others with 405, unknown ones with 404.",
        },
        "servers": [{"url": url}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas,
            **({"securitySchemes": SECURITY_SCHEMES} if guarded else {}),
        },
    }


def routes(
    build: str, url: str, topics: Mapping[str, Any], *, guarded: bool
) -> Iterable[web.RouteDef]:
    """GET /openapi.json, /asyncapi.json, /docs and /, each made once.

    `topics`: the AsyncAPI document. For the others see `document`.
    """
    whole = document(build, url, guarded=guarded)
    body = msgspec.json.encode(whole)
    headers = {"Content-Type": JSON, "Cache-Control": "no-cache", **SERVER}

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    yield web.get("/openapi.json", get)
    yield from page.routes(whole, topics)
    yield from index.routes(whole)
