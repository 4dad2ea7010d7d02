"""The way past aiohttp that a key read takes, and what it may not change."""

import asyncio
import re
from contextlib import suppress

import pytest
from aiohttp.test_utils import BaseTestServer

from tests.unit.web.sockets import LAST, POST, QUICK, SLOW, a_server, say
from web.http.connections import ConnectionLimits


class Quick:
    """Takes what is exactly QUICK; elsewhere there is nothing at that path."""

    def __init__(self) -> None:
        self.taken = 0
        self.news = asyncio.Event()

    def __call__(self, data: bytes) -> bytes | None:
        self.news.set()
        if data != QUICK:
            return None
        self.taken += 1
        return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick"


async def in_turn(server: BaseTestServer, quick: Quick, *pieces: bytes) -> bytes:
    """Send each piece once the server has got the one before, and read all answers."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    answers = bytearray()

    async def collect() -> None:
        with suppress(ConnectionError):  # the server may close on what is no request
            while data := await reader.read(65536):
                answers.extend(data)
                quick.news.set()

    collecting = asyncio.create_task(collect())
    for piece in (*pieces, LAST):
        quick.news.clear()
        writer.write(piece)
        news = asyncio.create_task(quick.news.wait())
        await asyncio.wait([news, collecting], timeout=5, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        await asyncio.sleep(0.01)  # the rest of the answer
    await asyncio.wait_for(collecting, 5)
    writer.close()
    return bytes(answers)


@pytest.mark.parametrize(
    ("pieces", "taken"),
    [
        ([QUICK, QUICK, QUICK], 3),
        ([QUICK, SLOW, QUICK], 2),  # a whole GET leaves the parser at a boundary
        ([QUICK + QUICK], 0),  # sent at once: two requests, not one
        ([QUICK[:10], QUICK[10:]], 0),
        ([POST, QUICK], 0),  # after a body nobody knows where the parser is
        ([SLOW + b"GET / HTTP/1.1\r\nX: ", QUICK], 0),  # its bytes are a header's value
        ([b"GET / HTTP/1.1\r\nContent-Length: 32\r\n\r\n", QUICK], 0),  # … or a body
        ([b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", QUICK], 0),
    ],
)
async def test_the_shortcut_takes_only_what_is_certainly_a_request(
    pieces: list[bytes], taken: int
) -> None:
    quick = Quick()
    async with a_server(ConnectionLimits(linger_s=0.01), quick) as server:
        await in_turn(server, quick, *pieces)

    assert quick.taken == taken


async def test_answers_of_both_ways_keep_their_order() -> None:
    quick = Quick()
    async with a_server(ConnectionLimits(), quick) as server:
        answer = await in_turn(server, quick, QUICK, SLOW, QUICK)

    bodies = re.findall(rb"\r\n\r\n(quick|hello)", answer)
    assert bodies == [b"quick", b"hello", b"quick", b"hello"]


async def test_a_client_that_does_not_read_gets_no_more_by_the_shortcut() -> None:
    def large(data: bytes) -> bytes:
        asked.append(data)
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b" " * 1_000_000

    asked: list[bytes] = []
    async with a_server(ConnectionLimits(), large) as server:
        _, writer = await asyncio.open_connection(server.host, server.port, limit=1000)
        for _ in range(60):
            writer.write(QUICK)
            await asyncio.sleep(0.003)
        writer.transport.abort()

    assert 0 < len(asked) < 30


async def test_a_bug_in_the_shortcut_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    def bug(data: bytes) -> bytes:
        raise RuntimeError("a bug")

    async with a_server(ConnectionLimits(), bug) as server:
        answer = await say(server, LAST)

    assert answer.endswith(b"hello")
    assert "a bug" in caplog.text


async def test_a_connection_that_only_takes_the_shortcut_is_kept_open() -> None:
    async with a_server(ConnectionLimits(keepalive_timeout_s=0.15), Quick()) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        for _ in range(5):
            writer.write(QUICK)
            assert await asyncio.wait_for(reader.readuntil(b"quick"), 5)
            await asyncio.sleep(0.04)
        writer.close()
