"""Another worker's row, handed on the short way: as the usual way does it, or left to that one."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from core.stages import Role
from tests.support.breaking.scripted import Serve, always, never
from tests.support.inside.desk import ME
from tests.unit.web.access_files import SECRET, Keys
from tests.unit.web.played import PATH, USUAL, a_pair, a_row, refused, row, unknown
from web.access import proofs
from web.access.callers import Scope
from web.cluster.heartbeats import WorkerState


@pytest.mark.parametrize("query", ["", "?max_lag_events=5"])
async def test_the_owner_is_asked_the_same_by_either_way(query: str) -> None:
    async with a_pair() as (owner, pair):
        owner.serve = always(a_row(f"sales-{pair.partition}@12,control@7").encode())
        await pair.warm()

        await pair.get(PATH + query)
        await pair.get(PATH + query, USUAL)

        assert pair.taken == 1
        _, short, usual = owner.heads
        assert short == usual
        assert b"\r\nOnhand-Hop: 1\r\nOnhand-Version: 1\r\nOnhand-Epoch: 7\r\n" in short


@pytest.mark.parametrize("rewritten", [False, True])
async def test_no_answer_is_asked_for_that_is_older_than_the_one_before(rewritten: bool) -> None:
    async with a_pair() as (owner, pair):
        await pair.warm()
        for at in (12, 13, 14):
            answer = a_row(f"sales-{pair.partition}@{at},control@7")
            owner.serve = always((in_other_words(answer) if rewritten else answer).encode())
            await pair.get()

        assert pair.taken == 3
        asked = [re.findall(rb"min_position=(\S*)&wait_ms=800 ", head) for head in owner.heads]
        floors = [[f"sales-{pair.partition}@{at}".encode()] for at in (12, 13)]
        assert asked[2:] == floors


def in_other_words(answer: str) -> str:
    """The same as something between two workers writes it."""
    head, _, body = answer.partition("\r\n\r\n")
    start, *lines = head.split("\r\n")
    lower = [
        f"{name.lower()}:{value}" for name, _, value in (line.partition(":") for line in lines)
    ]
    return "\r\n".join((start, "server: envoy", *reversed(lower), "x-served-by: 7", "", body))


@pytest.mark.parametrize("piece", [10_000, 300, 1])
@pytest.mark.parametrize(
    "answer", [a_row(), unknown(), in_other_words(a_row()), in_other_words(unknown())]
)
async def test_a_client_gets_the_same_by_either_way(answer: str, piece: int) -> None:
    async def in_pieces(head: bytes, writer: asyncio.StreamWriter) -> None:
        for at in range(0, len(answer), piece):
            writer.write(answer[at : at + piece].encode())
            await writer.drain()

    async with a_pair() as (owner, pair):
        owner.serve = in_pieces
        await pair.warm()

        assert await pair.get() == await pair.get(PATH, USUAL)

        assert (pair.taken, len(owner.heads)) == (1, 3)
        assert len(set(pair.counted)) == 1
        assert len(pair.counted) == 3
        assert pair.gate.inside == 0


async def hang_up(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def break_off(head: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(a_row().encode()[:-1])
    writer.close()


@pytest.mark.parametrize(
    "says",
    [
        hang_up,
        break_off,
        always((refused("not-caught-up")).encode()),
        always((refused("too-busy")).encode()),
        always((refused("internal-error", 500)).encode()),
        always((refused("unauthenticated", 401)).encode()),
        always(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
        always(("HTTP/1.1 102 Processing\r\n\r\n" + a_row()).encode()),
        always(b"I speak no HTTP\r\n\r\n"),
        always((a_row().replace("Onhand-Version: 1\r\n", "")).encode()),
    ],
)
async def test_what_the_short_way_cannot_hand_on_is_asked_for_anew_by_the_usual_one(
    says: Serve,
) -> None:
    async with a_pair() as (owner, pair):
        await pair.warm()
        owner.serve = says
        usual = await pair.get(PATH, USUAL)
        pair.counted.clear()
        owner.serve = row
        await pair.warm()
        asked = len(owner.heads)

        async def once(head: bytes, writer: asyncio.StreamWriter) -> None:
            owner.serve = row
            await says(head, writer)

        owner.serve = once
        assert await pair.get() == await pair.get(PATH, USUAL)
        assert len(owner.heads) == asked + 3

        owner.serve = says
        await pair.get()
        assert (await pair.get()).partition("\r\n")[0] == usual.partition("\r\n")[0]
        assert len(pair.counted) == 5
        assert pair.gate.inside == 0


async def test_an_owner_that_is_slow_is_passed_over_and_counted_once() -> None:
    async with a_pair() as (owner, pair):
        pair.shelf.hold(range(4), Role.STANDBY, sales=10)
        pair.shelf.put("SKU-1", "store-7", received=5, events=1)
        owner.serve = always(a_row("").encode())
        await pair.warm()
        pair.counted.clear()

        owner.serve = never
        first = await pair.get()
        second = await pair.get()

        assert "Onhand-Role: standby" in first
        assert "Onhand-Role: standby" in second
        assert len(owner.heads) == 2  # once by the warm-up, once by the first
        assert pair.counted == [("standby", "found")] * 2
        assert pair.gate.inside == 0


async def test_an_answer_that_is_met_after_a_sleep_is_asked_for_anew() -> None:
    async with a_pair() as (owner, pair):
        await pair.warm()

        async def sleep(head: bytes, writer: asyncio.StreamWriter) -> None:
            owner.serve = row
            await row(head, writer)
            time.sleep(0.6)  # noqa: ASYNC251 - of the whole process

        owner.serve = sleep
        assert (await pair.get()).startswith("HTTP/1.1 200 OK")
        assert (pair.taken, len(owner.heads)) == (1, 3)


async def test_who_is_suspected_or_no_owner_is_asked_the_usual_way() -> None:
    async with a_pair() as (owner, pair):
        await pair.warm(3)
        released = asyncio.Event()

        async def slow(head: bytes, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            await row(head, writer)

        owner.serve, asked = slow, len(owner.heads)
        first = asyncio.create_task(pair.get())
        await owner.asked(asked + 2)  # the short way gave it up
        second = asyncio.create_task(pair.get())
        await owner.asked(asked + 3)
        assert pair.taken == 1
        released.set()
        for each in (first, second):
            assert (await each).startswith("HTTP/1.1 200 OK")

        await pair.get()
        assert pair.taken == 2  # it has answered
        for role, state in (
            (Role.STANDBY, WorkerState.RUNNING),
            (Role.ACTIVE, WorkerState.LEAVING),
        ):
            pair.tell(role, state)
            assert (await pair.get()).startswith("HTTP/1.1 200 OK")
            assert pair.taken == 2


async def test_nobody_waits_for_a_read_that_is_slow_but_who_asked_for_it() -> None:
    async with a_pair() as (owner, pair):
        await pair.warm(2)
        released = asyncio.Event()
        fast, asked = a_row(n=2), len(owner.heads)

        async def slow(head: bytes, writer: asyncio.StreamWriter) -> None:
            if b"SKU-1/" in head:
                await released.wait()
            writer.write((a_row(n=1) if b"SKU-1/" in head else fast).encode())

        owner.serve = slow
        one, other = await pair.open(), await pair.open()
        one.ask()
        one.ask("/v1/inventory/SKU-2/store-7")
        await owner.asked(asked + 1)
        other.ask("/v1/inventory/SKU-2/store-7")

        assert (await other.answer()).endswith('"SKU-00002"}')
        released.set()
        # And on one connection all come in their order.
        assert (await one.answer()).endswith('"SKU-00001"}')
        assert (await one.answer()).endswith('"SKU-00002"}')
        one.close()
        other.close()


async def test_a_client_that_goes_away_costs_no_connection_and_no_place() -> None:
    async with a_pair() as (owner, pair):
        await pair.warm()
        released = asyncio.Event()

        async def slow(head: bytes, writer: asyncio.StreamWriter) -> None:
            await released.wait()
            await row(head, writer)

        owner.serve = slow
        client = await pair.open()
        client.ask()
        await owner.asked(2)
        assert pair.gate.inside == 1  # a worker that leaves waits for it
        client.writer.transport.abort()
        released.set()

        owner.serve = row
        assert (await pair.get()).startswith("HTTP/1.1 200 OK")
        assert pair.gate.inside == 0
        assert owner.connections == 1


async def test_where_no_place_is_left_the_usual_way_says_so() -> None:
    async with a_pair(places=0) as (_, pair):
        await pair.warm()
        assert (await pair.get()).startswith("HTTP/1.1 200 OK")
        assert (pair.taken, pair.gate.inside) == (0, 0)


@pytest.mark.parametrize(
    "line",
    [USUAL, "Onhand-Hop: 1", "Connection: close", 'If-None-Match: W/"x"', "Origin: http://page"],
)
async def test_what_is_special_is_not_handed_on_the_short_way(line: str) -> None:
    async with a_pair() as (_, pair):
        await pair.warm()
        await pair.get(PATH, line)
        await pair.get(f"{PATH}?min_position=sales-0@1&wait_ms=0")
        assert pair.taken == 0


async def test_a_request_that_came_by_a_hop_is_never_handed_on() -> None:
    async with a_pair() as (owner, pair):
        await pair.warm()
        assert (await pair.get(PATH, "Onhand-Hop: 1")).startswith("HTTP/1.1 503")
        assert len(owner.heads) == 1


async def test_the_owner_is_told_in_whose_name_it_is_asked(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    reader, writer = keys.token(Scope.READ), keys.token(Scope.WRITE)
    async with a_pair(access=keys.access(ME.url)) as (owner, pair):
        given = f"Authorization: Bearer {reader}"
        await pair.get(PATH, USUAL, given)
        for _ in range(2):  # it is known again by its headers
            assert (await pair.get(PATH, given)).startswith("HTTP/1.1 200 OK")
        assert pair.taken == 2
        secrets = proofs.PeerSecrets(proofs.PeerMode.REQUIRE, (SECRET.encode(),))
        url = next(iter(pair.roster.holders(0))).url
        for head in owner.heads:
            found = proofs.split(head)
            assert found is not None
            value, rest = found
            by = proofs.vouched(secrets, value, rest.removesuffix(b"\r\n\r\n"), url)
            assert by == reader[7:15]
            assert reader.encode() not in head

        for wrong in (writer, reader[:-1] + "?", ""):
            status = (await pair.get(PATH, f"Authorization: Bearer {wrong}"))[9:12]
            assert status == ("403" if wrong == writer else "401")
        assert (pair.taken, len(owner.heads)) == (2, 3)
