"""`/` for a program: all calls. A browser gets the page (`web.page`), which lists them, too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web
from msgspec import Struct

from web.docs.page import DOCS_PATH, TOPICS_PATH
from web.http.replies import json_reply


class IndexCall(Struct, frozen=True):
    """One call."""

    method: str
    path: str
    summary: str


class IndexBody(Struct, frozen=True):
    """All calls of this worker; `openapi` says all about them, `asyncapi` about the topics.

    docs: the same for people.
    """

    name: str
    build: str
    openapi: str
    asyncapi: str
    docs: str
    calls: list[IndexCall]


def routes(document: Mapping[str, Any]) -> Iterable[web.RouteDef]:
    """GET /, made once from the document."""
    calls = [
        IndexCall(method.upper(), path, call["summary"])
        for path, methods in document["paths"].items()
        for method, call in methods.items()
    ]
    about = "/openapi.json", TOPICS_PATH, DOCS_PATH
    body = IndexBody("Onhand", document["info"]["version"], *about, calls)

    async def index(request: web.Request) -> web.Response:
        response = json_reply(body)
        response.headers["Vary"] = "Accept"
        return response

    yield web.get("/", index)
