"""A SKU with more rows than fit into one piece, through any worker, whole or cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from core.stages import Role
from tests.support.inside.fleet import Fleet, a_fleet
from web.cluster import exchange
from web.http import outbox
from web.http.problems import Problem
from web.reads import skus

SKU = "SKU-1"
PATH = f"/v1/inventory/{SKU}"
#: A location of the longest kind: 36 MB are few rows then.
LONG = "é" * 110


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PIECES_ABOVE_BYTES", 8 * 1024)
    monkeypatch.setattr(skus, "SKU_WHOLE_BYTES", 8 * 1024)
    monkeypatch.setattr(exchange, "MAX_HELD_BYTES", 8 * 1024)
    monkeypatch.setattr(exchange, "MAX_ANSWER_BYTES", 64 * 1024)
    monkeypatch.setattr(skus, "SKU_CHUNK", 50)


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    async with a_fleet(3) as fleet:
        fill(fleet, 1000)
        yield fleet


def fill(fleet: Fleet, rows: int) -> None:
    for number in range(rows):
        fleet.put(SKU, f"{LONG}-{number:05d}", received=number)


async def until_nothing_is_open(fleet: Fleet, number: int) -> None:
    """No body in pieces holds a place or a connection any more."""
    peers = fleet[number].queries.peers._peers.values()
    for _ in range(3_000):
        if not any(peer.large or peer.open > len(peer.idle) for peer in peers):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("a connection or its place was not let go")


async def test_a_large_sku_comes_whole_through_every_worker_with_the_same_headers(
    fleet: Fleet,
) -> None:
    answers = [await fleet.get(number, PATH) for number in range(3)]

    owner = answers[fleet.owner_of(SKU)]
    assert len(owner.data) > exchange.MAX_ANSWER_BYTES
    assert owner.body["received"] == sum(range(1000))
    assert [row["received"] for row in owner.body["items"]] == list(range(1000))
    for answer in answers:
        assert answer.status == 200
        assert answer.body | {"freshness": 0} == owner.body | {"freshness": 0}
        assert answer.role == Role.ACTIVE
        for name in ("ETag", "Content-Length", "Content-Type", "Cache-Control", "Server"):
            assert answer.headers[name] == owner.headers[name]
        assert answer.headers["Onhand-Position"] == owner.headers["Onhand-Position"]
    for number in range(3):
        await until_nothing_is_open(fleet, number)


async def test_who_has_a_large_sku_gets_304_and_head_gets_no_body(fleet: Fleet) -> None:
    tag = (await fleet.get(0, PATH)).headers["ETag"]
    for number in range(3):
        same = await fleet.get(number, PATH, If_None_Match=tag)
        head = await fleet.request("HEAD", number, PATH)

        assert (same.status, same.data) == (304, b"")
        assert same.headers["ETag"] == head.headers["ETag"] == tag
        assert (head.status, head.data) == (200, b"")
        assert int(head.headers["Content-Length"]) > exchange.MAX_ANSWER_BYTES
        await until_nothing_is_open(fleet, number)


async def test_more_than_32_mib_come_through_another_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    async with a_fleet(2) as fleet:
        fill(fleet, 82_000)
        answer = await fleet.get(1 - fleet.owner_of(SKU), PATH)

    assert (answer.status, answer.role) == (200, Role.ACTIVE)
    assert len(answer.data) > 32 * 2**20
    assert answer.data.count(b'"location"') == 82_000
    assert answer.data.endswith(b"}}")


async def test_key_reads_have_their_turn_while_a_large_sku_is_made_and_sent(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    read = fleet[fleet.owner_of(SKU)].shelf.rows_of

    def counted(*args: object) -> object:
        nonlocal reads
        reads += 1
        return read(*args)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(fleet[fleet.owner_of(SKU)].shelf, "rows_of", counted)
    large = asyncio.create_task(fleet.get(fleet.owner_of(SKU), PATH))
    most, before = 0, 0
    while not large.done():
        await asyncio.sleep(0)
        most, before = max(most, reads - before), reads

    assert (await large).status == 200
    assert reads > 20
    assert most <= 2  # pieces read between two turns of anybody else


async def test_the_position_named_is_in_every_row_though_the_table_moves_on(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = fleet[fleet.owner_of(SKU)].shelf
    partition, read, calls = shelf.partition_of(SKU), shelf.rows_of, 0

    def moving(*args: object) -> object:
        nonlocal calls
        calls += 1
        rows = read(*args)  # type: ignore[arg-type]  # as they came
        fleet.put(SKU, f"{LONG}-00999", received=10_000 + calls)
        shelf.advance(partition, 10 + calls)
        return rows

    monkeypatch.setattr(shelf, "rows_of", moving)
    answer = await fleet.get(fleet.owner_of(SKU), PATH)

    assert answer.headers["Onhand-Position"] == f"sales-{partition}@9"
    assert answer.body["freshness"]["position"] == f"sales-{partition}@9"
    assert answer.body["items"][-1]["received"] > 10_000
    assert answer.body["received"] == sum(row["received"] for row in answer.body["items"])


async def test_rows_that_went_back_meanwhile_are_not_joined(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = fleet[fleet.owner_of(SKU)].shelf
    partition, read = shelf.partition_of(SKU), shelf.rows_of

    def back(*args: object) -> object:
        shelf.advance(partition, 5)
        return read(*args)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(shelf, "rows_of", back)
    answer = await fleet.get(fleet.owner_of(SKU), PATH)

    assert (answer.status, answer.problem) == (503, Problem.NOT_READY)


async def a_liar(fleet: Fleet, number: int, *said: bytes) -> asyncio.Server:
    """Stands in the place of that worker: says this to any request, then closes."""
    worker = fleet[number]
    port = int(worker.url.rpartition(":")[2])
    await worker.die()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for piece in said:
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", port)


HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nOnhand-Position: \r\nOnhand-Role: active\r\n\r\n"
)


async def test_an_owner_that_dies_in_the_middle_cuts_the_client_off(fleet: Fleet) -> None:
    owner = fleet.owner_of(SKU)
    liar = await a_liar(fleet, owner, HEAD, b"x" * 50_000)
    asked = (owner + 2) % 3

    with pytest.raises(aiohttp.ClientError):
        await fleet.get(asked, PATH)

    await until_nothing_is_open(fleet, asked)
    liar.close()


async def test_an_owner_that_dies_before_the_first_byte_is_replaced_by_the_standby(
    fleet: Fleet,
) -> None:
    owner = fleet.owner_of(SKU)
    liar = await a_liar(fleet, owner, b"HTTP/1.1 102 Processing\r\n\r\n")
    asked = (owner + 2) % 3

    answer = await fleet.get(asked, PATH)

    assert (answer.status, answer.role) == (200, Role.STANDBY)
    await until_nothing_is_open(fleet, asked)
    liar.close()


async def test_a_client_that_goes_away_lets_the_connection_to_the_owner_go(fleet: Fleet) -> None:
    asked = (fleet.owner_of(SKU) + 1) % 3
    fill(fleet, 20_000)  # more than sockets hold
    host, _, port = fleet[asked].url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    fleet[asked].shelf.drop(fleet[asked].shelf.partition_of(SKU))
    writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await reader.readexactly(100)
    writer.transport.abort()

    await until_nothing_is_open(fleet, asked)


async def test_of_a_large_answer_no_more_is_held_than_the_bound(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    feed = exchange.LargeAnswer.feed

    def watched(self: exchange.LargeAnswer, data: bytes) -> None:
        feed(self, data)
        held.append(len(self._held))

    monkeypatch.setattr(exchange.LargeAnswer, "feed", watched)
    fill(fleet, 5_000)
    answer = await fleet.get((fleet.owner_of(SKU) + 2) % 3, PATH)

    assert len(answer.data) > 1.5 * 2**20
    assert max(held) <= exchange.MAX_HELD_BYTES + 256 * 2**10  # and one read of the socket


# ---- what the owner holds of them


async def clients_that_do_not_read(fleet: Fleet, count: int) -> list[asyncio.StreamWriter]:
    """Each has the beginning of an answer by the owner, and takes no more of it."""
    host, _, port = fleet[fleet.owner_of(SKU)].url.removeprefix("http://").rpartition(":")
    writers = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection(host, int(port), limit=1_000)
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readexactly(12)
        writers.append(writer)
    return writers


async def test_what_an_owner_holds_for_clients_that_do_not_read_is_bounded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.undo()
    bound, most = 32 * 2**20, 0
    async with a_fleet(2) as fleet:
        fill(fleet, 20_000)  # 9 MB: far more than sockets hold
        box = fleet[fleet.owner_of(SKU)].outbox
        grow = outbox.Parcel.grow

        def watched(self: outbox.Parcel, size: int) -> bool:
            nonlocal most
            grown = grow(self, size)
            most = max(most, box.held)
            return grown

        monkeypatch.setattr(outbox.Parcel, "grow", watched)
        monkeypatch.setattr(outbox, "SLOW_S", 3600)
        idle = await clients_that_do_not_read(fleet, 8)
        one_more = await fleet.get(fleet.owner_of(SKU), PATH)
        through_another = await fleet.get(1 - fleet.owner_of(SKU), PATH)
        monkeypatch.setattr(outbox, "SLOW_S", 0)
        after_a_while = await fleet.get(1 - fleet.owner_of(SKU), PATH)
        for writer in idle:
            writer.transport.abort()
        for _ in range(3_000):
            if box.held == 0:
                break
            await asyncio.sleep(0.01)

    assert most <= bound
    for answer in (one_more, through_another):
        assert (answer.status, answer.problem) == (503, Problem.TOO_BUSY)
    assert after_a_while.status == 200
    assert box.held == 0
