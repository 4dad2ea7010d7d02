"""The client that one worker asks another with, against servers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from tests.support.breaking.scripted import ScriptedServer, always, never
from web.cluster.exchange import PeerFailed
from web.cluster.peers import Peers, get, post

OK = b'HTTP/1.1 200 OK\r\nETag: W/"x"\r\nContent-Length: 2\r\nDate: now\r\n\r\nhi'


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    client = Peers()
    yield client
    await client.close()


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in time")


async def test_status_headers_and_body_come_as_they_are_on_one_kept_connection(
    peers: Peers,
) -> None:
    async with ScriptedServer(always(OK)) as server:
        for _ in range(3):
            answer = await peers.ask(server.url, get(server.url, "/x", {}, "Onhand-Hop: 1\r\n"))

            assert (answer.status, answer.body) == (200, b"hi")
            assert answer.headers["etag"] == 'W/"x"'
        assert server.connections == 1
        assert server.heads[0].startswith(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:")
        assert b"\r\nOnhand-Hop: 1\r\n\r\n" in server.heads[0]


async def test_an_answer_in_many_pieces_is_one_answer(peers: Peers) -> None:
    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        for i in range(len(OK)):
            writer.write(OK[i : i + 1])
            await asyncio.sleep(0)

    async with ScriptedServer(serve) as server:
        assert (await peers.ask(server.url, get(server.url, "/", {}, ""))).body == b"hi"
        assert (await peers.ask(server.url, get(server.url, "/", {}, ""))).body == b"hi"


@pytest.mark.parametrize("length", [b"", b"Content-Length: 99\r\n"])
async def test_a_304_has_no_body_whatever_its_length_says(peers: Peers, length: bytes) -> None:
    async with ScriptedServer(always(b"HTTP/1.1 304 Not Modified\r\n%b\r\n" % length)) as server:
        for _ in range(2):
            answer = await peers.ask(server.url, get(server.url, "/", {}, ""))
            assert (answer.status, answer.body) == (304, b"")
        assert server.connections == 1


async def test_a_connection_closed_meanwhile_costs_nothing_but_a_new_one(peers: Peers) -> None:
    async with ScriptedServer(always(OK)) as server:
        await peers.ask(server.url, get(server.url, "/", {}, ""))
        server.hang_up()

        assert (await peers.ask(server.url, get(server.url, "/", {}, ""))).status == 200
        assert server.connections == 2


async def test_idle_connections_that_the_server_closed_are_forgotten(peers: Peers) -> None:
    async with ScriptedServer(always(OK)) as server:
        request = get(server.url, "/", {}, "")
        await asyncio.gather(*(peers.ask(server.url, request) for _ in range(5)))
        peer = peers._peers[server.url]
        assert len(peer.idle) == peer.open == 5

        server.hang_up()
        await until(lambda: not peer.open)
        assert len(peer.idle) == peer.open == 0


async def test_a_connection_that_the_server_wants_closed_is_not_used_again(peers: Peers) -> None:
    closing = OK.replace(b"ETag", b"Connection: close\r\nETag")
    async with ScriptedServer(always(closing)) as server:
        for _ in range(2):
            assert (await peers.ask(server.url, get(server.url, "/", {}, ""))).body == b"hi"
        assert server.connections == 2


async def test_an_answer_given_up_is_never_taken_for_the_next_one(peers: Peers) -> None:
    slow_once = asyncio.Event()

    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        if head.startswith(b"GET /slow"):
            await slow_once.wait()
            writer.write(OK.replace(b"hi", b"no"))
        else:
            writer.write(OK)

    async with ScriptedServer(serve) as server:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await peers.ask(server.url, get(server.url, "/slow", {}, ""))
        slow_once.set()

        assert (await peers.ask(server.url, get(server.url, "/", {}, ""))).body == b"hi"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nETag: a\nb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nETag: \xff\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_what_is_no_answer_of_ours_is_a_failure(peers: Peers, answer: bytes) -> None:
    async with ScriptedServer(always(answer)) as server:
        with pytest.raises(PeerFailed):
            await peers.ask(server.url, get(server.url, "/", {}, ""))


async def test_an_answer_cut_off_is_a_failure(peers: Peers) -> None:
    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(OK[:-1])
        writer.close()

    async with ScriptedServer(serve) as server:
        with pytest.raises(PeerFailed):
            await peers.ask(server.url, get(server.url, "/", {}, ""))


async def test_nobody_there_is_a_failure(peers: Peers) -> None:
    async with ScriptedServer(always(OK)) as server:
        url = server.url
    with pytest.raises(PeerFailed, match="refuses"):
        await peers.ask(url, get(url, "/", {}, ""))


async def test_a_frozen_worker_collects_only_so_many_connections(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.cluster.pool.MAX_CONNECTIONS", 3)
    async with ScriptedServer(never) as server:
        request = get(server.url, "/", {}, "")
        asked = [asyncio.create_task(peers.ask(server.url, request)) for _ in range(3)]
        await asyncio.sleep(0)

        with pytest.raises(PeerFailed, match="too many"):
            await peers.ask(server.url, request)

        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        with pytest.raises(TimeoutError):  # there is room again
            async with asyncio.timeout(0.05):
                await peers.ask(server.url, request)


async def test_workers_that_nobody_asks_any_more_are_forgotten(
    peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.cluster.peers.FORGET_S", -1.0)  # not asked at this moment is long ago
    async with (
        ScriptedServer(always(OK)) as idle,
        ScriptedServer(never) as busy,
        ScriptedServer(always(OK)) as new,
    ):
        await peers.ask(idle.url, get(idle.url, "/", {}, ""))
        under_way = asyncio.create_task(peers.ask(busy.url, get(busy.url, "/", {}, "")))
        await until(lambda: bool(busy.heads))

        await peers.ask(new.url, get(new.url, "/", {}, ""))

        assert set(peers._peers) == {busy.url, new.url}
        await until(lambda: not idle.is_connected())
        under_way.cancel()


async def test_a_post_carries_its_body(peers: Peers) -> None:
    async with ScriptedServer(always(OK)) as server:
        await peers.ask(server.url, post(server.url, "/v1/lookup", {"a": "x y"}, "A: b\r\n", b""))

        assert b"\r\nContent-Length: 0\r\nA: b\r\n" in server.heads[0]
        assert b"\r\nContent-Type: application/json\r\n" in server.heads[0]


@pytest.mark.parametrize(
    "url",
    ["http://[::1", "http://[zz]:1", "http://a..b:80", "http://x:99999", "http://x:y", "", "x",
     "ftp://x", "http://", "http://a\r\nb: c", "http://\x00", "http://" + "a" * 300],
)  # fmt: skip
async def test_an_address_that_is_none_is_a_failure_of_that_worker(peers: Peers, url: str) -> None:
    with pytest.raises(PeerFailed, match="address is none"):
        await peers.ask(url, get(url, "/", {}, ""))


async def test_after_the_close_no_connection_is_open_not_even_one_that_is_asked() -> None:
    client, may_answer = Peers(), asyncio.Event()

    async def serve(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in head:
            await may_answer.wait()
        writer.write(OK)

    async with ScriptedServer(serve) as server:
        await client.ask(server.url, get(server.url, "/", {}, ""))
        asked = client.ask_at_once(server.url, get(server.url, "/slow", {}, ""), lambda data: None)
        assert asked is not None

        await client.close()
        may_answer.set()

        with pytest.raises(PeerFailed):
            await asked.answer
        assert not client.has_idle(server.url)
