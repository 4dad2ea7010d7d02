"""What is too large is refused before it has an end; what is kept of callers is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from itertools import chain, repeat
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import URL, FakeTable
from tests.unit.web.serving import LIMITS, a_web
from web.access.access import Access
from web.access.callers import Scope

ROW = "/v1/inventory/SKU-1/s-7"
#: No client of ours needs as much for one request.
MOST_BYTES = 64 * 2**20
PIECE = b"a" * 2**14


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


@pytest.fixture
async def server(keys: Keys) -> AsyncIterator[BaseTestServer]:
    app = web.Application()
    a_web(FakeTable(), LIMITS, keys.access(URL)).attach(app)
    async with TestServer(app) as running:
        yield running


def endless(what: str, token: str) -> Iterator[bytes]:
    """The pieces of a request that never ends."""
    begun = f"GET {ROW} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n".encode()
    match what:
        case "headers":
            return chain((begun,), (b"X-%d: a\r\n" % number * 100 for number in range(10**6)))
        case "one header":
            return chain((begun, b"X: "), repeat(PIECE))
        case "one name":
            return chain((begun,), repeat(PIECE))
        case "a token":
            return chain((begun[:-2],), repeat(PIECE))
        case "a proof":
            return chain((begun, b"Onhand-Proof: 1 - "), repeat(PIECE))
        case "a path":
            return chain((b"GET /",), repeat(PIECE))
        case "a method":
            return repeat(PIECE)
    raise AssertionError(what)


@pytest.mark.parametrize(
    "what", ["headers", "one header", "one name", "a token", "a proof", "a path", "a method"]
)
async def test_a_head_without_an_end_is_refused_by_its_size(
    what: str, keys: Keys, server: BaseTestServer
) -> None:
    reader, writer = await asyncio.open_connection(server.host, server.port)
    sent = 0
    try:
        with suppress(ConnectionError):
            async with asyncio.timeout(30):
                for piece in endless(what, keys.token()):
                    writer.write(piece)
                    await writer.drain()
                    sent += len(piece)
                    assert sent < MOST_BYTES, "it was taken without a bound"
                    if reader.at_eof() or b"\r\n\r\n" in reader._buffer:  # type: ignore[attr-defined]
                        break
        # Where it reads no more, the answer may be lost with the connection.
        answer = bytes(reader._buffer)  # type: ignore[attr-defined]
        assert not answer or answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 408")), answer
        assert b"onhand_" not in answer
    finally:
        writer.transport.abort()


def kept_bytes(access: Access) -> int:
    """What a worker keeps of those that it knows again."""
    return sum(len(head) + len(left) for head, (left, _) in access._seen.items())


@pytest.mark.parametrize("size", [10, 1_000, 200_000])
def test_callers_that_are_known_again_take_a_bounded_room(
    keys: Keys, size: int, record_property: Callable[[str, object], None]
) -> None:
    access, token = keys.access(URL), keys.token(Scope.READ)
    most = 0
    record_property("tried", 1_100)
    for number in range(1_100):
        line = f"X: {number:08d}{'a' * size}"
        head = f"GET {ROW} HTTP/1.1\r\n{line}\r\nAuthorization: Bearer {token}\r\n\r\n"
        access.at_once(head.encode(), lambda answer: None, lambda data, take: None)
        if number % 100 == 0:
            most = max(most, kept_bytes(access))
    assert most < 8 * 2**20


def test_who_is_refused_leaves_nothing_behind(
    keys: Keys, record_property: Callable[[str, object], None]
) -> None:
    access = keys.access(URL)
    record_property("tried", 3_000)
    for number in range(3_000):
        head = f"GET {ROW} HTTP/1.1\r\nAuthorization: Bearer onhand_{number:08x}_{'A' * 43}\r\n\r\n"
        access.at_once(head.encode(), lambda answer: None, lambda data, take: b"row")
    assert kept_bytes(access) == 0
