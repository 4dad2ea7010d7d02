"""Calls that read the log, for a person or another worker, as they are described."""

from __future__ import annotations

from web.cluster.sightings import SIGHTINGS_PATH
from web.http.problems import Problem
from web.http.replies import JSON
from web.openapi.describing import (
    BODIES,
    EVERY,
    JsonObject,
    as_json_content,
    call_of,
    query_of,
    ref_to,
)
from web.records.deadletters import DEAD_LETTERS, DEAD_LETTERS_PATH
from web.records.factfinding import FACTS, FACTS_LOOKUP, FACTS_LOOKUP_PATH, FACTS_PATH
from web.records.kept import ALERTS_ASKED, ALERTS_PATH, LOADS_ASKED, LOADS_PATH

_SAYS_NO = (*EVERY, Problem.TOO_BUSY, Problem.LOG_UNAVAILABLE)


def calls_of_records() -> dict[str, JsonObject]:
    """GETs, by path."""
    return {
        FACTS_PATH: call_of(
            "What became of a fact, each time that it came, as far back as the answer says",
            200,
            as_json_content("Facts"),
            (*_SAYS_NO, Problem.PARTITIONS_UNAVAILABLE),
            parameters=query_of(FACTS),
        ),
        LOADS_PATH: call_of(
            "Documents that were loaded, or are not loaded to their end: the newest first",
            200,
            as_json_content("Loads"),
            _SAYS_NO,
            parameters=query_of(LOADS_ASKED),
        ),
        ALERTS_PATH: call_of(
            "What the webhook was told last of each row, and what nobody took: the newest first",
            200,
            as_json_content("Alerts"),
            _SAYS_NO,
            parameters=query_of(ALERTS_ASKED),
        ),
        DEAD_LETTERS_PATH: call_of(
            "What was refused, and why: newest first, in pages",
            200,
            as_json_content("DeadLetters"),
            _SAYS_NO,
            parameters=query_of(DEAD_LETTERS),
        ),
    }


def lookups_of_records() -> dict[str, JsonObject]:
    """POSTs, by path."""
    missing = Problem.PARTITIONS_UNAVAILABLE
    return {
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
    }
