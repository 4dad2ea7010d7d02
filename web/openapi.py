"""`/openapi.json`: every call, header and answer, checked by tests against the real ones.

Schemas of answers come from the very Structs that are encoded; only what comes in, and the
problems, are written out here.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from web.facts import BATCH, EVENT, TYPE_OF_PATH, AcceptedBody
from web.lists import ListBody
from web.lookups import Keys, LookupBody
from web.ops import ClusterBody, LiveBody, ReadyBody
from web.parameters import LIST, LOOKUP, NAME, READ, Parameter
from web.problems import PAGES, PROBLEM_JSON, SERVER, Problem
from web.replies import JSON, FreshnessBody, RowBody, SkuBody

Json = dict[str, Any]

_ANSWERS = (
    RowBody, SkuBody, ListBody, LookupBody, Keys, AcceptedBody, ClusterBody, ReadyBody, LiveBody,
    FreshnessBody,
)  # fmt: skip
_REF = "#/components/schemas/{name}"
_TIME = {"type": "string", "format": "date-time"}
_LINES = "An array of 1 to 1,000 of them is taken too: all are appended or none."
_PARTITIONS = {"type": "array", "items": {"type": "integer"}}

# What a problem's body holds besides type, title, status and detail: (schema, required).
_EVENT_RESULTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["id", "status"],
        "properties": {
            "id": {"type": "string"},
            "status": {"enum": ["appended", "unknown"]},
            "position": {"type": "string"},
        },
    },
}
_ERRORS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["detail"],
        "properties": {
            "line": {"type": "integer", "minimum": 1},
            "reason": {"type": "string"},
            "parameter": {"type": "string"},
            "detail": {"type": "string"},
        },
    },
}
_FRESHNESS = {"$ref": _REF.format(name="Freshness")}
_MEMBERS: Mapping[Problem, Mapping[str, tuple[Json, bool]]] = {
    Problem.INVALID_REQUEST: {"errors": (_ERRORS, False)},
    Problem.MISSING_IDENTITY: {"errors": (_ERRORS, True)},
    Problem.UNKNOWN_KEY: {"freshness": (_FRESHNESS, True)},
    Problem.NOT_READY: {
        "partitions": ({"type": "array", "items": {"$ref": _REF.format(name="Held")}}, False)
    },
    Problem.NOT_CAUGHT_UP: {"missing_partitions": (_PARTITIONS, False)},
    Problem.TOO_STALE: {"freshness": (_FRESHNESS, False)},
    Problem.PARTITIONS_UNAVAILABLE: {"missing_partitions": (_PARTITIONS, True)},
    Problem.APPEND_FAILED: {"events": (_EVENT_RESULTS, True)},
    Problem.APPEND_INCOMPLETE: {"events": (_EVENT_RESULTS, True)},
}

_FRESH_HEADERS = {
    "Onhand-Role": "Who answers: the `active` owner, the `former` one, or a `standby`.",
    "Onhand-Worker": "URL of the worker whose rows these are.",
    "Onhand-Position": "Events up to this opaque token are in the answer; for `min_position`.",
    "Onhand-Lag-Events": "Events in the log, known by `Onhand-As-Of`, that are not in the answer.",
    "Onhand-As-Of": "When a broker last answered this worker for this partition.",
}
_HEADERS: Mapping[str, Json] = {
    name: {"description": text, "schema": {"type": "string"}}
    for name, text in {
        **_FRESH_HEADERS,
        "ETag": "Weak; for If-None-Match.",
        "Retry-After": "Whole seconds.",
        "Allow": "Methods of this path.",
        "Accept": "Media types that this call takes.",
    }.items()
}
_HEADERS_OF_STATUS = {405: ["Allow"], 415: ["Accept"], 503: ["Retry-After"]}


def _query(parameters: Mapping[str, Parameter]) -> list[Json]:
    return [
        {"name": name, "in": "query", "schema": one.schema, "description": one.text}
        for name, one in parameters.items()
    ]


_NONE_MATCH = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Instead of `id` in the lines: id = UUIDv5 of line number, key and source. "
    "A retry needs the same key and the same body.",
}


def _path(*names: str) -> list[Json]:
    return [{"name": name, "in": "path", "required": True, "schema": NAME} for name in names]


def _line(adjusts: bool) -> Json:
    """One line of a POST."""
    quantity = {"type": "integer", "maximum": 10**9, "minimum": -(10**9) if adjusts else 1}
    properties = {
        "source": NAME | {"description": "Who says it, such as a till."},
        "id": NAME | {"description": "Which of its facts this is; made before the first try."},
        "sku": NAME,
        "location": NAME,
        "quantity": quantity | {"description": "In the SKU's smallest unit."},
        "time": {**_TIME, "description": "When it occurred; the time of recording if absent."},
        "reason": {"type": "string"},
        "reference": {"type": "string"},
        "actor": {"type": "string"},
    }
    required = ["source", "sku", "location", "quantity", *(["reason"] if adjusts else [])]
    return {"type": "object", "required": required, "properties": properties}


_CLOUD_EVENT: Json = {
    "type": "object",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": NAME,
        "source": NAME,
        "type": {"enum": sorted(TYPE_OF_PATH.values())},
        "time": _TIME,
        "data": {"type": "object"},
    },
}


def _problem_schema(name: Problem) -> Json:
    members = _MEMBERS.get(name, {})
    return {
        "type": "object",
        "description": PAGES[name].happened,
        "required": ["type", "title", "status", "detail"]
        + [member for member, (_, required) in members.items() if required],
        "properties": {
            "type": {"const": f"/problems/{name}"},
            "title": {"const": PAGES[name].title},
            "status": {"const": PAGES[name].status},
            "detail": {"type": "string"},
            **{member: schema for member, (schema, _) in members.items()},
        },
    }


def _problems(names: Iterable[Problem], fresh: Sequence[str] = ()) -> dict[str, Json]:
    by_status: dict[int, list[Problem]] = {}
    for name in names:
        by_status.setdefault(PAGES[name].status, []).append(name)
    responses: dict[str, Json] = {}
    for status, of_status in by_status.items():
        refs = [{"$ref": _REF.format(name=name)} for name in of_status]
        headers = _HEADERS_OF_STATUS.get(status, [])
        if Problem.UNKNOWN_KEY in of_status:
            headers = [*headers, *fresh]
        responses[str(status)] = {
            "description": "; ".join(PAGES[name].title for name in of_status),
            "headers": {name: {**_HEADERS[name], "required": True} for name in headers},
            "content": {PROBLEM_JSON: {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}},
        }
    return responses


def _ok(text: str, body: str | None, headers: Iterable[str] = (), kind: str = JSON) -> Json:
    answer: Json = {
        "description": text,
        "headers": {name: {**_HEADERS[name], "required": True} for name in headers},
    }
    if body is not None:
        answer["content"] = {kind: {"schema": {"$ref": _REF.format(name=body)}}}
    return answer


_EVERY = (Problem.INVALID_REQUEST, Problem.INTERNAL_ERROR)
_READS = (*_EVERY, Problem.NOT_READY, Problem.NOT_CAUGHT_UP, Problem.TOO_STALE, Problem.TOO_BUSY)
_BODIES = (
    *_EVERY, Problem.REQUEST_TIMEOUT, Problem.TOO_LARGE, Problem.UNSUPPORTED_MEDIA_TYPE,
    Problem.TOO_BUSY,
)  # fmt: skip
_APPENDS = (*_BODIES, Problem.MISSING_IDENTITY, Problem.APPEND_FAILED, Problem.APPEND_INCOMPLETE)


def _fact(path: str, kind: str) -> Json:
    line = {"$ref": _REF.format(name="Adjustment" if "adjusted" in kind else "Line")}
    schema = {"oneOf": [line, {"type": "array", "items": line, "minItems": 1, "maxItems": 1000}]}
    return {
        "summary": f"Append {path.rpartition('/')[2]} ({kind})",
        "description": f"{_LINES} With the same ids a retry is counted once. The same source and "
        "id twice in one array is counted once, too; with other content it is refused.",
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": {JSON: {"schema": schema}}},
        "responses": {
            "202": _ok("In the log, acknowledged by all in-sync replicas", "Accepted"),
            **_problems(_APPENDS),
        },
    }


def _events() -> Json:
    event = {"$ref": _REF.format(name="CloudEvent")}
    batch = {"type": "array", "items": event, "minItems": 1, "maxItems": 1000}
    content = {EVENT: {"schema": event}, BATCH: {"schema": batch}}
    return {
        "summary": "Append CloudEvents (structured mode), byte for byte",
        "description": "All are appended or none.",
        "requestBody": {"required": True, "content": content},
        "responses": {
            "202": _ok("In the log, acknowledged by all in-sync replicas", "Accepted"),
            **_problems(p for p in _APPENDS if p is not Problem.MISSING_IDENTITY),
        },
    }


def _paths() -> dict[str, Json]:
    fresh = list(_FRESH_HEADERS)
    row = {
        "summary": "Stock of one SKU at one location",
        "parameters": [*_path("sku", "location"), *_query(READ), _NONE_MATCH],
        "responses": {
            "200": _ok("The row", "FreshRow", ["ETag", *fresh]),
            "304": _ok("You have it", None, ["ETag", *fresh]),
            **_problems((*_READS, Problem.UNKNOWN_KEY), fresh),
        },
    }
    sku = {
        "summary": "Stock of one SKU: totals over locations, and the rows",
        "parameters": [*_path("sku"), *_query(READ), _NONE_MATCH],
        "responses": {
            "200": _ok("Totals and rows", "Sku", ["ETag", *fresh]),
            "304": _ok("You have it", None, ["ETag", *fresh]),
            **_problems((*_READS, Problem.UNKNOWN_KEY), fresh),
        },
    }
    rows = {
        "summary": "Rows, ordered by SKU, then location, in pages",
        "parameters": _query(LIST),
        "responses": {
            "200": _ok("A page", "List", fresh),
            **_problems((*_READS, Problem.PARTITIONS_UNAVAILABLE)),
        },
    }
    lookup = {
        "summary": "Many keys at once",
        "parameters": _query(LOOKUP),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": {"$ref": _REF.format(name="Keys")}}},
        },
        "responses": {
            "200": _ok("Rows in the order of the keys", "Lookup", fresh),
            **_problems((*_BODIES, *_READS[2:5], Problem.PARTITIONS_UNAVAILABLE)),
        },
    }
    ops = {
        "/live": ("Is the process alive", _ok("Yes", "Live"), (Problem.NOT_READY,)),
        "/ready": (
            "Can it answer for something from its own rows",
            _ok("Yes", "Ready"),
            (Problem.NOT_READY,),
        ),
        "/v1/cluster": ("Who holds what, how far", _ok("As heard", "Cluster"), ()),
    }
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        **{path: {"post": _fact(path, kind)} for path, kind in TYPE_OF_PATH.items()},
        "/v1/events": {"post": _events()},
        "/v1/inventory/{sku}/{location}": {"get": row},
        "/v1/inventory/{sku}": {"get": sku},
        "/v1/inventory": {"get": rows},
        "/v1/lookup": {"post": lookup},
        **{
            path: {"get": {"summary": s, "responses": {"200": ok, **_problems((*_EVERY, *no))}}}
            for path, (s, ok, no) in ops.items()
        },
        "/metrics": {
            "get": {
                "summary": "Prometheus metrics",
                "responses": {"200": {"description": "Text format", "content": text}},
            }
        },
    }


def document(version: int, url: str) -> Json:
    """The whole document for one worker."""
    _, of_structs = msgspec.json.schema_components(_ANSWERS, ref_template=_REF)
    # RowBody is a name of ours; the world calls it Row.
    schemas: Json = msgspec.json.decode(msgspec.json.encode(of_structs).replace(b'Body"', b'"'))
    schemas |= {str(name): _problem_schema(name) for name in Problem}
    row = {"$ref": _REF.format(name="Row")}
    schemas["FreshRow"] = {"allOf": [row, {"required": ["freshness"]}]}
    schemas |= {"Line": _line(False), "Adjustment": _line(True), "CloudEvent": _CLOUD_EVENT}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Onhand",
            "version": f"v{version}",
            "summary": "How many of this SKU are on hand at this location?",
            "description": "Any worker takes any request. Every GET also takes HEAD; every path "
            "says its methods to OPTIONS and refuses others with 405, unknown ones with 404.",
        },
        "servers": [{"url": url}],
        "paths": _paths(),
        "components": {"schemas": schemas},
    }


def routes(version: int, url: str) -> Iterable[web.RouteDef]:
    """GET /openapi.json, encoded once."""
    body = msgspec.json.encode(document(version, url))
    headers = {"Content-Type": JSON, "Cache-Control": "no-cache", **SERVER}

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=body, headers=headers)

    yield web.get("/openapi.json", get)
