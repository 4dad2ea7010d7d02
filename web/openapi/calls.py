"""What the document says of each call besides its shapes: a name, a group, an example.

Generators of clients make functions of the names: they never change once published.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from domain.rules.held import CURRENT
from web.access.callers import Scope
from web.access.proofs import PROOF
from web.http.problems import PROBLEM_JSON

READING, WRITING, OPERATING, INSIDE = "read", "write", "operate", "between workers"
HISTORY = "history"
TAGS = {
    READING: "How much is on hand, from any worker.",
    WRITING: "Facts that happened: appended, never changed.",
    HISTORY: "What was, and why: from a ledger, through any worker.",
    OPERATING: "For those who run it.",
    INSIDE: "What workers ask each other. Nobody else needs it.",
}


#: Of the two that a call may ask for where there are tokens; where there are none it asks nothing.
SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "Of `onhand token create`, with the scope that the call names. A worker "
        "that is run without tokens asks for none.",
    },
    "worker": {
        "type": "apiKey",
        "in": "header",
        "name": PROOF,
        "description": "By which one worker proves to another that it is one.",
    },
}


class Named(NamedTuple):
    """One call. body: of a request that is taken. scope: of the token; None: it needs none."""

    id: str
    tag: str
    body: Any = None
    scope: Scope | None = Scope.READ

    def security(self) -> list[dict[str, list[str]]]:
        """As OpenAPI has it."""
        if self.tag is INSIDE:
            return [{"worker": []}]
        return [] if self.scope is None else [{"token": [self.scope]}]


_LINE = {"source": "till-17", "id": "4711-1", "sku": "SKU-000042", "location": "store-007"}
_SALE = _LINE | {"quantity": 2}
_EVENT = {
    "specversion": "1.0",
    "id": "4713-1",
    "source": "till-17",
    "type": "inventory.sale.completed.v1",
    "time": "2026-11-23T10:00:00.123Z",
    "data": {"sku": "SKU-000042", "location": "store-007", "quantity": 2},
}

#: A part each: of a shop's own table, and how it is to be read.
_DOCUMENT = {
    "file": "number,sku,sold\n4714,TEA-1,2\n",
    "map": """[constants]
kind = "sold"
location = "store-007"
[columns]
sku = "sku"
quantity = "sold"
reference = "number"
""",
}
_QUESTION = {"topic": "sales", "partition": 0, "identities": [7040911839124361]}


def _writes(name: str, body: Any) -> Named:
    return Named(name, WRITING, body, Scope.WRITE)


CALLS = {
    "/v1/inventory/{sku}/{location}": Named("getRow", READING),
    "/v1/inventory/{sku}": Named("getSku", READING),
    "/v1/inventory": Named("listRows", READING),
    "/v1/inventory/{sku}/{location}/timeline": Named("getTimeline", HISTORY),
    "/v1/reports/{name}": Named("getReport", HISTORY),
    "/v1/changes": Named("followChanges", HISTORY),
    "/v1/lookup": Named(
        "lookUp", READING, {"keys": [{"sku": "SKU-000042", "location": "store-007"}]}
    ),
    "/v1/shipments": _writes(
        "postShipments", _SALE | {"id": "PO-77-1", "quantity": 24, "reference": "PO-77"}
    ),
    "/v1/dispatches": _writes(
        "postDispatches", _SALE | {"id": "transfer-9-1", "reference": "transfer-9"}
    ),
    "/v1/sales": _writes("postSales", _SALE),
    "/v1/returns": _writes("postReturns", _SALE | {"id": "4711-2", "quantity": 1}),
    "/v1/adjustments": _writes(
        "postAdjustments", _LINE | {"id": "4712-1", "quantity": -1, "reason": "damage"}
    ),
    "/v1/events": _writes("postEvents", _EVENT),
    "/v1/documents": _writes("postDocument", _DOCUMENT),
    "/v1/facts": Named("findFact", READING),
    "/v1/facts/lookup": Named(
        "findFacts", READING, {"facts": [{"source": "till-17", "id": "4711-1"}]}
    ),
    "/v1/loads": Named("listLoads", READING),
    "/v1/alerts": Named("listAlerts", READING),
    "/v1/dead-letters": Named("listDeadLetters", OPERATING, None, Scope.DEAD_LETTERS),
    "/v1/audit": Named("getAudit", OPERATING, None, Scope.OPERATE),
    "/v1/cluster": Named("getCluster", OPERATING, None, Scope.OPERATE),
    "/v1/upgrade": Named("getUpgrade", OPERATING, None, Scope.OPERATE),
    "/live": Named("getLive", OPERATING, None, None),
    "/ready": Named("getReady", OPERATING, None, None),
    "/metrics": Named("getMetrics", OPERATING, None, Scope.OPERATE),
    "/v1/sightings": Named(
        "askSightings",
        INSIDE,
        {"rules": CURRENT.number, "wait_ms": 0, "questions": [_QUESTION]},
    ),
}

#: Of path and query parameters.
PARAMETERS = {
    "sku": "SKU-000042",
    "location": "store-007",
    "min_position": "sales-3@1234,shipments-3@88",
    "sku_prefix": "SKU-00",
}


#: What a worker answered to these very requests, by operationId, and refusals, by their name;
#: tests/integration/web/test_openapi.py holds them against one.
ANSWERS: dict[str, Any] = msgspec.json.decode(Path(__file__).with_name("answers.json").read_bytes())


def named(path: str, call: dict[str, Any]) -> dict[str, Any]:
    """The call with what this module knows of it; as it is if that is nothing."""
    known = CALLS.get(path)
    if known is None:
        return call
    parameters = [
        one | ({"example": PARAMETERS[one["name"]]} if one["name"] in PARAMETERS else {})
        for one in call.get("parameters", ())
    ]
    more: dict[str, Any] = {"operationId": known.id, "tags": [known.tag]}
    more["security"] = known.security()
    if parameters:
        more["parameters"] = parameters
    if known.body is not None:
        content = call["requestBody"]["content"]
        first = next(iter(content))
        shown = {**content, first: content[first] | {"example": known.body}}
        more["requestBody"] = call["requestBody"] | {"content": shown}
    more["responses"] = {
        status: _with_answers(known.id, response) for status, response in call["responses"].items()
    }
    return call | more


def _with_answers(name: str, response: dict[str, Any]) -> dict[str, Any]:
    """One response, with an example of what stands in it."""
    content = dict(response.get("content", {}))
    for kind, form in content.items():
        if "example" in form:
            continue
        if kind != PROBLEM_JSON:
            content[kind] = form | {"example": ANSWERS[name]}
            continue
        refs = form["schema"].get("oneOf", [form["schema"]])
        names = [ref["$ref"].rpartition("/")[2] for ref in refs]
        given = {one: {"value": ANSWERS[one]} for one in names if one in ANSWERS}
        content[kind] = form | ({"examples": given} if given else {})
    return response | ({"content": content} if content else {})
