"""/docs says all that the two documents say, and can do nothing but be read."""

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app import __version__
from app.channels.document import topics_document
from app.config import Settings
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import a_web
from web.config import Limits
from web.docs.callsections import curl_of
from web.docs.page import docs_page
from web.http.problems import Problem
from web.openapi.document import document

URL = "http://10.0.0.7:6066"
CALLS, TOPICS = document("0.2.0", URL), topics_document(Settings(), "0.2.0")
HOSTILE = "<img src=x onerror=alert(1)>\"'&"
VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """What is in a page: anchors, links, tags, and text outside of styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.headings: list[int] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        for name, value in attrs:
            self.attributes.add(name)
            if name == "id":
                self.anchors.append(value or "")
            if name in ("href", "src"):
                self.links.append(value or "")
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] != ["style"]:
            self.text += data


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(docs_page(CALLS, TOPICS)[0])


def test_each_call_topic_message_and_schema_has_its_place(page: Page) -> None:
    operations = [call for methods in CALLS["paths"].values() for call in methods.values()]
    expected = {call["operationId"] for call in operations}
    expected |= {f"topic-{name}" for name in TOPICS["channels"]}
    expected |= {f"message-{name}" for name in TOPICS["components"]["messages"]}
    expected |= {f"shape-{name}" for name in CALLS["components"]["schemas"]}
    expected |= {f"record-{name}" for name in TOPICS["components"]["schemas"]}

    assert expected <= {*page.anchors}
    assert len(page.anchors) == len({*page.anchors})
    for path in CALLS["paths"]:
        assert path in page.text
    for call in operations:
        for parameter in call.get("parameters", ()):
            assert parameter["name"] in page.text
    for channel in TOPICS["channels"].values():
        assert channel["address"] in page.text


def test_each_link_leads_to_a_place_of_the_page_or_to_a_path_of_this_worker(page: Page) -> None:
    known = {"./", "openapi.json", "asyncapi.json", *(f"problems/{name}" for name in Problem)}
    for link in page.links:
        assert link[1:] in page.anchors if link.startswith("#") else link in known, link


def test_no_heading_is_missing_between_two_others(page: Page) -> None:
    assert page.headings[0] == 1
    for above, below in zip(page.headings, page.headings[1:], strict=False):
        assert below <= above + 1


def test_the_page_asks_nobody_for_anything_and_runs_nothing(page: Page) -> None:
    assert not page.tags & {"script", "link", "img", "iframe", "form", "object", "input"}
    assert not {name for name in page.attributes if name.startswith("on")} | (
        page.attributes & {"style", "src"}
    )
    _, style = docs_page(CALLS, TOPICS)
    assert not re.search(r"url\(|@import", style)


def test_what_stands_in_a_document_is_text_and_no_markup() -> None:
    calls = CALLS | {"tags": [{"name": "read", "description": HOSTILE}]}
    calls["info"] = CALLS["info"] | {"version": HOSTILE, "summary": HOSTILE}
    path, methods = next(iter(CALLS["paths"].items()))
    call: dict[str, Any] = methods["get"] | {"summary": HOSTILE}
    calls["paths"] = {path + HOSTILE: {"get": call}}
    channel = TOPICS["channels"]["sales"] | {"address": HOSTILE, "summary": HOSTILE}
    topics = TOPICS | {"channels": {"sales": channel}}

    shown = Page(docs_page(calls, topics)[0])

    assert "img" not in shown.tags
    assert shown.text.count(HOSTILE) >= 6


def test_each_call_is_shown_as_somebody_types_it() -> None:
    for path, methods in CALLS["paths"].items():
        for method, call in methods.items():
            line = curl_of(method, path, call, URL)
            assert line.startswith(f"curl -s {URL}/") or line.startswith(f"curl -s '{URL}/"), line
            assert "{" not in line.partition(" -")[0].partition(" -d")[0].split(" -H")[0], line
            asks = any("token" in way for way in call["security"])
            assert ('"Authorization: Bearer $ONHAND_TOKEN"' in line) is asks
    unguarded = document("0.2.0", URL, guarded=False)["paths"]["/v1/cluster"]["get"]
    assert curl_of("get", "/v1/cluster", unguarded, URL) == f"curl -s {URL}/v1/cluster"


async def test_a_worker_serves_both_with_a_policy_that_lets_in_that_style_alone() -> None:
    app = web.Application()
    a_web(FakeTable(), Limits()).attach(app)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/docs") as response:
            body = await response.text()
            assert (response.status, response.content_type) == (200, "text/html")
            tag, policy = response.headers["ETag"], response.headers["Content-Security-Policy"]
        style = re.search("<style>(.*?)</style>", body, re.DOTALL)
        assert style is not None
        digest = b64encode(sha256(style[1].encode()).digest()).decode()
        allowed = dict(one.split(" ", 1) for one in policy.split("; "))
        assert allowed.pop("style-src") == f"'sha256-{digest}'"
        assert {*allowed.values()} == {"'none'"}
        assert {"default-src", "base-uri", "form-action", "frame-ancestors"} == {*allowed}
        async with client.get("/docs", headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")
        async with client.get("/asyncapi.json") as response:
            assert (response.status, response.content_type) == (200, "application/json")
            told = json.dumps(topics_document(Settings(), __version__))
            assert await response.json() == json.loads(told)
        async with client.get("/") as response:
            told = await response.json()
        assert (told["asyncapi"], told["docs"]) == ("/asyncapi.json", "/docs")
