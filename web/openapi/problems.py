"""What a refusal holds: one schema for each problem."""

from __future__ import annotations

from collections.abc import Mapping

from web.access.callers import Scope
from web.http.problems import PAGES, Problem
from web.openapi.describing import DATE_TIME, JsonObject, array_of, ref_to

_PARTITIONS = array_of({"type": "integer"})
_FAULTS = ("errors", array_of(ref_to("Fault")), False)
# What a problem's body holds besides type, title, status and detail: name, schema, required.
_MEMBERS: Mapping[Problem, tuple[str, JsonObject, bool]] = {
    Problem.INVALID_REQUEST: _FAULTS,
    Problem.MISSING_IDENTITY: ("errors", array_of(ref_to("Fault")), True),
    Problem.MISSING_SCOPE: ("scope", {"enum": list(Scope)}, False),
    Problem.UNKNOWN_KEY: ("freshness", ref_to("Freshness"), False),
    Problem.BEFORE_HISTORY: ("begins", DATE_TIME, True),
    Problem.NOT_READY: ("partitions", array_of(ref_to("Held")), False),
    Problem.NOT_CAUGHT_UP: ("missing_partitions", _PARTITIONS, False),
    Problem.TOO_STALE: ("freshness", ref_to("Freshness"), False),
    Problem.PARTITIONS_UNAVAILABLE: ("missing_partitions", _PARTITIONS, True),
    Problem.LINES_REFUSED: ("document", ref_to("Document"), True),
    Problem.ALREADY_LOADED: ("position", {"type": "string"}, True),
    Problem.APPEND_FAILED: ("events", array_of(ref_to("Event")), True),
    Problem.APPEND_INCOMPLETE: ("events", array_of(ref_to("Event")), True),
}


def schema_of_problem(name: Problem) -> JsonObject:
    """Its body."""
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
