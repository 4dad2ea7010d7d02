"""Thousands of connections to a worker with places for two hundred: others are served meanwhile.

So few places that any machine has the descriptors; what bounds them is the same for 4,096.
Torture opens 10,000; ONHAND_CONNECTIONS says how many. Many at once are in test_every_door.py.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from aiohttp.test_utils import BaseTestServer, TestServer

from tests.unit.attacks.test_scopes import of_worker
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import URL
from web.access.access import Access
from web.access.callers import Scope
from web.http.connections import ConnectionLimits

IS_TORTURE = os.environ.get("HYPOTHESIS_PROFILE") == "torture"
COMING = int(os.environ.get("ONHAND_CONNECTIONS", "10000" if IS_TORTURE else "3000"))
PLACES = ConnectionLimits(connections=200, for_operations=20, head_timeout_s=0.3, linger_s=0.05)
#: So many of them the attacker holds before it looks at the oldest one: more than there are places.
HELD = 300
ROW = "/v1/inventory/SKU-1/s-7"
#: What is said on one after the other. Unfinished ones hold a place each, so they are few.
SAID = [b""] * 97 + [
    f"GET {ROW} HTTP/1.1\r\nHost: x\r\nX: ".encode(),
    b"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    f"GET {ROW} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
]
#: Beside places and what the attacker holds: of this process, and connections under way.
SLACK_FILES = 60
MOST_GROWTH_BYTES = 64 * 2**20


@asynccontextmanager
async def a_worker(access: Access) -> AsyncIterator[BaseTestServer]:
    async with TestServer(of_worker(access, PLACES)) as server:
        yield server


async def is_served(server: BaseTestServer, token: str) -> bool:
    """Somebody with a token comes in between."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    try:
        lines = f"Host: x\r\nAuthorization: Bearer {token}\r\n"
        writer.write(f"GET {ROW} HTTP/1.1\r\n{lines}\r\n".encode())
        return (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    finally:
        writer.transport.abort()


async def was_cut_off(one: socket.socket) -> bool:
    """Until the worker has closed it; true, or never."""
    with suppress(ConnectionError):
        while await asyncio.get_running_loop().sock_recv(one, 2**16):
            continue
    return True


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def test_thousands_of_connections_keep_nobody_out_and_hold_a_bounded_room(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    keys, loop = Keys(tmp_path), asyncio.get_running_loop()
    token = keys.token(Scope.READ)
    held: deque[socket.socket] = deque()
    async with a_worker(keys.access(URL)) as server:
        before, most_files, grown, start = files(), 0, 0, 0
        try:
            for number in range(COMING):
                one = socket.socket()
                held.append(one)
                one.setblocking(False)
                async with asyncio.timeout(60):
                    await loop.sock_connect(one, (str(server.host), int(server.port or 0)))
                    await loop.sock_sendall(one, SAID[number % len(SAID)])
                    if len(held) > HELD:
                        with held.popleft() as oldest:
                            assert await was_cut_off(oldest)
                if number % 500 == 0:
                    async with asyncio.timeout(60):
                        assert await is_served(server, token)
                    most_files = max(most_files, files())
                    # The first thousand fill what is kept for connections to come.
                    grown = resident_bytes() - start if number > 1_000 else 0
                    start = start if number > 1_000 else resident_bytes()
        finally:
            for one in held:
                one.close()

        places = PLACES.connections + PLACES.for_operations
        assert most_files < before + HELD + places + SLACK_FILES
        assert grown < MOST_GROWTH_BYTES
        record_property("tried", COMING)
        assert await is_served(server, token)
