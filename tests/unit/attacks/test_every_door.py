"""Whatever many hold on to at a door of ours, who has a token is served there meanwhile.

Each process that listens: a worker, a ledger, a program, a bridge, an audit, and a worker that
speaks TLS. So few places here that any machine has the descriptors; torture holds 10,000 at once
to each door with all its places, or as many as this process may.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from app.access import tls_of
from app.config import Settings
from dev.workers import until
from tests.support.http.certificates import CertificateFiles
from tests.unit.attacks.test_many_connections import (
    MOST_GROWTH_BYTES,
    SLACK_FILES,
    files,
    resident_bytes,
)
from tests.unit.attacks.test_scopes import PROCESSES, of_worker
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import URL
from tests.unit.web.sockets import little_room
from web.access.callers import Scope
from web.http.connections import ConnectionLimits

#: Nobody has it. What is told of it besides, 503 to whom there is no place for, is another answer.
NOWHERE = "/v1/nowhere"
HALF_A_HEAD = b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\nX: "
#: What each one of many says that hold on to what they have. No deadline ends them meanwhile.
HELD_BY = {
    "idle": b"",
    "half a head": HALF_A_HEAD,
    "half a body": b"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    "answers not taken": b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 100,
}
#: The same before a handshake is over.
BEFORE_TLS = {"idle": b"", "half a hello": b"\x16\x03\x01\x02\x00\x01\x00", "no TLS": HALF_A_HEAD}
PATIENT = ConnectionLimits(
    connections=100, for_operations=20, handshakes=50, head_timeout_s=600, linger_s=2,
    write_timeout_s=600,
)  # fmt: skip
#: A process's own bounds, and its share of this one's descriptors.
WHOLE = ConnectionLimits(head_timeout_s=600, linger_s=2, write_timeout_s=600)
MAY_HOLD = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - WHOLE.connections - 700
#: How many hold on to each door.
FEW, MANY = 400, max(min(10_000, MAY_HOLD), 400)
#: Of a connection, on both sides; with TLS.
ROOM_BYTES, SECURED_BYTES = 2**16, 2**18


each_size = pytest.mark.parametrize(
    ("places", "count"),
    [(PATIENT, FEW), pytest.param(WHOLE, MANY, marks=pytest.mark.torture)],
    ids=["few", "all places"],
)


class Crowd:
    """Connects to one door, and holds on to it."""

    def __init__(self, server: BaseTestServer, token: str, tls: ssl.SSLContext | None) -> None:
        self.at = str(server.host), int(server.port or 0)
        self._token, self._tls = token, tls
        self.plain: list[socket.socket] = []
        self.secured: list[asyncio.StreamWriter] = []

    async def hold(self, kind: str, said: bytes, count: int) -> None:
        """Open so many; somebody with a token comes in between, and is served."""
        loop = asyncio.get_running_loop()
        for number in range(count):
            self.plain.append(one := socket.socket())
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            async with asyncio.timeout(60):
                await loop.sock_connect(one, self.at)
                with suppress(ConnectionError):
                    await loop.sock_sendall(one, said)
            if number % 50 == 49:
                assert await self.one_is_served(), (kind, number)

    async def hold_secured(self, said: bytes, count: int) -> None:
        """The same behind handshakes that are over."""
        for number in range(count):
            async with asyncio.timeout(60):
                _, writer = await self._opened()
            self.secured.append(writer)
            writer.write(said)
            if number % 50 == 49:
                assert await self.one_is_served(), ("secured", number)

    async def one_is_served(self) -> bool:
        """Somebody with a token comes, and again where all places were taken a moment ago."""
        with suppress(TimeoutError):
            async with asyncio.timeout(60):
                while not (head := await self._head()).startswith(b"HTTP/1.1 404 "):
                    assert head.startswith(b"HTTP/1.1 503 "), head
                return True
        return False

    async def _head(self) -> bytes:
        """Of the answer to somebody with a token."""
        reader, writer = await self._opened()
        try:
            lines = f"Host: x\r\nAuthorization: Bearer {self._token}\r\n"
            writer.write(f"GET {NOWHERE} HTTP/1.1\r\n{lines}\r\n".encode())
            return await reader.readuntil(b"\r\n\r\n")
        finally:
            writer.transport.abort()

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = None if self._tls is None else "localhost"
        return await asyncio.open_connection(*self.at, ssl=self._tls, server_hostname=name)

    def end(self) -> None:
        """Let go of all."""
        for one in self.plain:
            one.close()
        for writer in self.secured:
            writer.transport.abort()

    def __len__(self) -> int:
        return len(self.plain) + len(self.secured)


@asynccontextmanager
async def a_crowd(
    app: web.Application, token: str, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Crowd]:
    async with TestServer(app, socket_factory=little_room) as server:
        crowd = Crowd(server, token, tls)
        try:
            yield crowd
        finally:
            crowd.end()


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes no answers gives way at once, not after 2 s of each."""
    monkeypatch.setattr("web.http.raw.places.UNTAKEN_S", 0.1)


@each_size
@pytest.mark.parametrize("door", PROCESSES)
async def test_whatever_many_hold_on_to_others_are_served(
    tmp_path: Path,
    door: str,
    places: ConnectionLimits,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    # Of those that take what this process may have.
    monkeypatch.setattr("app.descriptors.of_others", lambda partitions, is_secured: places)
    keys = Keys(tmp_path)
    token = keys.token(*Scope)
    async with a_crowd(PROCESSES[door](keys.access(URL), places), token) as crowd:
        before, start = files(), resident_bytes()
        for kind, said in HELD_BY.items():
            await crowd.hold(kind, said, count // len(HELD_BY))

        assert len(crowd) > places.connections + places.for_operations
        ours = files() - len(crowd)
        assert ours < before + places.connections + places.for_operations + SLACK_FILES
        # And what at most some of them do not take.
        room = (places.connections + len(crowd)) * ROOM_BYTES + places.stalled * 2**19
        assert resident_bytes() - start < MOST_GROWTH_BYTES + room
        assert await crowd.one_is_served()
        record_property("tried", len(crowd))


@each_size
async def test_whatever_many_hold_on_to_before_and_behind_tls_others_are_served(
    tmp_path: Path,
    places: ConnectionLimits,
    count: int,
    record_property: Callable[[str, object], None],
) -> None:
    keys, pem = Keys(tmp_path), CertificateFiles(tmp_path)
    tls = tls_of(Settings.from_env(pem.settings()))
    access = keys.access(URL, tls=tls)
    app = of_worker(access, places)
    async with a_crowd(app, keys.token(*Scope), pem.authority.trusted()) as crowd:
        before, start = files(), resident_bytes()
        behind = places.connections + places.for_operations + 60
        for kind, said in BEFORE_TLS.items():
            await crowd.hold(kind, said, (count - behind) // len(BEFORE_TLS))
        await crowd.hold_secured(HALF_A_HEAD, behind)

        # Its own, and those of this side that it has not cut off.
        most = 2 * (places.connections + places.for_operations) + places.handshakes

        async def are_bounded() -> bool:
            return files() - len(crowd.plain) < before + most + SLACK_FILES

        # TLS says goodbye, which takes a moment.
        await until(are_bounded, f"{most} descriptors at most", 60)
        room = (places.connections + len(crowd.plain)) * ROOM_BYTES
        room += 2 * behind * SECURED_BYTES
        assert resident_bytes() - start < MOST_GROWTH_BYTES + room
        assert await crowd.one_is_served()
        record_property("tried", len(crowd))
