"""Any worker takes any request; owners die, freeze, lie; no answer is wrong or older."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import msgspec
import pytest
from multidict import CIMultiDict

from core.stages import Role
from dev.workers import until
from tests.support.inside.fleet import Fleet, a_claim, a_fleet
from tests.support.inside.patience import never_late
from tests.support.inside.shelf import Shelf
from web.cluster import admission
from web.cluster.exchange import PeerAnswer
from web.http.replies import SERVER
from web.reads.queries import passed_on


async def test_any_worker_gives_the_owners_answer_as_it_is() -> None:
    async with a_fleet(3, rows=30) as fleet:
        for sku in ("SKU-0000", "SKU-0005", "SKU-0009"):
            answers = [await fleet.row(number, sku) for number in range(3)]
            owner = answers[fleet.owner_of(sku)]

            assert owner.status == 200
            assert owner.role == "active"
            for answer in answers:
                assert answer.status == 200
                assert answer.body["freshness"]["worker"] == fleet[fleet.owner_of(sku)].url
                assert answer.body | {"freshness": 0} == owner.body | {"freshness": 0}
                for name in ("ETag", "Cache-Control", "Content-Type", "Server", "Onhand-Role"):
                    assert answer.headers[name] == owner.headers[name]


def test_of_another_workers_headers_only_the_answers_own_are_passed_on() -> None:
    given = CIMultiDict(
        [("ETag", "x"), ("Onhand-Role", "active"), ("Server", "proxy/1"), ("Connection", "close")]
    )
    given.extend([("Date", "then"), ("Content-Length", "2"), ("Set-Cookie", "a")])

    answer = passed_on(PeerAnswer(200, given, b"hi"))

    assert dict(answer.headers) | {"Content-Type": ""} == {
        "ETag": "x", "Onhand-Role": "active", "Content-Type": "", **SERVER,
    }  # fmt: skip


async def test_a_304_and_a_404_pass_through_another_worker() -> None:
    async with a_fleet(2, rows=30) as fleet:
        other = 1 - fleet.owner_of("SKU-0003")
        first = await fleet.row(other, "SKU-0003")
        path = "/v1/inventory/SKU-0003/store-0"

        again = await fleet.get(other, path, If_None_Match=first.headers["ETag"])
        unknown = await fleet.row(other, "SKU-0003", "nowhere")

        assert again.status == 304
        assert again.data == b""
        assert again.headers["Onhand-Role"] == "active"
        assert unknown.status == 404
        assert unknown.problem == "unknown-key"
        assert unknown.headers["Onhand-Worker"] == fleet[1 - other].url


async def test_head_answers_like_get_without_a_body_also_through_another_worker() -> None:
    async with a_fleet(2, rows=30) as fleet:
        for number in range(2):
            got = await fleet.row(number, "SKU-0003")
            head = await fleet.request("HEAD", number, "/v1/inventory/SKU-0003/store-0")

            assert head.status == 200
            assert head.data == b""
            assert head.headers["ETag"] == got.headers["ETag"]
            assert head.headers["Content-Length"] == str(len(got.data))


async def test_the_freshest_standby_is_asked() -> None:
    async with Fleet(3) as fleet:
        fleet[1].shelf.hold(range(4), Role.STANDBY, sales=10)
        fleet[2].shelf.hold(range(4), Role.STANDBY, sales=12)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()

        for number in range(3):
            answer = await fleet.row(number, "SKU-1")
            assert answer.body["freshness"]["worker"] == fleet[2].url


async def test_a_heartbeat_that_is_no_longer_true_costs_a_retry_not_the_answer() -> None:
    async with Fleet(3) as fleet:
        fleet[2].shelf.hold(range(4), Role.STANDBY, sales=10)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()
        fleet.lie(1, *(a_claim(p, Role.ACTIVE, 11) for p in range(4)))

        answer = await fleet.row(0, "SKU-1")

        assert (answer.status, answer.role) == (200, "standby")
        assert len(fleet[1].seen) == 1


async def test_two_workers_that_take_each_other_for_the_owner_do_not_send_it_round() -> None:
    async with Fleet(2) as fleet:
        for number in range(2):
            fleet.lie(number, *(a_claim(p, Role.ACTIVE, 11) for p in range(4)))

        answer = await fleet.row(0, "SKU-1")

        assert (answer.status, answer.problem) == (503, "not-ready")
        assert [len(worker.seen) for worker in fleet.workers] == [1, 1]


async def test_a_request_that_came_by_a_hop_is_answered_here_or_not_at_all() -> None:
    async with a_fleet(3, rows=30) as fleet:
        owner = fleet.owner_of("SKU-0003")
        path = "/v1/inventory/SKU-0003/store-0"

        roles = [(await fleet.get(n, path, Onhand_Hop="1")) for n in range(3)]

        assert [a.status for a in roles[owner:] + roles[:owner]] == [200, 200, 503]
        assert [a.role for a in roles[owner:] + roles[:owner]] == ["active", "standby", ""]
        assert all(len(worker.seen) == 1 for worker in fleet.workers)


async def test_a_hop_meant_for_another_version_is_refused() -> None:
    async with a_fleet(1, rows=3) as fleet:
        path = "/v1/inventory/SKU-0000/store-0"

        wrong = await fleet.get(0, path, Onhand_Hop="1", Onhand_Version="2")
        right = await fleet.get(0, path, Onhand_Hop="1", Onhand_Version="1")

        assert (wrong.status, wrong.problem) == (503, "not-ready")
        assert right.status == 200


async def test_no_request_is_forwarded_to_another_version() -> None:
    async with Fleet(2, versions=(1, 2)) as fleet:
        fleet[1].shelf.hold(range(4), sales=10)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()

        answer = await fleet.row(0, "SKU-1")

        assert (answer.status, answer.problem) == (503, "not-ready")
        assert fleet[1].seen == []


async def test_a_client_of_one_worker_never_sees_time_go_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_late(monkeypatch)
    async with Fleet(3, count=1) as fleet:
        fleet[1].shelf.hold([0], Role.ACTIVE, sales=20)
        fleet[2].shelf.hold([0], Role.STANDBY, sales=19)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()
        before = await fleet.row(0, "SKU-1")
        assert before.headers["Onhand-Position"] == "sales-0@19"
        await fleet[1].die()

        late = asyncio.create_task(fleet.row(0, "SKU-1"))
        await asyncio.sleep(0.2)
        assert not late.done()
        fleet[2].shelf.advance(0, 20)

        after = await late
        assert (after.status, after.role) == (200, "standby")
        assert after.headers["Onhand-Position"] == "sales-0@19"


@asynccontextmanager
async def whose_owner_died() -> AsyncIterator[Fleet]:
    """The first has told what the second, now dead, had; the third is one record behind that."""
    async with Fleet(3, count=1) as fleet:
        fleet[1].shelf.hold([0], Role.ACTIVE, sales=20)
        fleet[2].shelf.hold([0], Role.STANDBY, sales=19)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()
        await fleet.row(0, "SKU-1")
        await fleet[1].die()
        yield fleet


async def test_an_answer_that_would_be_older_is_refused_in_time() -> None:
    async with whose_owner_died() as fleet:
        answer = await fleet.row(0, "SKU-1")

        assert (answer.status, answer.problem) == (503, "not-caught-up")
        # A reader is promised an answer within 2 s: nobody is told to wait for longer than that.
        waits_ms = [int(path.rpartition("wait_ms=")[2]) for _, path, _ in fleet[2].seen]
        assert max(waits_ms) < 1000


@pytest.mark.parametrize("path", ["/v1/inventory/SKU-1/store-0", "/v1/inventory?limit=1"])
async def test_who_is_not_far_enough_yet_is_asked_again_while_there_is_time(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_late(monkeypatch)
    monkeypatch.setattr(admission, "OWN_WAIT_S", 0.05)
    async with whose_owner_died() as fleet:
        late = asyncio.create_task(fleet.get(0, path))

        async def is_asked_again() -> bool:
            return len(fleet[2].seen) > 1

        await until(is_asked_again, "asked again", 60)
        assert not late.done()
        fleet[2].shelf.advance(0, 20)

        assert (await late).status == 200


async def test_own_rows_are_not_told_if_they_are_older_than_what_was_passed_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never_late(monkeypatch)
    async with Fleet(2, count=1) as fleet:
        fleet[0].shelf.hold([0], Role.STANDBY, sales=15)
        fleet[1].shelf.hold([0], Role.ACTIVE, sales=20)
        fleet.put("SKU-1", "store-0", received=1)
        fleet.tell()
        await fleet.row(0, "SKU-1")
        await fleet[1].die()

        late = asyncio.create_task(fleet.row(0, "SKU-1"))
        await asyncio.sleep(0.1)
        fleet[0].shelf.advance(0, 21)

        answer = await late
        assert (answer.status, answer.headers["Onhand-Position"]) == (200, "sales-0@20")


async def test_a_write_is_read_through_any_worker_by_its_position() -> None:
    async with a_fleet(3, count=3, rows=30) as fleet:
        sku = "SKU-0003"
        owner = fleet.owner_of(sku)
        partition = fleet[0].shelf.partition_of(sku)
        query = f"?min_position=sales-{partition}@10&wait_ms=10000"

        asked = [asyncio.create_task(fleet.row(n, sku, query=query)) for n in range(3)]
        await asyncio.sleep(0.1)
        assert not any(task.done() for task in asked)
        fleet[owner].shelf.advance(partition, 11)

        for answer in await asyncio.gather(*asked):
            assert (answer.status, answer.role) == (200, "active")


async def test_a_position_that_is_not_reached_is_refused_after_the_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits_s: list[float] = []
    reached = Shelf.reached

    async def noted(shelf: Shelf, number: int, offsets: Mapping[str, int], wait_s: float) -> bool:
        waits_s.append(wait_s)
        return await reached(shelf, number, offsets, wait_s)

    monkeypatch.setattr(Shelf, "reached", noted)
    async with a_fleet(2, rows=30) as fleet:
        sku = "SKU-0003"
        partition = fleet[0].shelf.partition_of(sku)
        query = f"?min_position=sales-{partition}@99&wait_ms=300"
        for number in range(2):
            started = time.perf_counter()
            answer = await fleet.row(number, sku, query=query)

            assert (answer.status, answer.problem) == (503, "not-caught-up")
            assert time.perf_counter() - started > 0.25
    assert 0 < max(waits_s) <= 0.3


@pytest.mark.parametrize(
    "token", ["sales-{other}@99", "history-{own}@99", "whatever@7", "sales-{own}@9", ""]
)
async def test_positions_elsewhere_or_of_other_kinds_hold_nothing_up(token: str) -> None:
    async with a_fleet(2, rows=30) as fleet:
        own = fleet[0].shelf.partition_of("SKU-0003")
        query = "?min_position=" + token.format(own=own, other=(own + 1) % 4)
        for number in range(2):
            assert (await fleet.row(number, "SKU-0003", query=query)).status == 200


async def test_a_staler_answer_than_the_caller_takes_is_refused_anywhere() -> None:
    async with a_fleet(2, rows=30) as fleet:
        sku = "SKU-0003"
        for number in range(2):
            fleet[number].shelf.advance(fleet[0].shelf.partition_of(sku), 11, lag=7)
        for number in range(2):
            stale = await fleet.row(number, sku, query="?max_lag_events=6")
            enough = await fleet.row(number, sku, query="?max_lag_events=7")

            assert (stale.status, stale.problem) == (503, "too-stale")
            assert (enough.status, enough.headers["Onhand-Lag-Events"]) == (200, "7")


async def test_who_takes_an_answer_a_little_behind_is_not_sent_on_by_a_standby() -> None:
    async with a_fleet(2, rows=30) as fleet:
        sku = "SKU-0003"
        owner = fleet.owner_of(sku)
        standby = 1 - owner
        fleet[standby].shelf.advance(fleet[0].shelf.partition_of(sku), 10, lag=1)
        near = await fleet.row(standby, sku, query="?max_lag_events=1")
        exact = await fleet.row(standby, sku, query="?max_lag_events=0")

        assert (near.role, near.headers["Onhand-Worker"]) == ("standby", fleet[standby].url)
        assert (exact.role, exact.headers["Onhand-Worker"]) == ("active", fleet[owner].url)
        assert [is_hop for _, _, is_hop in fleet[owner].seen] == [True]


async def test_a_partition_that_loads_everywhere_is_not_a_404() -> None:
    async with Fleet(2, count=1) as fleet:
        fleet[0].shelf.load(0)
        fleet[1].shelf.load(0)
        fleet.tell()

        for number in range(2):
            answer = await fleet.row(number, "SKU-1")
            assert (answer.status, answer.problem) == (503, "not-ready")


@pytest.mark.parametrize("url", ["http://[::1", "http://a..b:80", "http://127.0.0.1:99999"])
async def test_an_impossible_address_of_another_worker_is_no_bug_of_this_one(url: str) -> None:
    async with Fleet(2) as fleet:
        fleet[1].me = msgspec.structs.replace(fleet[1].me, url=url)
        fleet[1].shelf.hold(range(4), sales=10)
        fleet.tell()

        for path in ("/v1/inventory/SKU-1/s-7", "/v1/inventory/SKU-1", "/v1/inventory"):
            answer = await fleet.get(0, path)

            assert (answer.status, "Retry-After" in answer.headers) == (503, True)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        b'HTTP/1.1 500 Oh\r\nContent-Length: 30\r\n\r\n{"type":"/problems/not-ready"} ',
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\nnginx",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 400 Bad\r\nContent-Length: 5000\r\n\r\n" + b"[" * 5000,
    ],
)
async def test_what_is_no_answer_of_onhand_never_reaches_a_client(said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(said)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, Fleet(2) as fleet:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        fleet[1].me = msgspec.structs.replace(fleet[1].me, url=url)
        fleet[1].shelf.hold(range(4), sales=10)
        fleet.tell()

        answer = await fleet.get(0, "/v1/inventory/SKU-1/s-7")

        assert (answer.status, answer.problem) == (503, "not-ready")
