"""What aiohttp does not bound by itself: late heads, too many connections, bad HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from web.connections import ConnectionLimits, guard
from web.problems import PROBLEM_JSON


@asynccontextmanager
async def a_server(limits: ConnectionLimits) -> AsyncIterator[BaseTestServer]:
    async def hello(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="hello")

    async def bug(request: web.Request) -> web.Response:
        raise RuntimeError("secret detail")

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b" " * int(request.query["bytes"]))

    app = web.Application()
    app.router.add_get("/large", large)
    app.router.add_get("/", hello)
    app.router.add_get("/bug", bug)
    guard(app, limits)
    async with TestServer(app) as server:
        yield server


async def say(server: BaseTestServer, *pieces: bytes) -> bytes:
    """Send, then read until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return answer


def problem_in(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Type: {PROBLEM_JSON}".encode() in head
    found: dict[str, object] = json.loads(body)
    return found


async def test_a_half_sent_head_is_cut_off_with_408() -> None:
    async with a_server(ConnectionLimits(head_timeout_s=0.1)) as server:
        answer = await say(server, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert problem_in(answer)["type"] == "/problems/request-timeout"


async def test_a_head_that_trickles_in_is_cut_off_all_the_same() -> None:
    async def trickle(server: BaseTestServer) -> bytes:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\n")
        reading = asyncio.create_task(reader.read())
        while not reading.done():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)
        writer.close()
        return await reading

    async with a_server(ConnectionLimits(head_timeout_s=0.15)) as server:
        answer = await asyncio.wait_for(trickle(server), 5)

    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_head_in_two_pieces_within_the_deadline_is_served() -> None:
    async with a_server(ConnectionLimits(head_timeout_s=5)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost")
        await asyncio.sleep(0.05)
        writer.write(b": x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 5)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_the_second_head_on_a_connection_has_a_deadline_too() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with a_server(ConnectionLimits(head_timeout_s=0.1)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(whole)
        first = await reader.readuntil(b"hello")
        writer.write(b"GET / HT")
        second = await asyncio.wait_for(reader.read(), 5)
        writer.close()

    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_kept_until_its_own_timeout() -> None:
    limits = ConnectionLimits(head_timeout_s=0.05, keepalive_timeout_s=0.4)
    async with a_server(limits) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await say(server)

        assert answer == b""
        assert loop.time() - began >= 0.39


async def test_one_connection_too_many_is_told_so_and_closed() -> None:
    async with a_server(ConnectionLimits(connections=2)) as server:
        held = [await asyncio.open_connection(server.host, server.port) for _ in range(2)]
        answer = await say(server)
        for _, writer in held:
            writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in answer
    assert problem_in(answer)["type"] == "/problems/too-busy"


async def test_what_is_not_http_gets_a_problem_and_no_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_server(ConnectionLimits()) as server:
        answer = await say(server, b"hello\r\n\r\n")

    assert b" 400 " in answer.splitlines()[0]
    assert problem_in(answer)["type"] == "/problems/invalid-request"
    assert not caplog.records


async def test_a_head_that_is_too_long_gets_a_problem() -> None:
    async with a_server(ConnectionLimits()) as server:
        answer = await say(server, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")

    assert b" 400 " in answer.splitlines()[0]
    assert problem_in(answer)["type"] == "/problems/invalid-request"


async def test_a_bug_is_answered_without_its_details_and_logged_with_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_server(ConnectionLimits()) as server:
        answer = await say(server, b"GET /bug HTTP/1.1\r\nHost: x\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"secret" not in answer
    assert b"Traceback" not in answer
    assert problem_in(answer)["type"] == "/problems/internal-error"
    assert "secret detail" in caplog.text


async def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    async with a_server(ConnectionLimits(write_timeout_s=0.1)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1000)
        writer.write(b"GET /large?bytes=20000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(20_000_000), 5)
        writer.close()


async def test_a_large_answer_arrives_whole_at_a_client_that_reads() -> None:
    ask = b"GET /large?bytes=1000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with a_server(ConnectionLimits()) as server:
        answer = await say(server, ask)

    assert len(answer.partition(b"\r\n\r\n")[2]) == 1_000_000
