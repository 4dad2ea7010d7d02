"""What a reader costs its worker: pages are asked for and written once, and taken together."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict
from yarl import URL

from tests.ledgers.feeding import LIMITS, LINES, lines_of
from web.cluster.exchange import PeerAnswer
from web.feed.asked import Form, values_in
from web.feed.following import Following
from web.feed.pages import FeedPage, FeedPages, PageSaid
from web.feed.writing import Outlet

PAGES = 40


class PaperLedger:
    """A page for each fact, until there are no more."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._never = asyncio.Event()

    async def ask(self, target: str, wait_s: float) -> PageSaid:
        self.asked.append(target)
        after = str(values_in(target.partition("?")[2]).get("after", ""))
        number = int(after.partition("@")[2] or -1) + 1
        if number == PAGES:
            await self._never.wait()
        line = {"id": f"sales-0@{number}", "event": "fact", "data": {"position": number}}
        page = {"changes": [line], "after": line["id"], "at_end": number == PAGES - 1}
        return PeerAnswer(200, CIMultiDict(), json.dumps(page).encode())


@asynccontextmanager
async def a_worker(ledger: PaperLedger) -> AsyncIterator[str]:
    async def here(request: web.Request) -> web.StreamResponse:
        raise AssertionError("nobody asks for a page")

    feed = Following(FeedPages(ledger.ask, lambda: 1), here, lambda request: True, LIMITS)
    app = web.Application()
    app.add_routes([*feed.routes()])
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("/v1/changes"))
    finally:
        feed.end()
        await feed.close()
        await server.close()


async def read_all(url: str) -> list[int]:
    async with aiohttp.request("GET", url, headers=LINES) as answer:
        told = await lines_of(answer, lambda lines: len(lines) == PAGES)
    return [one["data"]["position"] for one in told]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What streams write, piece by piece."""
    pieces: list[bytes] = []
    write = Outlet.write

    async def noting(self: Outlet, data: bytes) -> None:
        pieces.append(data)
        await write(self, data)

    monkeypatch.setattr(Outlet, "write", noting)
    monkeypatch.setattr("web.feed.pages._KEPT_S", 600.0)  # however slow this machine is
    return pieces


async def test_who_is_some_pages_behind_takes_them_in_one_write_and_asks_for_none(
    written: list[bytes],
) -> None:
    ledger = PaperLedger()
    async with a_worker(ledger) as url:
        assert await read_all(url) == [*range(PAGES)]
        asked = len(ledger.asked)
        written.clear()

        assert await read_all(url) == [*range(PAGES)]

        assert len([piece for piece in written if b"fact" in piece]) == 1
        # Both may have asked for the one behind the last, which nobody has yet.
        assert [
            one for one in ledger.asked[asked:] if f"after=sales-0@{PAGES - 1}" not in one
        ] == []


async def test_many_pages_are_cut_into_writes_that_leave_others_their_turn(
    written: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.feed.following.WRITE_BYTES", 400)
    async with a_worker(PaperLedger()) as url:
        await read_all(url)
        written.clear()

        assert await read_all(url) == [*range(PAGES)]

    sizes = [len(piece) for piece in written if b"fact" in piece]
    assert len(sizes) > 5
    assert max(sizes) <= 400


async def test_a_client_of_http_1_0_gets_the_lines_without_a_frame() -> None:
    async with a_worker(PaperLedger()) as url, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(URL(url).host, URL(url).port)
        accept = f"Accept: {LINES['Accept']}"
        writer.write(f"GET /v1/changes HTTP/1.0\r\nHost: a\r\n{accept}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        told = [json.loads(await reader.readline()) for _ in range(PAGES)]
        writer.close()

    assert b"chunked" not in head
    assert [line["data"]["position"] for line in told] == [*range(PAGES)]


async def test_a_page_is_written_once_for_all_who_read_it_in_the_same_form(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    forms: list[Form] = []
    line = "web.feed.pages.line_of_stream"

    def noting(form: Form, *said: Any) -> bytes:
        forms.append(form)
        return b"{}\n"

    ledger = PaperLedger()
    pages = FeedPages(ledger.ask, lambda: 1)
    monkeypatch.setattr(line, noting)
    for _ in range(3):
        page = await pages.get("/v1/changes?after=sales-0@7", 0)
        assert isinstance(page, FeedPage)
        page.pieces(Form.LINES)
    await pages.close()

    assert forms == [Form.LINES]
