"""How a call is described: parameters, answers, and how it says no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from web.cluster.freshness import FRESHNESS_HEADERS
from web.http.parameters import Parameter
from web.http.problems import PAGES, PROBLEM_JSON, Problem
from web.http.replies import JSON

JsonObject: TypeAlias = dict[str, Any]

REF = "#/components/schemas/{name}"
DATE_TIME: JsonObject = {"type": "string", "format": "date-time"}


def ref_to(name: str) -> JsonObject:
    """Reference to a schema."""
    return {"$ref": REF.format(name=name)}


def array_of(items: JsonObject) -> JsonObject:
    """Any number of them."""
    return {"type": "array", "items": items}


def lines_like(item: JsonObject) -> JsonObject:
    """As many as one POST takes."""
    return {**array_of(item), "minItems": 1, "maxItems": 1000}


TAGGED = {"ETag": "Weak; for If-None-Match.", **FRESHNESS_HEADERS}
_CHALLENGE = {"WWW-Authenticate": "What is missing, as RFC 6750 says it."}
_OF_STATUS = {
    **dict.fromkeys((401, 403), _CHALLENGE),
    405: {"Allow": "Methods of this path."},
    415: {"Accept": "Media types that this call takes."},
    503: {"Retry-After": "Whole seconds."},
}


def headers_of(texts: Mapping[str, str], always: bool = True) -> JsonObject:
    """Headers of an answer, by name. `always`: whether each answer has them."""
    text = {"type": "string"}
    return {n: {"description": t, "schema": text, "required": always} for n, t in texts.items()}


def query_of(parameters: Mapping[str, Parameter]) -> list[JsonObject]:
    """Query parameters, as what reads them says."""
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


def problems_of(names: Iterable[Problem], past: bool = False) -> dict[str, JsonObject]:
    """By status. `past`: a ledger may answer, which has no freshness."""
    by_status: dict[int, list[Problem]] = {}
    for name in names:
        by_status.setdefault(PAGES[name].status, []).append(name)
    responses: dict[str, JsonObject] = {}
    for status, some in by_status.items():
        texts = FRESHNESS_HEADERS if Problem.UNKNOWN_KEY in some else _OF_STATUS.get(status, {})
        refs = [ref_to(name) for name in some]
        responses[str(status)] = {
            "description": "; ".join(PAGES[name].title for name in some),
            "headers": headers_of(texts, not past or texts is not FRESHNESS_HEADERS),
            "content": {PROBLEM_JSON: {"schema": refs[0] if len(refs) == 1 else {"oneOf": refs}}},
        }
    return responses


PROBES = (Problem.INVALID_REQUEST, Problem.INTERNAL_ERROR)
EVERY = (*PROBES, Problem.UNAUTHENTICATED, Problem.MISSING_SCOPE)
WAITS = (Problem.NOT_READY, Problem.NOT_CAUGHT_UP, Problem.TOO_STALE)
READS = (*EVERY, *WAITS, Problem.TOO_BUSY)
BODIES = (
    *EVERY, Problem.REQUEST_TIMEOUT, Problem.TOO_LARGE, Problem.UNSUPPORTED_MEDIA_TYPE,
    Problem.TOO_BUSY,
)  # fmt: skip
LOADS = (
    *BODIES, Problem.NOT_READY, Problem.UNREADABLE_DOCUMENT, Problem.LINES_REFUSED,
    Problem.ALREADY_LOADED, Problem.DOCUMENT_CONFLICT, Problem.LOAD_UNFINISHED,
)  # fmt: skip
APPENDS = (*BODIES, Problem.APPEND_FAILED, Problem.APPEND_INCOMPLETE)


def call_of(
    summary: str,
    status: int,
    answer: JsonObject,
    problems: Iterable[Problem],
    *,
    parameters: Sequence[JsonObject] = (),
    body: Mapping[str, JsonObject] | None = None,
    headers: Mapping[str, str] | None = None,
    past: bool = False,
) -> JsonObject:
    """One method of a path.

    Args:
        summary: one line.
        status: of the answer.
        answer: content by media type.
        problems: how it says no.
        parameters: of query, path and header.
        body: schemas by media type.
        headers: of the answer.
        past: it may be asked of the past, and then a ledger answers.
    """
    shown = headers_of(headers or {}, always=not past)
    ok = {"description": "As asked for", "headers": shown, "content": answer}
    if past:
        problems = (*problems, Problem.BEFORE_HISTORY, Problem.HISTORY_NOT_RUNNING)
    responses = {str(status): ok, **problems_of(problems, past)}
    call: JsonObject = {"summary": summary, "responses": responses}
    if headers is TAGGED:
        unchanged = {"description": "You have it", "headers": headers_of(headers)}
        call["responses"]["304"] = unchanged
    if parameters:
        call["parameters"] = parameters
    if body is not None:
        content = {kind: {"schema": schema} for kind, schema in body.items()}
        call["requestBody"] = {"required": True, "content": content}
    return call


def as_json_content(name: str, *others: str) -> JsonObject:
    """JSON of a schema, or of one of several."""
    refs = [ref_to(one) for one in (name, *others)]
    return {JSON: {"schema": {"anyOf": refs} if others else refs[0]}}
