"""The way past aiohttp that a key read takes, and what it may not change."""

import asyncio
import re
import socket
import struct
from contextlib import suppress

import pytest
from aiohttp.test_utils import BaseTestServer

from tests.unit.web.sockets import LAST, POST, QUICK, SLOW, a_server, say
from web.http.connections import ConnectionLimits
from web.http.raw.shortcuts import LATER, Take


class Quick:
    """Takes what is exactly QUICK; elsewhere there is nothing at that path."""

    def __init__(self) -> None:
        self.taken = 0
        self.news = asyncio.Event()

    def __call__(self, data: bytes, take: Take) -> bytes | None:
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
        await asyncio.wait([news, collecting], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        news.cancel()
        await asyncio.sleep(0.01)  # the rest of the answer
    await asyncio.wait_for(collecting, 30)
    writer.close()
    return bytes(answers)


@pytest.mark.parametrize(
    ("pieces", "taken"),
    [
        ([QUICK, QUICK, QUICK], 3),
        ([QUICK, SLOW, QUICK], 2),  # a whole GET leaves the parser at a boundary
        ([QUICK + QUICK], 0),  # sent at once: two requests, not one
        ([QUICK[:10], QUICK[10:]], 0),
        ([POST, QUICK], 1),  # so does a POST whose body came with it
        ([POST[:-1], POST[-1:], QUICK], 0),  # else nobody knows where the parser is
        ([POST.replace(b"2", b"34"), QUICK], 0),  # its bytes are of a body
        ([POST.replace(b"h: 2", b"h: 2\r\nContent-Length: 2"), QUICK], 0),
        ([b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", QUICK], 0),
        ([b"POST / HTTP/1.1\r\nHost: x\r\n\r\n", QUICK], 0),
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
    def large(data: bytes, take: Take) -> bytes:
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
    def bug(data: bytes, take: Take) -> bytes:
        raise RuntimeError("a bug")

    async with a_server(ConnectionLimits(), bug) as server:
        answer = await say(server, LAST)

    assert answer.endswith(b"hello")
    assert "a bug" in caplog.text


async def test_a_connection_that_only_takes_the_shortcut_is_kept_open() -> None:
    async with a_server(ConnectionLimits(keepalive_timeout_s=0.5), Quick()) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        for _ in range(15):
            writer.write(QUICK)
            assert await asyncio.wait_for(reader.readuntil(b"quick"), 30)
            await asyncio.sleep(0.04)
        writer.close()


# ---- answers that come later


class Later:
    """Takes what is QUICK, and answers when the test does."""

    def __init__(self) -> None:
        self._asked: asyncio.Queue[Take] = asyncio.Queue()

    def __call__(self, data: bytes, take: Take) -> bytes | None:
        if data != QUICK:
            return None
        self._asked.put_nowait(take)
        return LATER

    async def asked(self) -> Take:
        return await asyncio.wait_for(self._asked.get(), 30)

    def is_asked(self) -> bool:
        return not self._asked.empty()


def an_answer(text: str) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()


async def next_answer(reader: asyncio.StreamReader) -> bytes:
    """Its body."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    assert length is not None
    return await asyncio.wait_for(reader.readexactly(int(length[1])), 30)


async def test_what_comes_behind_a_request_under_way_is_answered_after_it() -> None:
    later = Later()
    async with a_server(ConnectionLimits(), later) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(QUICK)
        first = await later.asked()
        writer.write(QUICK)
        await other_bytes_are_read(server)
        assert not later.is_asked()
        first(an_answer("first"))
        assert await next_answer(reader) == b"first"

        second = await later.asked()
        writer.write(SLOW)
        await other_bytes_are_read(server)
        second(None)  # the usual way: there is nothing at that path
        assert await next_answer(reader) == b"404: Not Found"
        assert await next_answer(reader) == b"hello"

        writer.write(QUICK)
        assert await next_answer(reader) == b"404: Not Found"  # it came in pieces before
        writer.close()


async def test_many_requests_behind_one_under_way_are_all_answered() -> None:
    later = Later()
    async with a_server(ConnectionLimits(), later) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(QUICK)
        take = await later.asked()
        long = SLOW.replace(b"Host: x", b"Host: x\r\nX-Long: " + b"x" * 4_000)
        sending = asyncio.create_task(send(writer, long, 500))
        await other_bytes_are_read(server)
        take(an_answer("first"))

        assert await next_answer(reader) == b"first"
        for _ in range(500):
            assert await next_answer(reader) == b"hello"
        await sending
        writer.close()


async def send(writer: asyncio.StreamWriter, request: bytes, times: int) -> None:
    for _ in range(times):
        writer.write(request)
        await writer.drain()


async def other_bytes_are_read(server: BaseTestServer) -> None:
    """Whatever was sent before has been read: what comes on another connection has."""
    assert (await say(server, LAST)).endswith(b"hello")


async def test_a_client_that_ends_its_side_gets_the_answer_that_is_under_way() -> None:
    later = Later()
    async with a_server(ConnectionLimits(), later) as server:
        for behind, told in ((b"", [b"told"]), (SLOW, [b"told", b"hello"])):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(QUICK)
            take = await later.asked()
            if behind:
                writer.write(behind)
                await other_bytes_are_read(server)
            writer.write_eof()
            await other_bytes_are_read(server)
            take(an_answer("told"))

            assert [await next_answer(reader) for _ in told] == told
            assert await asyncio.wait_for(reader.read(), 30) == b""
            writer.close()


async def test_an_answer_for_a_client_that_is_gone_goes_to_nobody() -> None:
    later = Later()
    async with a_server(ConnectionLimits(connections=1), later) as server:
        for response in (an_answer("to nobody"), None):
            _, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(QUICK)
            take = await later.asked()
            reset = struct.pack("ii", 1, 0)  # who only ends his side still waits for the answer
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            writer.transport.abort()
            await its_place_is_free(server)

            take(response)


async def test_who_has_ended_his_side_is_not_kept_after_the_last_answer() -> None:
    later = Later()

    def sooner_or_later(data: bytes, take: Take) -> bytes | None:
        return an_answer("at once") if data == SLOW else later(data, take)

    async with a_server(ConnectionLimits(), sooner_or_later) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(QUICK)
        take = await later.asked()
        writer.write(SLOW)
        await other_bytes_are_read(server)
        writer.write_eof()
        take(an_answer("told"))

        assert await next_answer(reader) == b"told"
        assert await next_answer(reader) == b"at once"
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def its_place_is_free(server: BaseTestServer) -> None:
    for _ in range(3_000):
        if b"hello" in await say(server, LAST):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it is still taken")


async def test_only_the_request_under_way_is_answered_by_its_own_answer_and_once() -> None:
    later = Later()
    async with a_server(ConnectionLimits(), later) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(QUICK)
        first = await later.asked()
        first(an_answer("first"))
        first(an_answer("again"))
        assert await next_answer(reader) == b"first"
        writer.write(QUICK)
        second = await later.asked()
        first(an_answer("again"))
        first(None)
        second(an_answer("second"))

        assert await next_answer(reader) == b"second"
        writer.close()


async def test_a_connection_with_an_answer_under_way_is_not_taken_for_idle() -> None:
    later = Later()
    limits = ConnectionLimits(connections=1)
    async with a_server(limits, later) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(QUICK)
        take = await later.asked()
        assert (await say(server, SLOW)).startswith(b"HTTP/1.1 503")  # it found no idle one
        take(an_answer("told"))

        assert await next_answer(reader) == b"told"
        assert (await say(server, LAST)).endswith(b"hello")  # and this one does
        writer.close()
