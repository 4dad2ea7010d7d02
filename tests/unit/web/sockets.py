"""A guarded server, and what is said to it byte by byte."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer, get_port_socket

from web.access.certificates import PLAIN, Tls
from web.http.connections import ConnectionLimits, Server, guard
from web.http.problems import PROBLEM_JSON
from web.http.raw.places import ConnectionPlaces
from web.http.raw.shortcuts import Shortcut, never

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def little_room(host: str, port: int, family: socket.AddressFamily) -> socket.socket:
    """Where a server listens whose kernel takes few bytes for a client that does not read."""
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listening.bind((host, port))
    return listening


@asynccontextmanager
async def a_server(
    limits: ConnectionLimits,
    shortcut: Shortcut = never,
    tls: Tls = PLAIN,
    listens: Callable[..., socket.socket] = get_port_socket,
) -> AsyncIterator[BaseTestServer]:
    async def hello(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(text="hello")

    async def bug(request: web.Request) -> web.Response:
        raise RuntimeError("secret detail")

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=b" " * int(request.query["bytes"]))

    async def busy(request: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async def live(request: web.Request) -> web.Response:
        return web.Response(text="alive")

    released = asyncio.Event()
    app = web.Application()
    app.router.add_get("/busy", busy)
    app.router.add_get("/live", live)
    app.router.add_get("/large", large)
    app.router.add_route("*", "/", hello)
    app.router.add_get("/bug", bug)
    guard(app, limits, shortcut, tls=tls.server())
    async with TestServer(app, socket_factory=listens) as server:
        try:
            yield server
        finally:
            released.set()


def of_aiohttp(server: BaseTestServer) -> Server:
    """The one that makes its connections."""
    found = server.runner.server if server.runner is not None else None
    assert isinstance(found, Server)
    return found


def places_of(server: BaseTestServer) -> ConnectionPlaces:
    """Who has one now."""
    return of_aiohttp(server).places


async def say(server: BaseTestServer, *pieces: bytes) -> bytes:
    """Send, then read until the server closes."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


def problem_in(answer: bytes) -> dict[str, object]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Type: {PROBLEM_JSON}".encode() in head
    found: dict[str, object] = json.loads(body)
    return found


# ---- the shortcut

QUICK = b"GET /quick HTTP/1.1\r\nHost: x\r\n\r\n"


SLOW = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"


LAST = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
