"""The memory of answers that wait for their clients is bounded, and nobody keeps others out."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, TestServer

from web.http.connections import LARGE_BYTES, ConnectionLimits, guard
from web.http.outbox import Outbox


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_of_several_that_grow_together_the_one_that_comes_to_the_bound_is_refused() -> None:
    box = Outbox(100)
    one, other = box.parcel(), box.parcel()
    assert one.grow(60)
    assert other.grow(40)

    assert not other.grow(1)
    other.close()
    assert one.grow(40)
    assert box.held == 100


def test_one_alone_has_room_however_large_it_is() -> None:
    box = Outbox(100)
    one = box.parcel()

    assert one.grow(90)
    assert one.grow(1_000)
    assert not box.parcel().grow(1)


def test_the_client_that_took_nothing_for_longest_is_cut_off_for_others(
    clock: list[float],
) -> None:
    box, cut = Outbox(100), list[str]()
    slow, slower, quick = box.parcel(), box.parcel(), box.parcel()
    for parcel, name in ((slow, "slow"), (slower, "slower"), (quick, "quick")):
        assert parcel.grow(30)
        parcel.waits(lambda name=name: cut.append(name))  # type: ignore[misc]  # bound at once
    clock[0] += 1.5
    slow.took(10)
    quick.took(10)
    clock[0] += 1.0
    assert box.parcel().grow(30)
    assert cut == []
    assert box.parcel().grow(30)
    assert cut == ["slower"]
    assert not box.parcel().grow(50)  # the others took something not long ago
    clock[0] += 1.5
    assert box.parcel().grow(40)
    assert cut == ["slower", "slow", "quick"]


def test_what_was_taken_and_what_is_closed_is_held_no_more() -> None:
    box = Outbox(100)
    one = box.parcel()
    one.grow(80)
    one.waits(lambda: None)
    one.took(50)
    assert box.held == 30
    one.close()
    one.close()
    one.took(10)

    assert box.held == 0
    assert not box._waiting


async def test_answers_that_are_made_whole_count_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("web.http.outbox.SLOW_S", 3600)
    size = 20 * 2**20  # more than sockets hold

    async def large(request: web.Request) -> web.Response:
        return web.Response(body=bytes(size))

    async def first_line(server: BaseTestServer) -> tuple[bytes, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(server.host, server.port, limit=1_000)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        return await reader.readline(), writer

    app, box = web.Application(), Outbox(2 * size)
    app.router.add_get("/", large)
    guard(app, ConnectionLimits(), outbox=box)
    async with TestServer(app) as server:
        said = [await first_line(server) for _ in range(3)]
        assert size > LARGE_BYTES
        assert box.held == 2 * size
        assert [line.split()[1] for line, _ in said] == [b"200", b"200", b"503"]
        for _, writer in said:
            writer.transport.abort()
        for _ in range(3_000):
            if not box.held:
                break
            await asyncio.sleep(0.01)
        assert box.held == 0
