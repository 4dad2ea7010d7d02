"""Who keeps a place without being served gives it up, and what he left of his answers too.

Whoever wants to keep others out needs no token for it, so none of these have one.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from aiohttp.test_utils import BaseTestServer

from dev.workers import until
from tests.unit.web.sockets import (
    LAST,
    QUICK,
    SLOW,
    a_server,
    little_room,
    of_aiohttp,
    places_of,
    say,
)
from web.http.connections import ConnectionLimits
from web.http.raw.shortcuts import Take

BUSY = b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = b"GET /large?bytes=1000000 HTTP/1.1\r\nHost: x\r\n\r\n"
#: Less than would make asyncio say by itself that nobody takes it.
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + b" " * 20_000


def quickly(data: bytes, take: Take) -> bytes | None:
    return ANSWER if data == QUICK else None


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the log is told, whatever else of this process has set up logs."""
    said: list[str] = []
    say_it = lambda sentence, number: said.append(sentence % number)  # noqa: E731
    monkeypatch.setattr("web.http.raw.places.log.warning", say_it)
    return said


@contextmanager
def clients(server: BaseTestServer) -> Iterator[Callable[[], socket.socket]]:
    """Makes one more that reads nothing unless it is told to."""
    held: list[socket.socket] = []

    def one_more() -> socket.socket:
        held.append(one := socket.socket())
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        one.connect((str(server.host), int(server.port or 0)))
        one.setblocking(False)
        return one

    try:
        yield one_more
    finally:
        for one in held:
            one.close()


async def there_are(server: BaseTestServer, taken: int, stalled: int = 0) -> None:
    places = places_of(server)

    async def so() -> bool:
        return (places.taken, len(places._stalled)) == (taken, stalled)

    await until(so, f"{taken} connections, {stalled} that take nothing", 60, every_s=0.001)


async def ask_until_it_waits(server: BaseTestServer, one: socket.socket, asked: bytes) -> None:
    places = places_of(server)
    before = len(places._stalled)

    async def waits() -> bool:
        with suppress(BlockingIOError):
            one.send(asked)
        return len(places._stalled) > before

    await until(waits, "more than it takes", 60, every_s=0.001)


async def ask_until_nothing_moves(server: BaseTestServer, one: socket.socket, asked: bytes) -> None:
    """What waits for a moment only may go out after all: until neither side takes any more."""
    await ask_until_it_waits(server, one, asked)

    async def is_stuck() -> bool:
        try:
            one.send(asked)
        except BlockingIOError:
            return bool(places_of(server)._stalled)
        return False

    await until(is_stuck, "stuck", 60, every_s=0.001)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost",
        # Refused, or answered, before it has come.
        b"POST /live HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na",
        b"GET /live HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\na",
    ],
)
async def test_who_is_not_being_served_gives_place_to_who_comes(said: bytes) -> None:
    async with a_server(ConnectionLimits(connections=3, linger_s=2)) as server:
        with clients(server) as one_more:
            for number in range(1, 10):
                one = one_more()
                await there_are(server, min(number, 3))
                one.send(said)
                if said.startswith((b"POST", b"GET /live")):
                    async with asyncio.timeout(60):
                        await asyncio.get_running_loop().sock_recv(one, 2**16)

            assert (await say(server, LAST)).startswith(b"HTTP/1.1 200 ")


async def test_who_is_being_served_keeps_his_place(told: list[str]) -> None:
    async with a_server(ConnectionLimits(connections=3)) as server:
        with clients(server) as one_more:
            for number in range(1, 4):
                one_more().send(BUSY)
                await there_are(server, number)
            # When all of them have asked, and not before.
            await until(lambda: is_refused(server), "refused", 60)
            await there_are(server, 3)

    assert [one for one in told if "All 3 places" in one and "that are being answered" in one]


async def is_refused(server: BaseTestServer) -> bool:
    return (await say(server, LAST)).startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize("asked", [SLOW * 100, QUICK])
async def test_small_answers_that_nobody_takes_have_a_deadline(asked: bytes) -> None:
    limits = ConnectionLimits(write_timeout_s=0.3, keepalive_timeout_s=0.1)
    async with a_server(limits, quickly, listens=little_room) as server:
        with clients(server) as one_more:
            await ask_until_it_waits(server, one_more(), asked)

            # The client is there still, and so would what it left be.
            await there_are(server, 0)


async def test_who_takes_no_answers_gives_place_to_who_comes(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.http.raw.places.UNTAKEN_S", 0.0)
    limits = ConnectionLimits(connections=4, write_timeout_s=60)
    async with a_server(limits, listens=little_room) as server:
        with clients(server) as one_more:
            await ask_until_nothing_moves(server, one_more(), SLOW * 100)
            for number in range(6):
                assert (await say(server, LAST)).startswith(b"HTTP/1.1 200 "), number
            for number in range(2, 5):
                one_more().send(BUSY)
                await there_are(server, number, stalled=1)
            places = places_of(server)

            async def all_are_served() -> bool:
                return all(one.has_been_quiet_since() is None for one in places._quiet)

            await until(all_are_served, "served, all of them", 60, every_s=0.001)
            assert (await say(server, LAST)).startswith(b"HTTP/1.1 200 ")
            await there_are(server, 3)

    assert [one for one in told if "All 4 places" in one and "longest ago is cut off" in one]


async def test_no_more_than_some_keep_answers_that_they_do_not_take(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.http.raw.places.UNTAKEN_S", 0.0)
    limits = ConnectionLimits(connections=100, stalled=3)
    async with a_server(limits, listens=little_room) as server:
        with clients(server) as one_more:
            for number in range(1, 4):
                one_more().send(LARGE)
                await there_are(server, number, stalled=number)
            for _ in range(5):
                one_more().send(LARGE)

            async def have_all_asked() -> bool:
                return of_aiohttp(server).requests_count == 8

            await until(have_all_asked, "asked, all of them", 60, every_s=0.001)
            await there_are(server, 3, stalled=3)

    (only,) = told  # and not one for each
    assert "More than 3 clients do not take their answers" in only
