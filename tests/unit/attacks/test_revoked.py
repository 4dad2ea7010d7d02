"""A token that is revoked while its request is under way: nothing more is done or told for it.

Whoever sends a body slowly, waits, or takes a large answer in small sips holds an open request for
long. What is judged once, at the head, would be good for all that time.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer
from msgspec import Raw

from core.stages import Role
from dev.workers import until
from tables.audit.copies import CopyHead
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import FakeLoader, FakeTable
from tests.unit.web.serving import LIMITS, a_web
from web.access.access import Access
from web.access.callers import Scope
from web.feed.following import FeedLimits, Following
from web.feed.pages import FeedGiven, FeedLine, FeedPage
from web.http.large import Large, send
from web.http.replies import Handler
from web.operations import auditing
from web.server import Web
from web.writes.appending import Receipt

ROW = "/v1/inventory/SKU-1/s-7"
LINE = {"source": "till-17", "id": "1", "sku": "SKU-1", "location": "s-7", "quantity": 2}
BYTES = "application/octet-stream"
Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


def posted(path: str, token: str, body: bytes, kind: str = "application/json") -> bytes:
    lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    return f"{lines}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def got(path: str, token: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode()


@asynccontextmanager
async def connected(server: BaseTestServer) -> AsyncIterator[Opened]:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        async with asyncio.timeout(60):
            yield reader, writer
    finally:
        writer.transport.abort()


async def so(is_so: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return is_so()

    await until(asked, "come so far", 60, every_s=0.001)


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, Any]]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return int(head[9:12]), json.loads(await reader.readexactly(length))


class Patient(FakeTable):
    """Comes to a position when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waited_for, self.comes = asyncio.Event(), asyncio.Event()

    async def reached(self, partition: int, offsets: Mapping[str, int], timeout_s: float) -> bool:
        self.is_waited_for.set()
        await self.comes.wait()
        return True


@asynccontextmanager
async def a_worker(
    access: Access, table: FakeTable | None = None, loader: FakeLoader | None = None
) -> AsyncIterator[tuple[Web, BaseTestServer]]:
    app = web.Application()
    part = a_web(table or FakeTable(), LIMITS, access, loader=loader)
    part.attach(app)
    async with TestServer(app) as server:
        yield part, server


@asynccontextmanager
async def serving(access: Access, handler: Handler) -> AsyncIterator[BaseTestServer]:
    """One call that asks for the scope to read."""
    app = web.Application()
    app.router.add_route("*", "/", access.guarding(Scope.READ)("/", handler))
    async with TestServer(app) as server:
        yield server


# ---- what is sent slowly


@pytest.mark.parametrize("narrowed", [False, True])
async def test_a_fact_whose_body_came_after_its_token_was_revoked_is_not_appended(
    keys: Keys, narrowed: bool
) -> None:
    appended: list[object] = []

    async def append(records: Sequence[object]) -> Receipt:
        appended.extend(records)
        return Receipt(list(range(len(records))), None)

    token, body = keys.token(Scope.WRITE), json.dumps(LINE).encode()
    async with a_worker(keys.access()) as (part, server):
        part._facts._append = append
        async with connected(server) as (reader, writer):
            data = posted("/v1/sales", token, body)
            writer.write(data[:-5])
            await so(lambda: part._facts._limits.body.room.reading() == 1)
            if narrowed:
                keys.narrow(token, locations=["s-8"])
            else:
                keys.revoke(token)
            writer.write(data[-5:])
            status, told = await answer_of(reader)

    assert appended == []
    assert status == (403 if narrowed else 401)
    assert narrowed == ("s-8" in json.dumps(told))


async def test_a_document_that_waits_for_its_turn_is_not_loaded_for_a_revoked_token(
    keys: Keys,
) -> None:
    loader = FakeLoader()
    loader.held.clear()
    first, second = keys.token(Scope.WRITE), keys.token(Scope.WRITE)
    async with (
        a_worker(keys.access(), loader=loader) as (part, server),
        connected(server) as (_, one),
        connected(server) as (reader, two),
    ):
        one.write(posted("/v1/documents", first, b"1", BYTES))
        await loader.begun(1)
        two.write(posted("/v1/documents", second, b"2", BYTES))
        await so(lambda: part._documents._queued == 2)
        keys.revoke(second)
        loader.held.set()
        status, _ = await answer_of(reader)

    assert status == 401
    assert [asked.data for asked in loader.asked] == [b"1"]


# ---- what is waited for


async def test_a_row_that_is_waited_for_is_not_told_to_a_revoked_token(keys: Keys) -> None:
    table, token = Patient(), keys.token(Scope.READ)
    waiting = f"{ROW}?min_position=sales-{table.partition_of('SKU-1')}@99&wait_ms=10000"
    async with (
        a_worker(keys.access(), table) as (_, server),
        connected(server) as (reader, writer),
    ):
        writer.write(got(waiting, token))
        await table.is_waited_for.wait()
        keys.revoke(token)
        table.comes.set()

        assert (await answer_of(reader))[0] == 401


async def test_what_was_done_is_told_all_the_same(keys: Keys) -> None:
    token = keys.token(Scope.WRITE)

    async def append(records: Sequence[object]) -> Receipt:
        keys.revoke(token)
        return Receipt([7], None)

    async with (
        a_worker(keys.access()) as (part, server),
        connected(server) as (reader, writer),
    ):
        part._facts._append = append
        writer.write(posted("/v1/sales", token, json.dumps(LINE).encode()))

        assert (await answer_of(reader))[0] == 202


# ---- what is taken slowly

Revoke = Callable[[], None]


def a_large_answer(access: Access, revoke: Revoke) -> Handler:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"1" * 1000
        revoke()
        for number in (b"2", b"3"):
            yield number * 1000

    async def answer(request: web.Request) -> web.StreamResponse:
        return await send(request, Large(200, {}, 3000, pieces()))

    return answer


def a_copy(access: Access, revoke: Revoke) -> Handler:
    keys = iter([b"111", b"222", b"333"])

    def rows(count: int) -> list[tuple[bytes, bytes]]:
        key = next(keys, None)
        if key == b"222":
            revoke()
        return [] if key is None else [(key, b"")]

    head = CopyHead(
        partition=0, partitions=1, role=Role.ACTIVE, version=1, positions={}, counts={},
        window=1, rules=2,
    )  # fmt: skip
    copy: Any = SimpleNamespace(head=head, rows=SimpleNamespace(rows=rows))
    return lambda request: auditing._send(request, copy)


def a_feed(access: Access, revoke: Revoke) -> Handler:
    pages = iter([b"111", b"222", b"333"])

    class Pages:
        async def get(self, target: str, wait_s: float, asked_from: float = 0) -> FeedPage | str:
            number = next(pages, None)
            if number is None:
                feed.end()
                return "There is no more."
            if number == b"222":
                revoke()
            line = FeedLine(id="x", event="fact", data=Raw(number))
            return FeedPage(FeedGiven([line], "x", True), 100)

        def known(self, target: str) -> None:
            """No other reader was given one."""

        def end(self) -> None:
            """Nobody waits."""

    given: Any = Pages()
    limits = FeedLimits(begin_s=0)
    feed = Following(given, nothing, lambda request: access.admits(request, Scope.READ), limits)
    return feed.answer


async def nothing(request: web.Request) -> web.StreamResponse:
    return web.Response(status=404)


@pytest.mark.parametrize("made", [a_large_answer, a_copy, a_feed])
@pytest.mark.parametrize("is_revoked", [False, True])
async def test_an_answer_under_way_ends_with_its_token(
    keys: Keys, made: Callable[[Access, Revoke], Handler], is_revoked: bool
) -> None:
    token, access = keys.token(), keys.access()
    handler = made(access, lambda: keys.revoke(token) if is_revoked else None)
    async with serving(access, handler) as server, connected(server) as (reader, writer):
        accept = f"Accept: application/x-ndjson\r\nAuthorization: Bearer {token}\r\n"
        writer.write(
            f"GET /?after=begin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{accept}\r\n".encode()
        )
        # Until it has what it came for, or the connection ends.
        told = b""
        with suppress(ConnectionError):
            while b"333" not in told and (more := await reader.read(2**16)):
                told += more

    assert b"111" in told
    assert (b"333" in told) is not is_revoked
