"""The demo's panel: who may see the page, who may kill, and whom the page's calls reach."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from dev.demo.panel import HEAD, Panel
from dev.kafka import free_port
from tests.support.page.kept import PaperKeeper
from tests.support.page.paper import Paper
from web.page.files import CONTENT_POLICY, PageFiles

BROWSER = {"Accept": "text/html,*/*;q=0.8"}


@pytest_asyncio.fixture
async def paper() -> AsyncIterator[Paper]:
    worker = Paper()
    worker.furnish(2, 2)
    await worker.start()
    yield worker
    await worker.stop()


@pytest_asyncio.fixture
async def kept(paper: Paper) -> PaperKeeper:
    """The first of two workers is gone."""
    return PaperKeeper([f"http://127.0.0.1:{free_port()}", paper.url])


@pytest_asyncio.fixture
async def panel(kept: PaperKeeper) -> AsyncIterator[Panel]:
    panel = Panel(free_port(), kept, kept.reading)
    async with panel.serving():
        yield panel


async def asked(
    url: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Status, body and policy."""
    async with aiohttp.request(method, url, headers=headers, allow_redirects=False) as answer:
        return answer.status, await answer.text(), answer.headers["Content-Security-Policy"]


async def test_only_a_post_of_its_own_page_kills(panel: Panel, kept: PaperKeeper) -> None:
    own = {"Origin": f"http://127.0.0.1:{panel.port}"}
    kill = f"{panel.url}demo/kill/b"
    for headers in (
        {},
        {"Origin": "null"},
        {"Origin": "http://shop.example"},
        {"Origin": "http://127.0.0.1:6066"},
        own | {"Sec-Fetch-Site": "same-site"},
        own | {"Sec-Fetch-Site": "cross-site"},
    ):
        assert (await asked(kill, "POST", headers))[0] == 403, headers
    assert (await asked(kill, "GET", own))[0] == 404
    assert (await asked(f"{panel.url}demo/kill/c", "POST", own))[0] == 404
    assert kept.killed == []

    assert (await asked(kill, "POST", own | {"Sec-Fetch-Site": "same-origin"}))[0] == 204
    assert kept.killed == ["b"]


async def test_before_its_turn_a_visitor_is_told_so(panel: Panel, kept: PaperKeeper) -> None:
    kept.refusal = "It is not your turn."
    own = {"Origin": f"http://127.0.0.1:{panel.port}"}

    status, said, _ = await asked(f"{panel.url}demo/kill/a", "POST", own)
    assert (status, said) == (409, "It is not your turn.\n")


async def test_nothing_answers_beside_its_secret_address_or_under_a_foreign_name(
    panel: Panel, kept: PaperKeeper
) -> None:
    root = f"http://127.0.0.1:{panel.port}"
    own = {"Origin": root}
    for path in ("/", "/demo/state", "/v1/cluster", "/x/demo/state", "/page/main.js"):
        status, said, _ = await asked(root + path, headers=BROWSER)
        assert (status, said) == (404, "Open the whole address that the demo printed.\n"), path
    assert (await asked(f"{root}/x/demo/kill/a", "POST", own))[0] in (404, 405)
    for host in ("shop.example", f"shop.example:{panel.port}", "127.0.0.1:6066"):
        foreign = {"Host": host, "Origin": f"http://{host}"}
        assert (await asked(panel.url, headers=BROWSER | foreign))[0] == 403, host
        assert (await asked(f"{panel.url}demo/kill/a", "POST", foreign))[0] == 403, host
    assert kept.killed == []


async def test_it_is_the_workers_own_page_and_two_files_more_under_the_same_policy(
    panel: Panel,
) -> None:
    status, page, policy = await asked(panel.url, headers=BROWSER)

    assert (status, policy) == (200, CONTENT_POLICY)
    assert page.replace(HEAD, "</head>").encode() == PageFiles().first.body
    for name in ("demo/panel.js", "demo/panel.css", "page/main.js", "page/problems.json"):
        status, body, policy = await asked(panel.url + name)
        assert (status, policy, bool(body)) == (200, CONTENT_POLICY, True), name
    for name in ("demo/none.js", "demo/panel.py", "demo/..%2fpanel.py", "page/none.js"):
        status, _, policy = await asked(panel.url + name)
        assert (status, policy) == (404, CONTENT_POLICY), name


async def test_its_calls_reach_whoever_answers_just_as_they_were_asked(
    panel: Panel, paper: Paper, kept: PaperKeeper
) -> None:
    status, body, policy = await asked(f"{panel.url}v1/inventory/A%2FB%3F/x%20y?version=1&a=%26")
    assert (status, policy) == (404, CONTENT_POLICY)
    assert "/problems/unknown-key" in body
    assert paper.asked == ["/v1/inventory/A%2FB%3F/x%20y?version=1&a=%26"]
    status, body, _ = await asked(panel.url, headers={"Accept": "application/json"})
    assert (status, '"openapi"' in body) == (200, True)

    kept.urls.pop()
    assert (await asked(f"{panel.url}v1/cluster"))[0] == 502


async def test_an_answer_without_an_end_is_the_workers_own(panel: Panel, kept: PaperKeeper) -> None:
    async def changes(_: web.Request) -> web.Response:
        return web.Response(text="data: 1\n\n", content_type="text/event-stream")

    app = web.Application()
    app.router.add_get("/v1/changes", changes)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    kept.urls = [f"http://127.0.0.1:{port}"]
    try:
        assert (await asked(f"{panel.url}v1/changes?from=now"))[0] == 307
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("drift", [0, 2, -1])
async def test_its_state_has_the_meter_and_each_worker(
    panel: Panel, kept: PaperKeeper, drift: int
) -> None:
    kept.balance = kept.balance._replace(counted=kept.balance.counted - drift)
    async with aiohttp.request("GET", f"{panel.url}demo/state") as answer:
        told = await answer.json()

    assert told["meter"] == {**kept.balance._asdict(), "drift": drift}
    assert [worker["name"] for worker in told["workers"]] == ["a", "b"]
    assert told["open"] is True


async def test_a_port_that_somebody_took_meanwhile_is_left_to_them(
    panel: Panel, kept: PaperKeeper
) -> None:
    other = Panel(panel.port, kept, kept.reading)
    async with other.serving():
        assert other.port != panel.port
        assert (await asked(other.url, headers=BROWSER))[0] == 200
        assert (await asked(panel.url, headers=BROWSER))[0] == 200
