"""What aiohttp does not bound by itself: late heads, too many connections, bad HTTP."""

import asyncio
from contextlib import suppress

import pytest
from aiohttp.test_utils import BaseTestServer

from tests.unit.web.sockets import LAST, SLOW, Opened, a_server, problem_in, say
from web.http.connections import ConnectionLimits


async def test_a_half_sent_head_is_cut_off_with_408() -> None:
    async with a_server(ConnectionLimits(head_timeout_s=0.1)) as server:
        answer = await say(server, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert problem_in(answer)["type"] == "/problems/request-timeout"


async def test_a_head_that_trickles_in_is_cut_off_all_the_same() -> None:
    async def trickle(server: BaseTestServer) -> bytes:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\n")
        reading = asyncio.create_task(reader.readuntil(b"\r\n"))
        while not reading.done():
            writer.write(b"X: y\r\n")
            await asyncio.sleep(0.02)
        writer.close()
        return await reading

    async with a_server(ConnectionLimits(head_timeout_s=0.15)) as server:
        answer = await asyncio.wait_for(trickle(server), 30)

    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_head_in_two_pieces_within_the_deadline_is_served() -> None:
    async with a_server(ConnectionLimits(head_timeout_s=5)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost")
        await asyncio.sleep(0.05)
        writer.write(b": x\r\nConnection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_the_second_head_on_a_connection_has_a_deadline_too() -> None:
    whole = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with a_server(ConnectionLimits(head_timeout_s=0.1)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(whole)
        first = await reader.readuntil(b"hello")
        writer.write(b"GET / HT")
        second = await asyncio.wait_for(reader.read(), 30)
        writer.close()

    assert first.startswith(b"HTTP/1.1 200 ")
    assert second.startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_is_kept_until_its_own_timeout() -> None:
    limits = ConnectionLimits(head_timeout_s=0.05, keepalive_timeout_s=0.15)
    async with a_server(limits) as server:
        loop = asyncio.get_running_loop()
        began = loop.time()
        answer = await say(server)

        assert answer == b""
        assert loop.time() - began >= 0.14


async def open_all(server: BaseTestServer, count: int) -> list[Opened]:
    return [await asyncio.open_connection(server.host, server.port) for _ in range(count)]


async def close_all(opened: list[Opened]) -> None:
    for _, writer in opened:
        writer.close()


async def test_who_is_idle_for_longest_gives_place_to_who_comes() -> None:
    async with a_server(ConnectionLimits(connections=3)) as server:
        held = await open_all(server, 3)
        # The first is used: it is idle for less long than the second now.
        held[0][1].write(SLOW)
        await held[0][0].readuntil(b"hello")
        answer = await say(server, LAST)

        assert answer.startswith(b"HTTP/1.1 200 ")
        assert await asyncio.wait_for(held[1][0].read(), 30) == b""  # it was closed
        for reader, writer in (held[0], held[2]):
            writer.write(SLOW)
            assert await asyncio.wait_for(reader.readuntil(b"hello"), 30)
        await close_all(held)


async def test_thousands_that_say_nothing_keep_nobody_out() -> None:
    async with a_server(ConnectionLimits(connections=20, for_operations=2)) as server:
        held = await open_all(server, 100)
        for _ in range(5):
            assert (await say(server, LAST)).startswith(b"HTTP/1.1 200 ")
        await close_all(held)


async def test_where_all_are_busy_one_more_may_ask_what_operations_ask() -> None:
    async with a_server(ConnectionLimits(connections=2)) as server:
        held = await open_all(server, 2)
        for _, writer in held:
            writer.write(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        refused = await say(server, LAST)
        lives = await say(server, b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await close_all(held)

    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 1\r\n" in refused
    assert problem_in(refused)["type"] == "/problems/too-busy"
    assert lives.endswith(b"alive")


async def test_the_lane_of_operations_cannot_be_filled() -> None:
    async with a_server(ConnectionLimits(connections=1, for_operations=3)) as server:
        held = await open_all(server, 1)
        held[0][1].write(b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.05)
        silent = await open_all(server, 10)
        for reader, _ in silent[:7]:  # the oldest of more than three
            assert await asyncio.wait_for(reader.read(), 30) == b""
        lives = await say(server, b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await close_all(held + silent)

    assert lives.endswith(b"alive")


async def test_a_place_is_free_again_when_its_client_has_gone() -> None:
    async with a_server(ConnectionLimits(connections=1)) as server:
        for _ in range(5):
            assert (await say(server, LAST)).startswith(b"HTTP/1.1 200 ")


async def test_what_is_not_http_gets_a_problem_and_no_log_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_server(ConnectionLimits()) as server:
        answer = await say(server, b"hello\r\n\r\n")

    assert b" 400 " in answer.splitlines()[0]
    assert problem_in(answer)["type"] == "/problems/invalid-request"
    assert not caplog.records


async def test_tls_against_the_plain_port_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200))
    async with a_server(ConnectionLimits()) as server:
        await say(server, hello)

    assert "speaks TLS to the port for plain HTTP" in caplog.text


async def test_a_head_that_is_too_long_gets_a_problem() -> None:
    async with a_server(ConnectionLimits(line_bytes=10_000)) as server:
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
    async with a_server(ConnectionLimits(write_timeout_s=0.05)) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1000)
        writer.write(b"GET /large?bytes=20000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.12)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asyncio.wait_for(reader.readexactly(20_000_000), 30)
        writer.close()


async def test_a_large_answer_arrives_whole_at_a_client_that_reads() -> None:
    ask = b"GET /large?bytes=1000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    async with a_server(ConnectionLimits()) as server:
        answer = await say(server, ask)

    assert len(answer.partition(b"\r\n\r\n")[2]) == 1_000_000


# ---- a client that ends its side


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 3),
        (b"GET / HTTP/1.0\r\n\r\n", 1),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", 1),
    ],
)
async def test_a_client_that_half_closes_gets_its_answers(asked: bytes, times: int) -> None:
    async with a_server(ConnectionLimits()) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(asked * times)
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()

    assert answer.count(b" 200 OK\r\n") == times
    assert answer.endswith(b"hello")


async def test_a_client_that_half_closes_within_a_body_is_let_go(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_server(ConnectionLimits()) as server:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab")
        writer.write_eof()
        with suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()

    assert not caplog.records
