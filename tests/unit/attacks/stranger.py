"""Whoever sits where a heartbeat points, and writes down all that a worker says to it."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from typing import NamedTuple, Self

from aiohttp import web

from core.stages import Role
from domain.rules.held import Ruling
from tests.support.inputs.builders import an_active_version
from tests.unit.web.fakes import FakeTable
from tests.unit.web.serving import LIMITS, a_web
from web.access.access import Access
from web.cluster.heartbeats import AUDIT, LEDGER, Claim, Heartbeat
from web.server import Web

PARTITIONS = 4
KINDS = (None, LEDGER, AUDIT)
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
#: As our server and any other one reads them alike.
_START = re.compile(rb"(GET|POST|HEAD|OPTIONS|PUT|DELETE|PATCH) (/[\x21-\x7e]*) HTTP/1\.1")


class NotOneRequest(AssertionError):
    """Bytes that two servers could read as different requests."""


class Asked(NamedTuple):
    """One request that came; names of headers in lower case."""

    method: str
    target: str
    headers: list[tuple[str, bytes]]
    body: bytes


class Stranger:
    """A server that claims to own everything, to keep all history, and to audit."""

    def __init__(self, answer: bytes = b"HTTP/1.1 503 x\r\nContent-Length: 0\r\n\r\n") -> None:
        self._answer = answer
        #: What came on each connection.
        self.received: list[bytearray] = []
        self._came = asyncio.Event()
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._servers: list[asyncio.Server] = []
        #: Of each kind that it claims to be: two processes never have one address.
        self.urls: dict[str | None, str] = {}

    async def __aenter__(self) -> Self:
        for kind in KINDS:
            server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
            self._servers.append(server)
            self.urls[kind] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._open.values()))
        for server in self._servers:
            await server.wait_closed()

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[writer] = asyncio.current_task()
        self.received.append(seen := bytearray())
        answered = 0
        with suppress(ConnectionError):
            while data := await reader.read(2**16):
                seen += data
                self._came.set()
                while answered < seen.count(b"\r\n\r\n"):
                    answered += 1
                    writer.write(self._answer)
        writer.close()

    def heads(self) -> int:
        """How many requests have come, whole or not."""
        return sum(seen.count(b"\r\n\r\n") for seen in self.received)

    async def asked(self, more_than: int) -> None:
        """Return once more requests than this have come."""
        while self.heads() <= more_than:
            self._came.clear()
            await self._came.wait()

    def requests(self) -> list[Asked]:
        """All that came, read as strictly as can be; raises NotOneRequest."""
        return [one for seen in self.received for one in read(bytes(seen))]

    def claims_all(self, web_part: Web, version: int = 1) -> None:
        """Heartbeats say so, and are believed."""
        claims = tuple(
            Claim(partition=number, state="active", role=Role.ACTIVE, handled=10**6)
            for number in range(PARTITIONS)
        )
        for kind, url in self.urls.items():
            rules, name = Ruling().now.number, f"stranger-{kind}"
            beat = Heartbeat(version, rules, "x", url, name, 1, claims=claims, kind=kind)
            assert web_part.members.roster.hear(beat, int(time.time() * 1000))


def read(data: bytes) -> list[Asked]:
    """The requests in the bytes of a connection; raises NotOneRequest."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        start, *lines = head.split(b"\r\n")
        match = _START.fullmatch(start)
        if not end or match is None:
            raise NotOneRequest(head)
        headers = []
        for line in lines:
            name, colon, value = line.partition(b": ")
            if (
                not _NAME.fullmatch(name)
                or not colon
                or re.search(rb"[\x00-\x08\n-\x1f\x7f]", value)
            ):
                raise NotOneRequest(line)
            headers.append((name.decode().lower(), value))
        lengths = [value for name, value in headers if name == "content-length"]
        if len(lengths) > 1 or any(name == "transfer-encoding" for name, _ in headers):
            raise NotOneRequest(head)
        length = int(lengths[0]) if lengths else 0
        if len(data) < length:
            raise NotOneRequest(head)
        found.append(Asked(match[1].decode(), match[2].decode(), headers, data[:length]))
        data = data[length:]
    return found


def a_worker_of_nothing(access: Access, active: int = 1) -> tuple[Web, web.Application]:
    """A worker of version 1 that holds no partition itself; `active`: the version that answers."""
    table, app = FakeTable(PARTITIONS), web.Application()
    table.statuses = []
    part = a_web(table, LIMITS, access, versions=an_active_version(active=active))
    part.attach(app)
    part._switch.start()  # the application's cleanup stops it
    return part, app
