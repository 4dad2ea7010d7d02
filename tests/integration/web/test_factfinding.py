"""What became of a fact, where the log is as it seldom is: hashes that clash, too much to read."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from core.positions import Place
from core.records import Address
from core.window import Seen
from dev.kafka import Kafka
from domain.columns import columns, identity_hash_of
from domain.rules.held import CURRENT, Ruling
from tests.support.topics.letters import a_deployment, a_letter, refuse
from tests.support.topics.logs import Put, a_name, make, plain_writer
from web.cluster.sightings import Told, WindowQuestion
from web.http.bodies import BodyLimits
from web.http.paths import add_routes
from web.records import factfinding
from web.records.factfinding import FactFinding
from web.records.logs import Logs

Client = TestClient[web.Request, web.Application]


def a_sale(event_id: str, quantity: int = 2) -> bytes:
    event = {
        "specversion": "1.0", "id": event_id, "source": "till-1",
        "type": "inventory.sale.completed.v1",
        "data": {"sku": "TEA-1", "location": "store-1", "quantity": quantity},
    }  # fmt: skip
    return json.dumps(event).encode()


def entry(topic: str, offset: int, value: bytes, *, claims: str) -> tuple[int, int, int]:
    """What a window holds of this record, if the fact `claims` had the same hash."""
    read = columns(Address(topic, "sales", 0, 1), [(offset, 0, b"TEA-1", value, ())], CURRENT)
    return identity_hash_of("till-1", claims), int(read.events[0]["content"]), offset


@asynccontextmanager
async def a_finder(
    bootstrap: str, sales: str, letters: str, seen: Mapping[Place, Seen]
) -> AsyncIterator[Client]:
    async def ask(questions: Sequence[WindowQuestion], wait_s: float) -> Told:
        places = {(question.topic, question.partition) for question in questions}
        return Told(seen, {p: "Nobody owns it." for topic, p in places - seen.keys()})

    logs = Logs({"bootstrap_servers": bootstrap})
    finder = FactFinding(
        ask, logs, {sales: "sales"}, 1, letters, BodyLimits(), lambda *observed: None, Ruling()
    )
    app = web.Application()
    add_routes(app, finder.routes())
    async with TestClient(TestServer(app)) as client:
        yield client


async def ask_for(client: Client, event_id: str, **query: str) -> tuple[int, Any]:
    query = {"source": "till-1", "id": event_id, **query}
    async with client.get("/v1/facts", params=query) as response:
        return response.status, await response.json()


async def test_a_record_is_never_taken_for_a_fact_whose_hash_it_shares(kafka: Kafka) -> None:
    sales, letters = make(kafka.bootstrap), make(kafka.bootstrap)
    values = [a_sale("other"), a_sale("mine"), a_sale("mine")]
    plain_writer(kafka.bootstrap).write(sales, [Put(b"TEA-1", value) for value in values])
    entries = [entry(sales, n, values[n], claims="mine") for n in (0, 1)]
    seen = {(sales, 0): Seen(next_offset=3, since=0, size=1, entries=entries)}

    async with a_finder(kafka.bootstrap, sales, letters, seen) as client:
        status, answer = await ask_for(client, "mine")

    assert status == 200
    (item,) = answer["items"]
    assert [(t["position"], t["outcome"]) for t in item["times"]] == [
        (f"{sales}-0@1", "applied"),
        (f"{sales}-0@2", "repeated"),
    ]


async def test_where_there_is_too_much_to_read_the_answer_says_so(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales, letters = make(kafka.bootstrap), make(kafka.bootstrap)
    count = 2000
    values = [a_sale("mine"), *(a_sale(f"id-{n}") for n in range(count - 2)), a_sale("mine")]
    plain_writer(kafka.bootstrap).write(sales, [Put(b"TEA-1", value) for value in values])
    entries = [entry(sales, 0, values[0], claims="mine")]
    seen = {(sales, 0): Seen(count, 0, 10_000, entries)}

    found = {}
    for most in (500, 50_000):
        monkeypatch.setattr(factfinding, "MAX_FORWARD", most)
        async with a_finder(kafka.bootstrap, sales, letters, seen) as client:
            _, answer = await ask_for(client, "mine")
        times = [time["outcome"] for time in answer["items"][0]["times"]]
        found[most] = times, answer["looked"]["repeats_complete"]

    assert found == {500: (["applied"], False), 50_000: (["applied", "repeated"], True)}


async def test_dead_letters_that_were_not_all_read_have_a_time_back_to_which_they_were(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = await a_deployment(kafka)
    sales = settings.source_topics["sales"]
    refuse(settings, [a_letter(settings, 0, value=a_sale("mine"), partition=0)])
    for start in range(1, 301, 100):
        others = [a_letter(settings, n, partition=0) for n in range(start, start + 100)]
        refuse(settings, others)
    seen = {(sales, 0): Seen(400, 0, 10_000, [])}

    found = {}
    for most in (100, 20_000):
        monkeypatch.setattr(factfinding, "MAX_LETTERS", most)
        async with a_finder(kafka.bootstrap, sales, settings.dlq_topic, seen) as client:
            _, answer = await ask_for(client, "mine")
        found[most] = len(answer["items"][0]["times"]), answer["looked"]["refused_since"]

    assert found[20_000] == (1, None)
    assert found[100][0] == 0
    assert found[100][1] is not None


async def test_a_partition_without_owner_is_named_and_not_passed_over(kafka: Kafka) -> None:
    sales, letters = make(kafka.bootstrap), make(kafka.bootstrap)

    async with a_finder(kafka.bootstrap, sales, letters, {}) as client:
        refused, problem = await ask_for(client, "mine")
        status, partly = await ask_for(client, "mine", partial="true")

    assert (refused, problem["type"]) == (503, "/problems/partitions-unavailable")
    assert problem["missing_partitions"] == partly["missing_partitions"] == [0]
    assert status == 200


async def test_without_kafka_the_answer_is_a_503_that_says_so() -> None:
    seen = {("sales", 0): Seen(0, 0, 10, [])}
    async with a_finder("127.0.0.1:1", "sales", a_name(), seen) as client:
        status, problem = await ask_for(client, "mine")

    assert (status, problem["type"]) == (503, "/problems/log-unavailable")
