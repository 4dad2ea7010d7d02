"""Streams of the feed: they go on where a reader was, whoever dies, and bear with no slow one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from msgspec.structs import replace

from app import __version__
from app.channels.document import topics_document
from app.config import Settings
from dev.oracle.stock import Record
from dev.workers import until
from tests.ledgers.feeding import (
    EVENTS,
    LIMITS,
    LINES,
    FedLedger,
    FedWorker,
    Json,
    facts,
    fed,
    lines_of,
)
from tests.ledgers.kept import Kept
from tests.ledgers.logs import a_log
from tests.support.judges.asyncapi_check import TopicContract
from web.feed.asked import Form

SEED, RECORDS = 9, 240
pytestmark = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
Both = tuple[FedLedger, FedWorker]


def log() -> list[Record]:
    return a_log(SEED, RECORDS)


def positions(records: list[Record]) -> list[str]:
    return sorted(f"{r.topic}-{r.partition}@{r.offset}" for r in records)


@pytest.fixture
async def both(kept: Kept) -> AsyncIterator[Both]:
    async with fed(kept) as pair:
        yield pair


async def followed(
    worker: FedWorker, after: str, count: int, into: list[Json] | None = None, **more: str
) -> list[Json]:
    """So many facts from a position on, as lines, and what was told between them."""
    timeout = aiohttp.ClientTimeout(total=120)
    query = {"after": after, **more}
    async with aiohttp.request(
        "GET", worker.url, params=query, headers=LINES, timeout=timeout
    ) as answer:
        assert answer.status == 200, await answer.text()
        return await lines_of(answer, lambda told: len(facts(told)) >= count, into)


async def test_a_stream_tells_what_there_is_and_then_each_fact_that_comes(
    kept: Kept, both: Both
) -> None:
    _, worker = both
    records = log()
    kept.feed(records[:100])

    following = asyncio.create_task(followed(worker, "", RECORDS))
    await until(_has_told(worker, 100), "told: what there was", 60)
    for record in records[100:]:
        kept.feed([record])
    told = await following

    assert sorted(fact["position"] for fact in facts(told)) == positions(records)


def _has_told(worker: FedWorker, count: int) -> Any:
    async def has() -> bool:
        return worker.counted()["onhand_feed_deliveries_total.application/x-ndjson"] >= count

    return has


async def test_server_sent_events_are_the_same_lines_and_come_back_by_their_id(
    kept: Kept, both: Both
) -> None:
    _, worker = both
    records = log()
    kept.feed(records)
    lines = [
        line for line in await followed(worker, "", RECORDS, of="facts") if line["event"] == "fact"
    ]

    headers = EVENTS | {"Last-Event-ID": lines[99]["id"]}
    got = b""
    async with aiohttp.request(
        "GET", worker.url, params={"after": "begin"}, headers=headers
    ) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        assert answer.headers["X-Accel-Buffering"] == "no"
        while got.count(b"\nevent: fact\n") < RECORDS - 100 or not got.endswith(b"\n\n"):
            got += await answer.content.readany()

    events = [dict(field.split(": ", 1) for field in event.split("\n"))
              for event in got.decode().split("\n\n") if "event: fact" in event]  # fmt: skip
    assert got.startswith(b"retry: 1000\n\n")
    contract = TopicContract(topics_document(Settings(), __version__))
    assert contract.told(got, Form.EVENTS) == ["factEvent"] * len(events)
    told = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    assert contract.told(told, Form.LINES) == ["factLine"] * RECORDS
    assert [(e["id"], json.loads(e["data"])) for e in events] == [
        (line["id"], line["data"]) for line in lines[100:]
    ]


async def test_a_reader_that_comes_back_with_its_last_id_has_each_fact_once(
    kept: Kept, both: Both
) -> None:
    _, worker = both
    records = log()
    had: list[str] = []
    after, sent = "", 0
    while len(had) < RECORDS:
        kept.feed(records[sent : sent + 60])
        sent = min(RECORDS, sent + 60)
        # It is cut off in the middle of what there is, and has kept less than was written to it.
        told = await followed(worker, after, min(37, sent - len(had)))
        had += [fact["position"] for fact in facts(told)]
        after = told[-1]["id"]

    assert sorted(had) == positions(records)


async def test_a_ledger_that_dies_is_waited_for_aloud_and_nothing_is_missed(
    kept: Kept, both: Both
) -> None:
    ledger, worker = both
    records = log()
    kept.feed(records[:80])
    told: list[Json] = []
    following = asyncio.create_task(followed(worker, "", RECORDS, told))
    await until(_has_told(worker, 80), "told: what there was", 60)

    await ledger.dies()
    kept.feed(records[80:])

    async def says_so() -> bool:
        return any(line["event"] == "waiting" for line in told)

    await until(says_so, "told: to wait", 60)
    await until(_is_told_to_wait(worker), "told by a status: to wait", 60)
    await ledger.starts()
    await following

    assert sorted(fact["position"] for fact in facts(told)) == positions(records)
    waits = [line for line in told if line["event"] == "waiting"]
    assert [line["data"]["type"] for line in waits] == ["/problems/history-not-running"]


def _is_told_to_wait(worker: FedWorker) -> Any:
    """A second reader is told before its stream begins, by its status."""

    async def is_told() -> bool:
        async with aiohttp.request("GET", worker.url, headers=LINES) as answer:
            return answer.status == 503

    return is_told


async def test_readers_who_want_the_same_cost_one_question(kept: Kept) -> None:
    async with fed(kept, replace(LIMITS, readers=40, beat_s=9.0)) as (ledger, worker):
        records = log()
        kept.feed(records[:10])
        readers = [asyncio.create_task(followed(worker, "end", 30)) for _ in range(40)]

        async def all_read() -> bool:
            return worker.counted()["onhand_feed_readers.application/x-ndjson"] == 40

        await until(all_read, "reading: all", 60)
        before = ledger.asked
        kept.feed(records[10:40])
        told = await asyncio.gather(*readers)

        wanted = positions(records[10:40])
        assert all(sorted(f["position"] for f in facts(each)) == wanted for each in told)
        assert ledger.asked - before <= 4


async def test_a_reader_that_takes_nothing_is_cut_off_and_others_are_not(
    kept: Kept, both: Both
) -> None:
    _, worker = both
    records = a_log(SEED, 2_000)
    kept.feed(records)
    reader, writer = await _a_slow_one(worker)

    told = await followed(worker, "", len(records))

    assert len(facts(told)) == len(records)

    async def is_cut_off() -> bool:
        return worker.counted()["onhand_feed_ended_total.slow"] == 1

    await until(is_cut_off, "cut off: the slow reader", 60)
    # What it did take ends with a place to go on from.
    raw = b""
    with suppress(ConnectionError):
        while part := await reader.read(2**16):
            raw += part
    writer.close()
    lines = [json.loads(line) for line in raw.split(b"\n") if line.startswith(b'{"id"')
             and line.endswith(b"}}")]  # fmt: skip
    rest = await followed(worker, lines[-1]["id"], len(records) - len(facts(lines)))
    had = [fact["position"] for fact in facts(lines) + facts(rest)]
    assert sorted(had) == positions(records)


async def _a_slow_one(worker: FedWorker) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    port = worker.server.port
    assert port is not None
    await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=small, limit=1)
    writer.write(b"GET /v1/changes HTTP/1.1\r\nHost: a\r\nAccept: application/x-ndjson\r\n\r\n")
    await writer.drain()
    return reader, writer


async def test_no_more_readers_than_there_are_places_and_a_quiet_one_hears_something(
    kept: Kept, both: Both
) -> None:
    _, worker = both
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        streams = [await http.get(worker.url, headers=EVENTS) for _ in range(4)]
        assert [stream.status for stream in streams] == [200] * 4
        async with http.get(worker.url, headers=EVENTS) as fifth:
            assert (fifth.status, (await fifth.json())["type"]) == (503, "/problems/too-busy")
        got = b""
        while not got.endswith(b":\n\n:\n\n"):
            got += await streams[0].content.readany()
        for stream in streams:
            stream.close()

        async def has_place() -> bool:
            async with http.get(worker.url, headers=EVENTS) as stream:
                return stream.status == 200

        await until(has_place, "free: a place", 60)


async def test_a_reader_that_leaves_frees_its_place_while_there_is_nothing_to_tell_it(
    kept: Kept,
) -> None:
    async with fed(kept, replace(LIMITS, readers=1)) as (_, worker):
        worker.is_waited_for_ever = True
        for _ in range(3):

            async def has_place() -> bool:
                async with aiohttp.request("GET", worker.url, headers=EVENTS) as stream:
                    return stream.status == 200

            await until(has_place, "free: the only place", 60)

        assert worker.counted()["onhand_feed_ended_total.left"] >= 2


@pytest.mark.parametrize("why", ["stopping", "refused"])
async def test_a_stream_ends_when_its_worker_stops_or_its_token_is_taken_away(
    kept: Kept, both: Both, why: str
) -> None:
    _, worker = both
    kept.feed(log()[:10])
    async with aiohttp.request("GET", worker.url, headers=EVENTS) as answer:
        if why == "stopping":
            worker.feed.end()
        else:
            worker.admitted = False
        async with asyncio.timeout(30):
            told = await answer.content.read()

    assert told.count(b"event: fact") == 10
    assert worker.counted()[f"onhand_feed_ended_total.{why}"] == 1


async def test_what_is_wrong_is_said_before_a_stream_begins(kept: Kept, both: Both) -> None:
    ledger, worker = both
    for query, status in (
        ({"of": "rose"}, 400), ({"after": "gifts-0@1"}, 400), ({"limit": "5"}, 400),
        ({"type": "gift"}, 400), ({"after": "sales-0@99999"}, 503),
    ):  # fmt: skip
        async with aiohttp.request("GET", worker.url, params=query, headers=LINES) as answer:
            assert answer.status == status, await answer.text()
            assert answer.content_type == "application/problem+json"
    async with aiohttp.request("HEAD", worker.url, headers=EVENTS) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
    bad = EVENTS | {"Last-Event-ID": "nonsense"}
    async with aiohttp.request("GET", worker.url, headers=bad) as answer:
        assert (await answer.json())["errors"][0]["parameter"] == "Last-Event-ID"
    await ledger.dies()
    async with aiohttp.request("GET", worker.url, headers=EVENTS) as answer:
        assert answer.status == 503
        assert "onhand ledger worker" in (await answer.json())["detail"]
