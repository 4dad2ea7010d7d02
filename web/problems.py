"""The closed set of problems (RFC 9457), and the page that each one's `type` leads to."""

import html
import math
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

PROBLEM_JSON = "application/problem+json"


class Problem(StrEnum):
    """Every way in which Onhand says no. A name, once published, keeps its meaning."""

    INVALID_REQUEST = "invalid-request"
    MISSING_IDENTITY = "missing-identity"
    UNKNOWN_KEY = "unknown-key"
    UNKNOWN_PATH = "unknown-path"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    REQUEST_TIMEOUT = "request-timeout"
    TOO_LARGE = "too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    INTERNAL_ERROR = "internal-error"
    TOO_BUSY = "too-busy"
    NOT_READY = "not-ready"
    NOT_CAUGHT_UP = "not-caught-up"
    TOO_STALE = "too-stale"
    PARTITIONS_UNAVAILABLE = "partitions-unavailable"
    APPEND_FAILED = "append-failed"
    APPEND_INCOMPLETE = "append-incomplete"


class Fault(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One thing that is not as it should be: in a line, counted from 1, or in a parameter."""

    line: int | UnsetType = UNSET
    parameter: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    detail: str


class Page(Struct, frozen=True):
    """What a person reads who follows a problem's `type`."""

    status: int
    title: str
    happened: str
    do: str
    retry_after_s: int = 1


_AGAIN = (
    "Send the same request again as it was, with the same ids or the same Idempotency-Key: what "
    "arrived already is counted once. Keep doing so until you get 202. How long a repeat is "
    "recognised, the metric `onhand_dedup_window_seconds` says."
)
PAGES: Mapping[Problem, Page] = {
    Problem.INVALID_REQUEST: Page(
        400,
        "The request is not valid",
        "Something in the path, the query, a header or the body does not follow the rules. For "
        "events, `errors` names every bad line, counted from 1; nothing was appended, not even "
        "the good lines.",
        "Correct what `detail` and `errors` name and send the whole request again. The same "
        "request will never succeed. The rules are in /openapi.json.",
    ),
    Problem.MISSING_IDENTITY: Page(
        400,
        "An event has no identity",
        "Every event needs `source` (who says it) and `id` (which of its facts this is): with "
        "them a retry is counted once. At least one line has neither `id` nor the request an "
        "Idempotency-Key. Nothing was appended.",
        "Send `source` and `id` with every line, the id made before the first attempt. Or send "
        "`source` and the header Idempotency-Key, and on a retry the same key with the same body.",
    ),
    Problem.UNKNOWN_KEY: Page(
        404,
        "No event names this SKU and location",
        "The worker that holds this key's partition looked and found no row. That is an answer, "
        "not a failure: `freshness` says up to which position it holds.",
        "Check spelling and percent-encoding. If you have just written the first event for it, "
        "ask again with `min_position=` from the answer to your POST.",
    ),
    Problem.UNKNOWN_PATH: Page(
        404,
        "There is nothing at this path",
        "No call of Onhand has this path. It says nothing about any stock.",
        "See /openapi.json for the calls. A `/` inside a SKU or location is written %2F.",
    ),
    Problem.METHOD_NOT_ALLOWED: Page(
        405,
        "This path does not take this method",
        "The path exists, with other methods.",
        "Use one of the methods in the Allow header.",
    ),
    Problem.REQUEST_TIMEOUT: Page(
        408,
        "The request did not arrive in time",
        "Its headers or body came too slowly and the worker stopped waiting. Nothing was appended.",
        "Send the request again; smaller arrays help on a slow line.",
    ),
    Problem.TOO_LARGE: Page(
        413,
        "The body is too large",
        "The body, after decompression, is larger than this worker takes. Nothing was appended.",
        "Split it into several requests. With an Idempotency-Key, give each part its own key.",
    ),
    Problem.UNSUPPORTED_MEDIA_TYPE: Page(
        415,
        "The body is of a type that this call does not take",
        "Content-Type or Content-Encoding names something that this call does not read.",
        "Send UTF-8 JSON with a Content-Type from the Accept header of this answer, plain or "
        "with Content-Encoding gzip or deflate.",
    ),
    Problem.INTERNAL_ERROR: Page(
        500,
        "A bug in Onhand",
        "The worker met something that its authors did not foresee. The log of the worker has "
        "the details. After a POST it is not known whether events were appended.",
        "Send it again once: the same events with the same ids are counted once. If it comes "
        "back, report it with the worker's log.",
    ),
    Problem.TOO_BUSY: Page(
        503,
        "The worker is handling as many requests as it may",
        "To keep its answers quick the worker bounds what it does at once. Nothing was done.",
        "Wait for Retry-After seconds and send it again, here or at another worker.",
    ),
    Problem.NOT_READY: Page(
        503,
        "Nobody can answer for this now",
        "The partition is being taken over or restored, or the worker is starting or stopping. "
        "The stock may exist: this is not a 404.",
        "Wait for Retry-After seconds and ask again. /ready and /v1/cluster show the progress.",
    ),
    Problem.NOT_CAUGHT_UP: Page(
        503,
        "The position asked for has not been reached",
        "Within `wait_ms` no worker that holds the partition had handled `min_position`.",
        "Ask again, or with a longer `wait_ms` (at most 10,000). If it stays so, look at lag in "
        "/v1/cluster.",
    ),
    Problem.TOO_STALE: Page(
        503,
        "Every answer at hand is staler than you allow",
        "The best worker at hand lags by more events than `max_lag_events`.",
        "Ask again, or allow more. If it stays so, look at lag in /v1/cluster.",
    ),
    Problem.PARTITIONS_UNAVAILABLE: Page(
        503,
        "Some partitions cannot be asked now",
        "The list would be incomplete: nobody can answer for `missing_partitions` now.",
        "Ask again, or take what there is with `partial=true`: it names what is missing and its "
        "cursor comes back for it.",
    ),
    Problem.APPEND_FAILED: Page(
        503,
        "Kafka confirmed none of the events",
        "Kafka was slow, refused them or was out of reach. Every event is `unknown`: it may still "
        "arrive in the log after this answer.",
        _AGAIN,
        retry_after_s=2,
    ),
    Problem.APPEND_INCOMPLETE: Page(
        503,
        "Kafka confirmed only some of the events",
        "Events that say `appended` are in the log for good; those that say `unknown` may still "
        "arrive there after this answer.",
        _AGAIN,
        retry_after_s=2,
    ),
}

# What every answer of this service says of its server: no versions for strangers.
SERVER = {"Server": "onhand"}


def problem(
    name: Problem,
    detail: str,
    *,
    retry_after_s: float | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> web.Response:
    """Say no in the one shape that all refusals have.

    Args:
        name: which problem; it decides status and title.
        detail: one sentence about this very case, for a person.
        retry_after_s: for a 503, rounded up to whole seconds; None takes the problem's own.
        headers: more headers.
        members: extension members of the body, such as `errors` or `freshness`.
    """
    page = PAGES[name]
    body = {"type": f"/problems/{name}", "title": page.title, "status": page.status}
    all_headers = {"Content-Type": PROBLEM_JSON, "Cache-Control": "no-store", **SERVER}
    if page.status == 503:
        wait_s = page.retry_after_s if retry_after_s is None else retry_after_s
        all_headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return web.Response(
        status=page.status,
        body=msgspec.json.encode({**body, "detail": detail, **members}),
        headers=all_headers | dict(headers or {}),
    )


_STYLE = """:root{color-scheme:light dark}
body{font:17px/1.55 system-ui,sans-serif;max-width:42rem;margin:12vh auto;padding:0 1.25rem}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 1.4rem}
h2{font-size:1rem;margin:1.4rem 0 .2rem}p{margin:.2rem 0}
code{font:.92em ui-monospace,monospace;background:#8882;border-radius:3px;padding:.1em .3em}
.s{font:.92em ui-monospace,monospace;opacity:.75}
footer{margin-top:2.4rem;font-size:.9rem}"""


def _prose(text: str) -> str:
    """Escape, and set what stands between backticks as code."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))


async def page_of(request: web.Request) -> web.Response:
    """GET /problems/{name}."""
    try:
        name = Problem(request.match_info["name"])
    except ValueError:
        return problem(Problem.UNKNOWN_PATH, "There is no problem of this name.")
    page = PAGES[name]
    document = f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{html.escape(page.title)} · Onhand</title><style>{_STYLE}</style></head><body>
<div class="s">{page.status} {name}</div><h1>{html.escape(page.title)}</h1>
<h2>What happened</h2><p>{_prose(page.happened)}</p>
<h2>What to do</h2><p>{_prose(page.do)}</p>
<footer><a href="/openapi.json">All calls</a></footer></body></html>
"""
    headers = {"Content-Type": "text/html; charset=utf-8", **SERVER}
    return web.Response(body=document.encode(), headers=headers)


def pages() -> Iterator[web.RouteDef]:
    """The routes of this module."""
    yield web.get("/problems/{name}", page_of)
