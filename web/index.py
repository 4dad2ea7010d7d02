"""`/`: what there is, for a person with a browser and for a program."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from msgspec import Struct

from web.http.problems import STYLE
from web.http.replies import SERVER, json_reply


class IndexCall(Struct, frozen=True):
    """One call."""

    method: str
    path: str
    summary: str


class IndexBody(Struct, frozen=True):
    """All calls of this worker; `openapi` says all about them."""

    name: str
    build: str
    openapi: str
    calls: list[IndexCall]


def routes(document: Mapping[str, Any]) -> Iterable[web.RouteDef]:
    """GET /, made once from the document."""
    calls = [
        IndexCall(method.upper(), path, call["summary"])
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    body = IndexBody("Onhand", document["info"]["version"], "/openapi.json", calls)
    page = _page(body).encode()

    async def index(request: web.Request) -> web.Response:
        if "text/html" in request.headers.get("Accept", ""):
            headers = {"Content-Type": "text/html; charset=utf-8", "Vary": "Accept", **SERVER}
            return web.Response(body=page, headers=headers)
        response = json_reply(body)
        response.headers["Vary"] = "Accept"
        return response

    yield web.get("/", index)


def _page(body: IndexBody) -> str:
    rows = "".join(
        f"<h2><code>{call.method} {_link(call)}</code></h2><p>{html.escape(call.summary)}</p>"
        for call in body.calls
    )
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>Onhand</title><style>{STYLE}</style></head><body>
<div class="s">{html.escape(body.build)}</div><h1>Onhand: how many are on hand?</h1>{rows}
<footer><a href="{body.openapi}">All about these calls</a></footer></body></html>
"""


def _link(call: IndexCall) -> str:
    path = html.escape(call.path)
    return path if call.method != "GET" or "{" in path else f'<a href="{path}">{path}</a>'
