"""Calls that read rows of now, as they are described; they may be asked of the past, too."""

from __future__ import annotations

from web.cluster.freshness import FRESHNESS_HEADERS
from web.http.problems import Problem
from web.http.replies import JSON
from web.openapi.describing import (
    BODIES,
    READS,
    TAGGED,
    WAITS,
    JsonObject,
    as_json_content,
    call_of,
    query_of,
    ref_to,
)
from web.openapi.past import PAST_ALONE
from web.reads.parameters import LIST, LOOKUP, READ

_NONE_MATCH = {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}}
_FOUND = (*READS, Problem.UNKNOWN_KEY)
_MISSING = Problem.PARTITIONS_UNAVAILABLE


def calls_of_rows(sku: JsonObject, location: JsonObject) -> dict[str, JsonObject]:
    """GETs, by path. sku, location: the parameters of a row's path."""
    return {
        "/v1/inventory/{sku}/{location}": call_of(
            "Stock of one SKU at one location",
            200,
            as_json_content("FreshRow", "PastRow"),
            _FOUND,
            parameters=[sku, location, *query_of(READ), *query_of(PAST_ALONE), _NONE_MATCH],
            headers=TAGGED,
            past=True,
        ),
        "/v1/inventory/{sku}": call_of(
            "Stock of one SKU: totals over locations, and the rows",
            200,
            as_json_content("Sku", "PastSku"),
            _FOUND,
            parameters=[sku, *query_of(READ), *query_of(PAST_ALONE), _NONE_MATCH],
            headers=TAGGED,
            past=True,
        ),
        "/v1/inventory": call_of(
            "Rows, ordered by SKU, then location, in pages",
            200,
            as_json_content("List", "PastList"),
            (*READS, _MISSING),
            parameters=[*query_of(LIST), *query_of(PAST_ALONE)],
            headers=FRESHNESS_HEADERS,
            past=True,
        ),
    }


def lookups_of_rows() -> dict[str, JsonObject]:
    """POSTs, by path."""
    return {
        "/v1/lookup": call_of(
            "Many keys at once: the rows, in the order of the keys",
            200,
            as_json_content("Lookup"),
            (*BODIES, *WAITS, _MISSING),
            parameters=query_of(LOOKUP),
            body={JSON: ref_to("Keys")},
            headers=FRESHNESS_HEADERS,
        ),
    }
