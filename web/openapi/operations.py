"""Calls for those who run the service, as they are described."""

from __future__ import annotations

from web.history.passing import AUDIT_PATH, OF_A_VERSION
from web.http.problems import Problem
from web.openapi.describing import EVERY, PROBES, JsonObject, as_json_content, call_of, query_of
from web.versions.neighbours import UPGRADE_PATH


def calls_of_operations() -> dict[str, JsonObject]:
    """GETs, by path."""
    return {
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
