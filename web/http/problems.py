"""The closed set of problems (RFC 9457), and the page that each one's `type` leads to.

What the pages say stands in problems.toml.
"""

import html
import math
from base64 import b64encode
from collections.abc import Iterator, Mapping
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from web.http.replies import SERVER, response_bytes

PROBLEM_JSON = "application/problem+json"


class Problem(StrEnum):
    """Every way in which Onhand says no. A name, once published, keeps its meaning."""

    INVALID_REQUEST = "invalid-request"
    MISSING_IDENTITY = "missing-identity"
    UNAUTHENTICATED = "unauthenticated"
    MISSING_SCOPE = "missing-scope"
    UNKNOWN_KEY = "unknown-key"
    BEFORE_HISTORY = "before-history"
    UNKNOWN_PATH = "unknown-path"
    REPAIR_REFUSED = "repair-refused"
    UNREADABLE_DOCUMENT = "unreadable-document"
    LINES_REFUSED = "lines-refused"
    ALREADY_LOADED = "already-loaded"
    DOCUMENT_CONFLICT = "document-conflict"
    LOAD_UNFINISHED = "load-unfinished"
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
    LOG_UNAVAILABLE = "log-unavailable"
    HISTORY_NOT_RUNNING = "history-not-running"
    AUDIT_NOT_RUNNING = "audit-not-running"
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


PAGES: Mapping[Problem, Page] = msgspec.toml.decode(
    Path(__file__).with_suffix(".toml").read_bytes(), type=dict[Problem, Page]
)


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


def last_answer(name: Problem, detail: str) -> bytes:
    """The same as bytes, to a client with whom there is no request; it is closed then."""
    response = problem(name, detail)
    response.headers["Connection"] = "close"
    return response_bytes(response)


#: Of the pages that a worker serves.
STYLE = """:root{color-scheme:light dark}
body{font:17px/1.55 system-ui,sans-serif;max-width:42rem;margin:12vh auto;padding:0 1.25rem}
h1{font-size:1.6rem;line-height:1.25;margin:.2rem 0 1.4rem}
h2{font-size:1rem;margin:1.4rem 0 .2rem}p{margin:.2rem 0}
code{font:.92em ui-monospace,monospace;background:#8882;border-radius:3px;padding:.1em .3em}
.s{font:.92em ui-monospace,monospace;opacity:.75}
footer{margin-top:2.4rem;font-size:.9rem}"""


def only_style(style: str) -> str:
    """The policy of a page with this style in it and nothing else.

    Whatever came to stand in such a page, no browser would run it.
    """
    digest = b64encode(sha256(style.encode()).digest()).decode()
    nothing = (f"{what} 'none'" for what in ("base-uri", "form-action", "frame-ancestors"))
    return "; ".join(("default-src 'none'", *nothing, f"style-src 'sha256-{digest}'"))


OF_PAGES = {"Content-Security-Policy": only_style(STYLE), "Referrer-Policy": "no-referrer"}


def prose(text: str) -> str:
    """Text as HTML: escaped, and what stands between backticks set as code."""
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
<title>{html.escape(page.title)} · Onhand</title><style>{STYLE}</style></head><body>
<div class="s">{page.status} {name}</div><h1>{html.escape(page.title)}</h1>
<h2>What happened</h2><p>{prose(page.happened)}</p>
<h2>What to do</h2><p>{prose(page.do)}</p>
<footer><a href="/openapi.json">All calls</a></footer></body></html>
"""
    headers = {"Content-Type": "text/html; charset=utf-8", **OF_PAGES, **SERVER}
    return web.Response(body=document.encode(), headers=headers)


def pages() -> Iterator[web.RouteDef]:
    """The routes of this module."""
    yield web.get("/problems/{name}", page_of)
