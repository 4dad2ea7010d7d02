"""Over a socket, both ways to a row give the same answer: status, headers, body."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from tests.support.inside.desk import ME, Desk
from tests.support.inside.shelf import Shelf
from web.http.connections import ConnectionLimits, guard
from web.http.raw.shortcuts import Take

#: Status line, headers, body.
Answer = tuple[bytes, dict[bytes, bytes], bytes]
PATHS = [
    "/v1/inventory/SKU-1/s-7", "/v1/inventory/SKU-9/s-7", "/v1/inventory/a%20b/s-7",
    "/v1/inventory/SKU-1/s-7?min_position=sales-{p}@9&wait_ms=0",
    "/v1/inventory/SKU-1/s-7?min_position=sales-{p}@10&wait_ms=0",
    "/v1/inventory/SKU-1/s-7?min_position=foo&wait_ms=0",
    "/v1/inventory/SKU-1/s-7?min_position=a-1@2,b@3&wait_ms=0",
    "/v1/inventory/SKU-1/s-7?min_position=sales-{p}@9&wait_ms=99999",
    "/v1/inventory/SKU-1/s-7?max_lag_events=2", "/v1/inventory/SKU-1/s-7?max_lag_events=007",
    "/v1/inventory/SKU-1/s-7?min_position=sales-{p}@9&wait_ms=0&max_lag_events=5",
    "/v1/inventory/SKU-1/s-7?max_lag_events=0", "/v1/inventory/SKU-1/s-7?", "/v1/inventory/SKU-1/.",
]  # fmt: skip
HEADERS = [
    "Host: x", "", "Host: x\r\nHost: y", "Host:", "hOST: x", "Host: x\r\nAccept: text/html",
    "Host: x\r\nConnection: keep-alive", "Host: x\r\nConnection: close", "Host: x\r\nX-New: 1",
    "Host: x\r\nOnhand-Hop: 1", "Host: x\r\nOnhand-Version: 1", "Host: a b", "Host: x\x01",
    "Host: x\r\nOnhand-Version: 2", "Host: x\r\nIf-None-Match: *", "X-Request-Id: Host: x",
    "Host: x\r\nIf-Match: *", "Host: x\r\nCache-Control: no-cache\r\nPragma: \r\nAccept:",
]  # fmt: skip


@asynccontextmanager
async def a_server(shelf: Shelf, quick: bool) -> AsyncIterator[tuple[BaseTestServer, list[bytes]]]:
    queries = Desk(shelf=shelf).queries
    taken: list[bytes] = []

    def shortcut(data: bytes, take: Take) -> bytes | None:
        answer = queries.quick(data, take) if quick else None
        if answer is not None:
            taken.append(data)
        return answer

    app = web.Application()
    app.add_routes(list(queries.routes()))
    guard(app, ConnectionLimits(), shortcut)
    async with TestServer(app) as server:
        yield server, taken
    await queries.close()


async def answer_of(server: BaseTestServer, request: bytes) -> Answer:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(request)
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    start, *lines = head[:-4].split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get(b"Content-Length", 0)))
    writer.close()
    headers.pop(b"Date", None)
    return start, headers, body


@pytest.mark.parametrize("is_standby", [False, True])
async def test_a_request_gets_the_same_answer_by_either_way(is_standby: bool) -> None:
    shelf = Shelf(4, ME.url)
    shelf.hold(range(4), sales=10, lag=3 if is_standby else 0)
    shelf.put("SKU-1", "s-7", received=5, events=1, checksum=7, updated_at=1764000000123)
    shelf.put("a b", "s-7", received=6, events=1)
    partition = shelf.partition_of("SKU-1")
    async with a_server(shelf, True) as (quick, taken), a_server(shelf, False) as (slow, _):
        for path, headers in itertools.product(PATHS, HEADERS):
            lines = f"{headers}\r\n" if headers else ""
            target = path.format(p=partition)
            request = f"GET {target} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")

            one, other = await answer_of(quick, request), await answer_of(slow, request)

            assert one == other, request
    assert len(taken) >= 10  # the short way was tried
