"""`/asyncapi.json` and `/docs`, made once at the start.

The page is one file without scripts, with its style in it: whoever saves it has all of it. It is
made of the two documents alone, so it cannot say anything else than they do.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from web.docs.callsections import CALL_SHAPES, call_sections, group_anchor
from web.docs.shapes import Shapes, paragraphs
from web.docs.topicsections import (
    TOPIC_SHAPES,
    audience_anchor,
    audience_title,
    topic_sections,
)
from web.http.problems import only_style
from web.http.replies import JSON
from web.page.files import page_file, page_style

DOCS_PATH, TOPICS_PATH = "/docs", "/asyncapi.json"
_STYLE = Path(__file__).with_name("docs.css").read_text(encoding="utf-8")


def docs_page(calls: Mapping[str, Any], topics: Mapping[str, Any]) -> tuple[str, str]:
    """The page, and the style in it.

    Args:
        calls: the OpenAPI document.
        topics: the AsyncAPI document.
    """
    style = page_style() + _STYLE
    sections = [*call_sections(calls), *topic_sections(topics)]
    for anchor, title, document, prefix in (
        ("shapes", "Shapes of bodies and answers", calls, CALL_SHAPES),
        ("records", "Shapes of records", topics, TOPIC_SHAPES),
    ):
        shown = "".join(Shapes(document["components"]["schemas"], prefix).sections())
        sections.append(f'<section id="{anchor}"><h2>{title}</h2>{shown}</section>')
    links = "".join(
        f'<li><a href="#{a}">{html.escape(t)}</a></li>' for a, t in _links(calls, topics)
    )
    build = html.escape(calls["info"]["version"])
    return (
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Calls and topics · Onhand</title><style>{style}</style></head><body>
<a class="skip" href="#main">To the content</a>
<header><a class="name" href="./">Onhand</a><span class="dim">{build}</span></header>
<main id="main"><div class="title"><h1>Calls and topics</h1>
<p>{html.escape(calls["info"]["summary"])} For programs, the same is in
<a href="openapi.json">/openapi.json</a> (calls) and <a href="asyncapi.json">/asyncapi.json</a>
(topics and the feed).</p>
{paragraphs(calls["info"]["description"])}{paragraphs(topics["info"]["description"])}
</div><nav aria-label="Sections"><ul>{links}</ul></nav>
{"".join(sections)}</main></body></html>
""",
        style,
    )


def _links(calls: Mapping[str, Any], topics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for tag in calls["tags"]:
        yield group_anchor(tag["name"]), f"Calls: {tag['name']}"
    for tag in topics["info"]["tags"]:
        yield audience_anchor(tag["name"]), audience_title(tag["name"])
    yield "shapes", "Shapes of bodies and answers"
    yield "records", "Shapes of records"


def routes(calls: Mapping[str, Any], topics: Mapping[str, Any]) -> Iterable[web.RouteDef]:
    """GET /asyncapi.json and GET /docs."""
    page, style = docs_page(calls, topics)
    policy = {"Content-Security-Policy": only_style(style)}
    yield web.get(TOPICS_PATH, page_file(msgspec.json.encode(topics), JSON).get)
    yield web.get(DOCS_PATH, page_file(page.encode(), "text/html; charset=utf-8", **policy).get)
