"""A worker that is asked for rows of an owner, which the test plays on a real socket."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from core.stages import Role
from tests.support.breaking.scripted import ScriptedServer, always
from tests.support.inside.desk import Desk
from web.access.access import OPEN, Access
from web.access.callers import Scope
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState
from web.http.connections import ConnectionLimits, guard
from web.http.gate import Gate
from web.http.paths import add_routes
from web.http.raw.shortcuts import Take

PATH = "/v1/inventory/SKU-1/store-7"
#: A header that sends a request the usual way.
USUAL = "X-New: 1"

ROW = (
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\n"
    "Server: onhand\r\nX-Content-Type-Options: nosniff\r\n"
    'ETag: W/"v1-1-0000000000000007"\r\nOnhand-Role: active\r\nOnhand-Worker: http://owner\r\n'
    "Onhand-Position: {position}\r\nOnhand-Lag-Events: 0\r\n"
    "Onhand-As-Of: 2026-11-23T10:00:00.180Z\r\nOnhand-Version: 1\r\nOnhand-Epoch: 7\r\n"
    "Content-Length: 19\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n"
    '{{"sku":"SKU-{n:05}"}}'
)


def a_row(position: str = "sales-3@12,control@7", n: int = 1) -> str:
    return ROW.format(position=position, n=n)


def unknown() -> str:
    body = '{"type":"/problems/unknown-key","status":404}'
    return (
        a_row()
        .partition("Content-Length")[0]
        .replace("200 OK", "404 Not Found")
        .replace("application/json", "application/problem+json")
        + f"Content-Length: {len(body)}\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n{body}"
    )


def refused(name: str, status: int = 503) -> str:
    body = f'{{"type":"/problems/{name}"}}'
    length = f"Content-Length: {len(body)}"
    return f"HTTP/1.1 {status} Unavailable\r\nOnhand-Version: 1\r\n{length}\r\n\r\n{body}"


row = always(a_row().encode())


class Pair(Desk):
    """The worker that is asked, and the owner of all its partitions."""

    def __init__(self, url: str, places: int, access: Access = OPEN) -> None:
        self.gate = Gate(places)
        super().__init__(signed=access.signed, gate=self.gate)
        self.shelf.label = (1, 7)
        self.partition = self.shelf.partition_of("SKU-1")
        self._url, self._sequence = url, 0
        self.tell(Role.ACTIVE)
        self.access = access
        #: Requests that went the short way, whatever came of them.
        self.taken = 0
        self.server: BaseTestServer

    def tell(self, role: Role, state: WorkerState = WorkerState.RUNNING) -> None:
        """A heartbeat of the owner says this of all partitions."""
        self._sequence += 1
        claims = tuple(Claim(partition=p, state=role, role=role, handled=100) for p in range(4))
        beat = Heartbeat(1, 1, "", self._url, "owner", self._sequence, state=state, claims=claims)
        self.roster.hear(beat, 1_000_000)

    def shortcut(self, data: bytes, take: Take) -> bytes | None:
        answer = self.access.at_once(data, take, self.queries.quick)
        self.taken += answer is not None
        return answer

    async def open(self) -> Client:
        return Client(*await asyncio.open_connection(self.server.host, self.server.port))

    async def get(self, path: str = PATH, *lines: str) -> str:
        """The answer, as `Client.answer`."""
        client = await self.open()
        client.ask(path, *lines)
        answer = await client.answer()
        client.close()
        return answer

    async def warm(self, connections: int = 1) -> None:
        """Have connections to the owner that are idle: the usual way makes them."""
        await asyncio.gather(*(self.get(PATH, USUAL) for _ in range(connections)))


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def ask(self, path: str = PATH, *lines: str) -> None:
        head = "\r\n".join((f"GET {path} HTTP/1.1", "Host: here", *lines, "", ""))
        self.writer.write(head.encode())

    async def answer(self) -> str:
        """Status, headers by their names but the date, body."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 30)
        length = re.search(rb"Content-Length: ([0-9]+)", head)
        assert length is not None
        body = await asyncio.wait_for(self.reader.readexactly(int(length[1])), 30)
        start, *lines = head.decode().removesuffix("\r\n\r\n").split("\r\n")
        told = sorted(line for line in lines if not line.startswith("Date: "))
        assert len(told) == len(lines) - 1
        return "\r\n".join((start, *told, "", body.decode()))

    def close(self) -> None:
        self.writer.close()


@asynccontextmanager
async def a_pair(
    places: int = 100, access: Access = OPEN
) -> AsyncIterator[tuple[ScriptedServer, Pair]]:
    async with ScriptedServer(always(a_row().encode())) as owner:
        pair = Pair(owner.url, places, access)
        app = web.Application()
        add_routes(app, pair.queries.routes(), guarding=access.guarding(Scope.READ))
        guard(app, ConnectionLimits(), pair.shortcut)
        async with TestServer(app) as pair.server:
            yield owner, pair
            await pair.queries.close()
