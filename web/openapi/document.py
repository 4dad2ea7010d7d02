"""`/openapi.json`: every call, header and answer, checked by tests against the real ones.

Schemas of answers come from the very Structs that are encoded, those of query parameters
from what reads them; only what a POST holds is written out here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from aiohttp import web

from web.cluster.freshness import FreshnessBody
from web.cluster.sightings import SightingsAsked, SightingsBody
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
from web.http.problems import Fault, Problem
from web.http.replies import JSON, SERVER
from web.openapi import index
from web.openapi.calls import SECURITY_SCHEMES, TAGS, named
from web.openapi.describing import REF, JsonObject, ref_to
from web.openapi.facts import calls_of_facts, schemas_of_lines
from web.openapi.operations import calls_of_operations
from web.openapi.past import calls_of_the_past
from web.openapi.problems import schema_of_problem
from web.openapi.records import calls_of_records, lookups_of_records
from web.openapi.rows import calls_of_rows, lookups_of_rows
from web.operations.audits import AuditBody
from web.operations.ops import ClusterBody, HeldBody, LiveBody, ReadyBody
from web.reads.lists import ListBody
from web.reads.lookups import LookupBody
from web.reads.parameters import NAME
from web.reads.questions import Keys
from web.reads.replies import RowBody, SkuBody
from web.records.deadletters import DeadLettersBody
from web.records.factfinding import FactsAsked, FactsBody
from web.records.kept import AlertsBody, LoadsBody
from web.versions.neighbours import UpgradeBody
from web.writes.facts import AcceptedBody, EventBody
from web.writes.loads import DocumentBody

_STRUCTS = (
    RowBody, SkuBody, ListBody, LookupBody, Keys, AcceptedBody, ClusterBody, ReadyBody, LiveBody,
    FreshnessBody, HeldBody, EventBody, Fault, SightingsAsked, SightingsBody, UpgradeBody,
    DeadLettersBody, FactsBody, FactsAsked, PastRowBody, PastSkuBody, PastListBody, TimelineBody,
    ReportBody, AuditBody, ChangesBody, DocumentBody, RowChangesBody, ResetBody,
    AlertsBody, LoadsBody,
)  # fmt: skip


def _paths() -> dict[str, JsonObject]:
    sku, location = (
        {"name": name, "in": "path", "required": True, "schema": NAME}
        for name in ("sku", "location")
    )
    gets = {
        **calls_of_rows(sku, location),
        **calls_of_the_past(sku, location),
        **calls_of_records(),
        **calls_of_operations(),
    }
    posts = {**calls_of_facts(), **lookups_of_records(), **lookups_of_rows()}
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
    schemas |= {str(name): schema_of_problem(name) for name in Problem}
    schemas["RowChange"]["properties"]["data"] = {"anyOf": [ref_to("ToldRow"), ref_to("Reset")]}
    schemas["FreshRow"] = {"allOf": [ref_to("Row"), {"required": ["freshness"]}]}
    schemas |= schemas_of_lines()
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
