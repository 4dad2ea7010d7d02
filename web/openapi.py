"""`/openapi.json`: every call, header and answer, checked by tests against the real ones.

Schemas of answers come from the very Structs that are encoded, those of query parameters
from what reads them; only what a POST holds is written out here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from domain.events import MAX_ID_CHARS
from web import index
from web.calls import TAGS, named
from web.cluster.freshness import FRESHNESS_HEADERS, FreshnessBody
from web.cluster.sightings import SIGHTINGS_PATH, SightingsAsked, SightingsBody
from web.http.parameters import Parameter
from web.http.problems import PAGES, PROBLEM_JSON, Fault, Problem
from web.http.replies import JSON, SERVER
from web.operations.ops import ClusterBody, HeldBody, LiveBody, ReadyBody
from web.reads.lists import ListBody
from web.reads.lookups import LookupBody
from web.reads.parameters import LIST, LOOKUP, NAME, READ
from web.reads.questions import Keys
from web.reads.replies import RowBody, SkuBody
from web.records.deadletters import DEAD_LETTERS, DEAD_LETTERS_PATH, DeadLettersBody
from web.records.factfinding import (
    FACTS,
    FACTS_LOOKUP,
    FACTS_LOOKUP_PATH,
    FACTS_PATH,
    FactsAsked,
    FactsBody,
)
from web.versions.neighbours import UPGRADE_PATH, UpgradeBody
from web.writes.facts import POST, AcceptedBody, EventBody
from web.writes.lines import BATCH_JSON, EVENT_JSON, TYPE_OF_PATH

Json = dict[str, Any]

_STRUCTS = (
    RowBody, SkuBody, ListBody, LookupBody, Keys, AcceptedBody, ClusterBody, ReadyBody, LiveBody,
    FreshnessBody, HeldBody, EventBody, Fault, SightingsAsked, SightingsBody, UpgradeBody,
    DeadLettersBody, FactsBody, FactsAsked,
)  # fmt: skip
_REF = "#/components/schemas/{name}"


def _ref(name: str) -> Json:
    return {"$ref": _REF.format(name=name)}


def _array(items: Json) -> Json:
    return {"type": "array", "items": items}


def _lines(item: Json) -> Json:
    return {**_array(item), "minItems": 1, "maxItems": 1000}


_TIME = {"type": "string", "format": "date-time"}
_NO_NUL = {"pattern": r"^[^\u0000]*$"}
_ID = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, **_NO_NUL}
_PARTITIONS = _array({"type": "integer"})
# What a problem's body holds besides type, title, status and detail: name, schema, required.
_MEMBERS: Mapping[Problem, tuple[str, Json, bool]] = {
    Problem.INVALID_REQUEST: ("errors", _array(_ref("Fault")), False),
    Problem.MISSING_IDENTITY: ("errors", _array(_ref("Fault")), True),
    Problem.UNKNOWN_KEY: ("freshness", _ref("Freshness"), True),
    Problem.NOT_READY: ("partitions", _array(_ref("Held")), False),
    Problem.NOT_CAUGHT_UP: ("missing_partitions", _PARTITIONS, False),
    Problem.TOO_STALE: ("freshness", _ref("Freshness"), False),
    Problem.PARTITIONS_UNAVAILABLE: ("missing_partitions", _PARTITIONS, True),
    Problem.APPEND_FAILED: ("events", _array(_ref("Event")), True),
    Problem.APPEND_INCOMPLETE: ("events", _array(_ref("Event")), True),
}

_TAGGED = {"ETag": "Weak; for If-None-Match.", **FRESHNESS_HEADERS}
_OF_STATUS = {
    405: {"Allow": "Methods of this path."},
    415: {"Accept": "Media types that this call takes."},
    503: {"Retry-After": "Whole seconds."},
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


def _headers(texts: Mapping[str, str]) -> Json:
    text = {"type": "string"}
    return {n: {"description": t, "schema": text, "required": True} for n, t in texts.items()}


def _query(parameters: Mapping[str, Parameter]) -> list[Json]:
    return [
        {
            "name": name,
            "in": "query",
            "schema": one.schema,
            "description": one.text,
            **({"required": True} if one.required else {}),
        }
        for name, one in parameters.items()
    ]


def _or_null(schema: Json) -> Json:
    """`null` stands for absent, as many serialisers write it."""
    return {**schema, "type": [schema["type"], "null"]}


_SAID = {name: _or_null({"type": "string", **_NO_NUL}) for name in ("reason", "reference", "actor")}
_REASON = {"type": "string", "minLength": 1, **_NO_NUL}


def _line(adjusts: bool) -> Json:
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


def _data(adjusts: bool) -> Json:
    """What a CloudEvent holds, as a line does."""
    line = _line(adjusts)
    fields = ("sku", "location", "quantity", "reason", "reference", "actor")
    return line | {
        "required": [name for name in line["required"] if name in fields],
        "properties": {name: line["properties"][name] for name in fields},
    }


def _cloud_event(adjusts: bool) -> Json:
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
            "data": _ref("AdjustmentData" if adjusts else "MovementData"),
        },
    }


def _problem_schema(name: Problem) -> Json:
    page = PAGES[name]
    known = {"type": f"/problems/{name}", "title": page.title, "status": page.status}
    properties: Json = {member: {"const": value} for member, value in known.items()}
    properties["detail"] = {"type": "string"}
    required = list(properties)
    if name in _MEMBERS:
        member, schema, always = _MEMBERS[name]
        properties[member] = schema
        required += [member] if always else []
    text = page.happened
    return {"type": "object", "description": text, "required": required, "properties": properties}


def _problems(names: Iterable[Problem]) -> dict[str, Json]:
    by_status: dict[int, list[Problem]] = {}
    for name in names:
        by_status.setdefault(PAGES[name].status, []).append(name)
    responses: dict[str, Json] = {}
    for status, some in by_status.items():
        texts = FRESHNESS_HEADERS if Problem.UNKNOWN_KEY in some else _OF_STATUS.get(status, {})
        refs = [_ref(name) for name in some]
        responses[str(status)] = {
            "description": "; ".join(PAGES[name].title for name in some),
            "headers": _headers(texts),
            "content": {PROBLEM_JSON: {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}},
        }
    return responses


_EVERY = (Problem.INVALID_REQUEST, Problem.INTERNAL_ERROR)
_WAITS = (Problem.NOT_READY, Problem.NOT_CAUGHT_UP, Problem.TOO_STALE)
_READS = (*_EVERY, *_WAITS, Problem.TOO_BUSY)
_BODIES = (
    *_EVERY, Problem.REQUEST_TIMEOUT, Problem.TOO_LARGE, Problem.UNSUPPORTED_MEDIA_TYPE,
    Problem.TOO_BUSY,
)  # fmt: skip
_APPENDS = (*_BODIES, Problem.APPEND_FAILED, Problem.APPEND_INCOMPLETE)


def _call(
    summary: str,
    status: int,
    answer: Json,
    problems: Iterable[Problem],
    *,
    parameters: Sequence[Json] = (),
    body: Mapping[str, Json] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Json:
    """One method of a path. `body`: schemas by media type."""
    ok = {"description": "As asked for", "headers": _headers(headers or {}), "content": answer}
    call: Json = {"summary": summary, "responses": {str(status): ok, **_problems(problems)}}
    if headers is _TAGGED:
        unchanged = {"description": "You have it", "headers": ok["headers"]}
        call["responses"]["304"] = unchanged
    if parameters:
        call["parameters"] = parameters
    if body is not None:
        content = {kind: {"schema": schema} for kind, schema in body.items()}
        call["requestBody"] = {"required": True, "content": content}
    return call


def _json(name: str) -> Json:
    return {JSON: {"schema": _ref(name)}}


def _fact(path: str, kind: str) -> Json:
    line = _ref("Adjustment" if "adjusted" in kind else "Line")
    return _call(
        f"Append {path.rpartition('/')[2]} ({kind}): one, or an array; all are appended or none. "
        "With the same ids a retry is counted once. The same source and id twice in one array is "
        "counted once, too; with other content it is refused.",
        202,
        _json("Accepted"),
        (*_APPENDS, Problem.MISSING_IDENTITY),
        parameters=[_KEY, *_query(POST)],
        body={JSON: {"oneOf": [line, _lines(line)]}},
    )


def _paths() -> dict[str, Json]:
    sku, location = (
        {"name": name, "in": "path", "required": True, "schema": NAME}
        for name in ("sku", "location")
    )
    found = (*_READS, Problem.UNKNOWN_KEY)
    missing = Problem.PARTITIONS_UNAVAILABLE
    event = _ref("CloudEvent")
    gets = {
        "/v1/inventory/{sku}/{location}": _call(
            "Stock of one SKU at one location",
            200,
            _json("FreshRow"),
            found,
            parameters=[sku, location, *_query(READ), _NONE_MATCH],
            headers=_TAGGED,
        ),
        "/v1/inventory/{sku}": _call(
            "Stock of one SKU: totals over locations, and the rows",
            200,
            _json("Sku"),
            found,
            parameters=[sku, *_query(READ), _NONE_MATCH],
            headers=_TAGGED,
        ),
        "/v1/inventory": _call(
            "Rows, ordered by SKU, then location, in pages",
            200,
            _json("List"),
            (*_READS, missing),
            parameters=_query(LIST),
            headers=FRESHNESS_HEADERS,
        ),
        FACTS_PATH: _call(
            "What became of a fact, each time that it came, as far back as the answer says",
            200,
            _json("Facts"),
            (*_EVERY, Problem.TOO_BUSY, missing, Problem.LOG_UNAVAILABLE),
            parameters=_query(FACTS),
        ),
        DEAD_LETTERS_PATH: _call(
            "What was refused, and why: newest first, in pages",
            200,
            _json("DeadLetters"),
            (*_EVERY, Problem.TOO_BUSY, Problem.LOG_UNAVAILABLE),
            parameters=_query(DEAD_LETTERS),
        ),
        "/live": _call("Is the process alive", 200, _json("Live"), _EVERY),
        "/ready": _call(
            "Can it answer for something from its own rows",
            200,
            _json("Ready"),
            (*_EVERY, Problem.NOT_READY),
        ),
        "/v1/cluster": _call("Who holds what, how far", 200, _json("Cluster"), _EVERY),
        UPGRADE_PATH: _call("The record of versions, as read here", 200, _json("Upgrade"), _EVERY),
        "/metrics": _call(
            "Prometheus metrics", 200, {"text/plain": {"schema": {"type": "string"}}}, _EVERY
        ),
    }
    posts = {
        **{path: _fact(path, kind) for path, kind in TYPE_OF_PATH.items()},
        "/v1/events": _call(
            "Append CloudEvents, in structured mode byte for byte; all are appended or none. In "
            "binary mode the body is `data` and attributes are headers `ce-…`, percent-encoded",
            202,
            _json("Accepted"),
            _APPENDS,
            parameters=_query(POST),
            body={EVENT_JSON: event, BATCH_JSON: _lines(event), JSON: _ref("Data")},
        ),
        FACTS_LOOKUP_PATH: _call(
            "The same of up to 100 facts",
            200,
            _json("Facts"),
            (*_BODIES, missing, Problem.LOG_UNAVAILABLE),
            parameters=_query(FACTS_LOOKUP),
            body={JSON: _ref("FactsAsked")},
        ),
        SIGHTINGS_PATH: _call(
            "Between workers: what this one, as the owner, holds of these hashes of identities",
            200,
            _json("Sightings"),
            (*_BODIES, Problem.NOT_READY),
            body={JSON: _ref("SightingsAsked")},
        ),
        "/v1/lookup": _call(
            "Many keys at once: the rows, in the order of the keys",
            200,
            _json("Lookup"),
            (*_BODIES, *_WAITS, missing),
            parameters=_query(LOOKUP),
            body={JSON: _ref("Keys")},
            headers=FRESHNESS_HEADERS,
        ),
    }
    return {path: {"get": named(path, call)} for path, call in gets.items()} | {
        path: {"post": named(path, call)} for path, call in posts.items()
    }


def document(build: str, url: str) -> Json:
    """The whole document for one worker. `build`: of the code that runs, such as 0.1.0."""
    _, of_structs = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
    # RowBody is a name of ours; the world calls it Row.
    schemas: Json = msgspec.json.decode(msgspec.json.encode(of_structs).replace(b'Body"', b'"'))
    schemas |= {str(name): _problem_schema(name) for name in Problem}
    schemas["FreshRow"] = {"allOf": [_ref("Row"), {"required": ["freshness"]}]}
    for adjusts, line, kind in ((False, "Line", "Movement"), (True, "Adjustment", "Adjustment")):
        schemas[line] = _line(adjusts)
        schemas[f"{kind}Data"], schemas[f"{kind}Event"] = _data(adjusts), _cloud_event(adjusts)
    kinds = ("Movement", "Adjustment")
    schemas["CloudEvent"] = {"oneOf": [_ref(f"{kind}Event") for kind in kinds]}
    schemas["Data"] = {"anyOf": [_ref(f"{kind}Data") for kind in kinds]}
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
        "paths": _paths(),
        "components": {"schemas": schemas},
    }


def routes(build: str, url: str) -> Iterable[web.RouteDef]:
    """GET /openapi.json and GET /, encoded once."""
    whole = document(build, url)
    body = msgspec.json.encode(whole)
    headers = {"Content-Type": JSON, "Cache-Control": "no-cache", **SERVER}

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    yield web.get("/openapi.json", get)
    yield from index.routes(whole)
