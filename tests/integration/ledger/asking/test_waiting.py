"""Who names a position waits until the ledger is that far, and so reads what was just written."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from core.positions import format_position
from dev.oracle.stock import Record, partition_of
from dev.workers import until
from ledger.lines import TOPICS
from tests.ledgers.kept import Kept
from tests.ledgers.logs import PARTITIONS, a_log, judged
from web.history.answers import Answers

SEED, RECORDS = 12, 200
TIMEOUT_S = 30


@pytest.fixture
def answers(kept: Kept) -> Iterator[Answers]:
    answers = Answers(kept.history, TOPICS, "http://127.0.0.1:6166")
    yield answers
    answers.close()


@pytest.fixture
async def client(answers: Answers) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application()
    app.add_routes(list(answers.routes()))
    async with TestClient(TestServer(app)) as client:
        yield client


@pytest.fixture
def late() -> tuple[list[Record], list[Record]]:
    """A log, and its last record apart, which is about a row and counts."""
    records = a_log(SEED, RECORDS)
    oracle = judged(records)
    while records[-1].place in oracle.refused or records[-1].place in oracle.repeated:
        records.pop()
    return records[:-1], records[-1:]


def named(record: Record) -> tuple[str, str, str]:
    """Its SKU and location, and the token that stands for it."""
    data = json.loads(record.value or b"")["data"]
    token = format_position({(record.topic, record.partition): record.offset})
    return data["sku"], data["location"], token


async def get(client: TestClient[Any, Any], path: str, **query: str) -> tuple[int, Any]:
    async with asyncio.timeout(TIMEOUT_S), client.get(path, params=query) as answer:
        return answer.status, await answer.json(content_type=None)


async def one_waits(answers: Answers) -> None:
    async def waits() -> bool:
        return answers._waiting > 0

    await until(waits, "one waits", TIMEOUT_S)


@pytest.mark.parametrize("what", ["row", "timeline", "sku", "list", "report"])
async def test_an_answer_waits_for_the_position_that_it_must_hold(
    kept: Kept,
    answers: Answers,
    client: TestClient[Any, Any],
    late: tuple[list[Record], list[Record]],
    what: str,
) -> None:
    before, last = late
    kept.feed(before)
    sku, location, token = named(last[0])
    path = {
        "row": f"/v1/inventory/{sku}/{location}",
        "timeline": f"/v1/inventory/{sku}/{location}/timeline",
        "sku": f"/v1/inventory/{sku}",
        "list": "/v1/inventory",
        "report": "/v1/reports/location-totals",
    }[what]
    status, body = await get(client, path, min_position=token, wait_ms="0")
    assert (status, body["type"]) == (503, "/problems/not-caught-up")

    waiting = asyncio.create_task(get(client, path, min_position=token, wait_ms="10000"))
    await one_waits(answers)
    kept.feed(last)
    status, body = await waiting

    assert status == 200, body
    assert f"{last[0].topic}-{last[0].partition}@{last[0].offset}" in body["history"]["position"]


async def test_a_moment_that_is_not_whole_yet_is_waited_for_as_well(
    kept: Kept,
    answers: Answers,
    client: TestClient[Any, Any],
    late: tuple[list[Record], list[Record]],
) -> None:
    before, last = late
    kept.feed(before)
    sku, location, token = named(last[0])
    path = f"/v1/inventory/{sku}/{location}"

    waiting = asyncio.create_task(get(client, path, at_position=token, wait_ms="10000"))
    await one_waits(answers)
    kept.feed(last)

    assert (await waiting)[0] == 200


async def test_parts_for_other_partitions_and_topics_are_not_waited_for(
    kept: Kept, client: TestClient[Any, Any], late: tuple[list[Record], list[Record]]
) -> None:
    before, last = late
    kept.feed(before + last)
    sku, location, token = named(last[0])
    other = (partition_of(sku, PARTITIONS) + 1) % PARTITIONS
    wanted = f"{token},{TOPICS[0]}-{other}@999999,somebody-0@7,control@1"

    status, body = await get(client, f"/v1/inventory/{sku}/{location}", min_position=wanted)

    assert status == 200, body
