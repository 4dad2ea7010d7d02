"""The page's files: what is served, how, to whom, and nothing else."""

import json
import re
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

import web.page as page_room
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import Worker, a_web
from web.config import Limits
from web.feed.asked import KIND_OF_TYPE
from web.http.problems import PAGES
from web.page.files import PAGE_PATH, PageFiles

STATIC = Path(page_room.__file__).with_name("static")
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
KINDS = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
MAX_LINES = 400


async def test_each_file_is_served_with_its_type_and_a_policy_that_lets_in_nothing_else(
    worker: Worker,
) -> None:
    for path in ("/", *PageFiles().others):
        response, body = await worker.ask("GET", path, headers=BROWSER)

        kind = (
            KINDS.get(path.rpartition(".")[2], "application/json") if path != "/" else "text/html"
        )
        assert (response.status, response.content_type) == (200, kind), path
        policy = dict(
            one.strip().split(" ", 1)
            for one in response.headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert {policy[f"{what}-src"] for what in ("script", "style", "img", "connect")} == {
            "'self'"
        }
        assert "unsafe" not in str(policy)
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert body


async def test_a_browser_that_has_a_file_is_told_so_and_learns_of_a_change(worker: Worker) -> None:
    for path in ("/", PAGE_PATH + "main.js"):
        first, _ = await worker.ask("GET", path, headers=BROWSER)
        tag = first.headers["ETag"]

        for said in (tag, f'"other", {tag}', f"W/{tag}"):
            again, body = await worker.ask("GET", path, headers=BROWSER | {"If-None-Match": said})
            assert (again.status, body, again.headers["ETag"]) == (304, b"", tag)
        other, body = await worker.ask("GET", path, headers=BROWSER | {"If-None-Match": '"other"'})
        assert (other.status, bool(body)) == (200, True)
    tags = [file.etag for file in PageFiles().others.values()]
    assert len({*tags}) == len(tags)


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/page/",
        "/page/index.html",
        "/page/files.py",
        "/page/none.js",
        "/page/../page/files.py",
        "/page/%2e%2e/files.py",
        "/page/static/main.js",
    ],
)
async def test_what_is_not_on_the_list_is_not_there(worker: Worker, path: str) -> None:
    response, body = await worker.ask("GET", path, headers=BROWSER)

    assert (response.status, body["type"]) == (404, "/problems/unknown-path")


async def test_a_program_gets_at_the_root_what_it_always_got(worker: Worker) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        response, body = await worker.ask("GET", "/", headers=headers)

        assert (response.status, response.content_type) == (200, "application/json")
        assert (body["name"], body["openapi"]) == ("Onhand", "/openapi.json")
        assert response.headers["Vary"] == "Accept"
    response, page = await worker.ask("GET", "/", headers=BROWSER)
    assert response.headers["Vary"] == "Accept"
    assert b"page/main.js" in page
    refused, _ = await worker.ask("POST", "/", headers=BROWSER)
    assert refused.status == 405
    other, _ = await worker.ask("GET", "/openapi.json", headers=BROWSER)
    assert other.content_type == "application/json"


async def test_with_tokens_the_page_is_open_and_nothing_that_it_shows_is(tmp_path: Path) -> None:
    app = web.Application()
    a_web(FakeTable(), Limits(), Keys(tmp_path).access()).attach(app)
    async with TestClient(TestServer(app)) as client:

        async def status(path: str, **headers: str) -> int:
            async with client.get(path, headers=headers) as response:
                return response.status

        assert await status("/", **BROWSER) == 200
        for path in PageFiles().others:
            assert await status(path) == 200
        about = ("/openapi.json", "/asyncapi.json", "/docs")
        for path in ("/", *about, "/v1/inventory", "/v1/cluster", "/page/none.js"):
            assert await status(path, Accept="application/json") == 401


async def test_the_page_has_what_to_do_about_each_problem(worker: Worker) -> None:
    _, told = await worker.ask("GET", PAGE_PATH + "problems.json")

    assert {name: one["do"] for name, one in told.items()} == {n: p.do for n, p in PAGES.items()}


# ---- the files themselves


def test_the_page_is_made_of_small_files_that_name_no_other_host() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        assert len(text.splitlines()) <= MAX_LINES, path.name
        hosts = {host for host in re.findall(r"https?://([\w.-]+)", text)}
        assert hosts <= {"www.w3.org"}, path.name  # the name of SVG, which nobody fetches


def test_no_script_or_style_stands_in_the_document_and_none_makes_markup_of_text() -> None:
    first = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|style=|\son\w+=|<script(?![^>]*\bsrc=)", first)
    for path in STATIC.glob("*.js"):
        made = re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(",
            path.read_text(),
        )
        assert made is None, path.name


def test_each_file_of_the_page_is_asked_for_by_another() -> None:
    texts = {path.name: path.read_text() for path in STATIC.iterdir()}
    for name in texts:
        others = "".join(text for other, text in texts.items() if other != name)
        assert name == "index.html" or f"/{name}" in others, name


def test_the_page_knows_each_reason_for_which_a_fact_is_refused() -> None:
    from domain.events import Refusal

    told = re.search(
        r"const HEALING = \{(.*?)\n\};", (STATIC / "letters.js").read_text(), re.DOTALL
    )
    assert told is not None
    assert {*re.findall(r"^  (\w+):", told[1], re.MULTILINE)} == {str(one) for one in Refusal}


def test_the_page_offers_each_type_that_a_feed_can_be_asked_for() -> None:
    told = re.search(r"const SAID = \{(.*?)\n\};", (STATIC / "words.js").read_text(), re.DOTALL)
    assert told is not None
    assert {*re.findall(r'^  "([\w.]+)":', told[1], re.MULTILINE)} == KIND_OF_TYPE.keys()


def test_problems_are_json_that_a_page_can_read() -> None:
    file = PageFiles().others[PAGE_PATH + "problems.json"]
    assert json.loads(file.body)["not-ready"]["status"] == 503
