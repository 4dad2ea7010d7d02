"""POSTs against a real Kafka: what is answered is what is in the log, Kafka there or not."""

import asyncio
import gc
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaException

from core.partitioning import partition_for
from dev.kafka import Kafka, free_port, start
from dev.oracle.stock import Record
from domain.rules.held import Ruling
from tests.support.topics.logs import Reader, a_name, make, make_all
from tests.unit.web.shop import serve
from web.config import Limits
from web.http.paths import add_routes
from web.writes import appending
from web.writes.appending import BATCH_BYTES, Appender
from web.writes.facts import FactLimits, Facts


# What was let go of while it was open is told where it happened, not in a later test.
@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    yield
    gc.collect()


Client = TestClient[web.Request, web.Application]
PARTITIONS = 6
TIMEOUT_S = Limits().append_timeout_s


def make_topics(
    kafka: Kafka, only: Sequence[str] = ("shipments", "sales", "adjustments"), **config: str
) -> dict[str, str]:
    """Topics of this test's own; full name by role."""
    topics = {role: f"{a_name()}.{role}" for role in ("shipments", "sales", "adjustments")}
    settings = {"message.timestamp.type": "LogAppendTime", **config}
    make_all(kafka.bootstrap, {topics[role]: settings for role in only}, PARTITIONS)
    return topics


@asynccontextmanager
async def a_service(
    bootstrap: str, topics: Mapping[str, str], timeout_s: float = 60.0
) -> AsyncIterator[Client]:
    appender = Appender({"bootstrap_servers": bootstrap}, timeout_s)
    app = web.Application()
    facts = Facts(appender.append, topics, PARTITIONS, FactLimits(), Ruling())
    serve(app, facts, appender.append_one)
    await appender.start()
    async with TestClient(TestServer(app)) as client:
        yield client
        await appender.stop()


def a_sale(number: int, sku: str | None = None) -> dict[str, Any]:
    return {
        "source": "till-1", "id": f"id-{number}", "sku": sku or f"SKU-{number % 50}",
        "location": "store-1", "quantity": 1 + number % 5,
    }  # fmt: skip


async def post(client: Client, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with client.post(path, json=body, headers=named) as response:
        return response.status, json.loads(await response.read())


def read_all(bootstrap: str, topic: str) -> list[Record]:
    """Every record of a topic up to its present end, by another client."""
    deadline = time.monotonic() + 30
    while True:
        reader = Reader(bootstrap)  # anew each time: one that was told of no leader asks seldom
        try:
            return [record for n in range(PARTITIONS) for record in reader.records(topic, n)]
        except KafkaException:
            # A new topic's leaders are known to all brokers only a moment after it was made.
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def identities(records: Sequence[Record]) -> list[tuple[str, str]]:
    values = [json.loads(record.value or b"") for record in records]
    return [(value["source"], value["id"]) for value in values]


async def until_taken(client: Client, path: str, body: Any) -> Any:
    """A client that does as the problem page says: the same again, until 202."""
    return (await taken(client, path, body))[0]


async def taken(client: Client, path: str, body: Any) -> tuple[Any, int]:
    """The same, and how often it was sent."""
    deadline, tries = time.monotonic() + 60, 0
    while time.monotonic() < deadline:
        status, answer = await post(client, path, body)
        tries += 1
        if status == 202:
            return answer, tries
        assert status == 503
        await asyncio.sleep(0.2)
    raise AssertionError("not taken within 60 s")


# ---- Kafka is there


async def test_every_accepted_line_is_in_the_log_once_where_the_answer_says(kafka: Kafka) -> None:
    topics = make_topics(kafka)
    lines = [a_sale(number) for number in range(1000)]

    async with a_service(kafka.bootstrap, topics) as client:
        status, answer = await post(client, "/v1/sales", lines)

    records = await asyncio.to_thread(read_all, kafka.bootstrap, topics["sales"])
    there = {f"{r.topic}-{r.partition}@{r.offset}": r for r in records}
    assert status == 202
    assert len(records) == answer["accepted"] == 1000
    for line, event in zip(lines, answer["events"], strict=True):
        record = there[event["position"]]
        value = json.loads(record.value or b"")
        assert record.key == line["sku"].encode()
        assert record.partition == partition_for(line["sku"].encode(), PARTITIONS)
        assert (value["id"], value["data"]["quantity"]) == (line["id"], line["quantity"])
    ends = {record.partition: record.offset for record in records}
    assert set(answer["position"].split(",")) == {
        f"{topics['sales']}-{partition}@{offset}" for partition, offset in ends.items()
    }


async def test_what_is_appended_says_how_it_is_to_be_read(kafka: Kafka) -> None:
    topics = make_topics(kafka)
    binary = {"ce-specversion": "1.0", "ce-id": "b", "ce-source": "till-1"}
    binary["ce-type"] = "inventory.sale.completed.v1"
    data = {"sku": "SKU-1", "location": "store-1", "quantity": 2}

    async with a_service(kafka.bootstrap, topics) as client:
        assert (await post(client, "/v1/sales", a_sale(1)))[0] == 202
        assert (await post(client, "/v1/events", data, **binary))[0] == 202

    records = read_all(kafka.bootstrap, topics["sales"])
    assert sorted(identities(records)) == [("till-1", "b"), ("till-1", "id-1")]
    assert {record.headers for record in records} == {
        (("content-type", b"application/cloudevents+json"),)
    }


async def test_lines_of_one_sku_keep_their_order(kafka: Kafka) -> None:
    topics = make_topics(kafka)
    async with a_service(kafka.bootstrap, topics) as client:
        await post(client, "/v1/sales", [a_sale(number, sku="one") for number in range(300)])

    records = await asyncio.to_thread(read_all, kafka.bootstrap, topics["sales"])
    assert [event_id for _, event_id in identities(records)] == [f"id-{n}" for n in range(300)]


async def test_lines_that_fill_more_than_a_batch_of_kafkas_keep_their_order(kafka: Kafka) -> None:
    topics = make_topics(kafka)
    data = {"sku": "one", "location": "store-1", "quantity": 1}
    event = {"specversion": "1.0", "type": "inventory.sale.completed.v1", "source": "till-1"}
    events = [event | {"id": f"id-{n}", "data": data, "note": "n" * 2500} for n in range(250)]
    assert len(json.dumps(events)) > 2 * BATCH_BYTES
    async with a_service(kafka.bootstrap, topics) as client:
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        async with client.post("/v1/events", data=json.dumps(events), headers=headers) as response:
            assert response.status == 202
            positions = [each["position"] for each in (await response.json())["events"]]

    records = await asyncio.to_thread(read_all, kafka.bootstrap, topics["sales"])
    assert [event_id for _, event_id in identities(records)] == [f"id-{n}" for n in range(250)]
    assert positions == [f"{r.topic}-{r.partition}@{r.offset}" for r in records]


async def test_many_clients_at_once_lose_and_double_nothing(kafka: Kafka) -> None:
    topics = make_topics(kafka)
    lines = [a_sale(number) for number in range(2_000)]
    large = [lines[at : at + 300] for at in range(0, 1_800, 300)]
    requests = large + [[line] for line in lines[1_800:]]
    async with a_service(kafka.bootstrap, topics) as client:
        answers = await asyncio.gather(
            *(post(client, "/v1/shipments", each) for each in sorted(requests, key=str))
        )

    records = await asyncio.to_thread(read_all, kafka.bootstrap, topics["shipments"])
    assert {status for status, _ in answers} == {202}
    said = {event["position"]: event["id"] for _, answer in answers for event in answer["events"]}
    there = {
        f"{r.topic}-{r.partition}@{r.offset}": json.loads(r.value or b"")["id"] for r in records
    }
    assert there == said
    assert sorted(identities(records)) == sorted(("till-1", line["id"]) for line in lines)


async def test_a_refused_request_leaves_no_trace(kafka: Kafka) -> None:
    topics = make_topics(kafka)
    async with a_service(kafka.bootstrap, topics) as client:
        status, _ = await post(client, "/v1/sales", [a_sale(1), a_sale(2) | {"quantity": -1}])

    assert status == 400
    assert await asyncio.to_thread(read_all, kafka.bootstrap, topics["sales"]) == []


async def send_and_leave(client: Client, body: bytes, length: int, stay_s: float) -> None:
    _, writer = await asyncio.open_connection(client.host, client.port)
    head = "POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
    await writer.drain()
    await asyncio.sleep(stay_s)
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_leaves_in_mid_body_has_said_nothing(kafka: Kafka) -> None:
    topics = make_topics(kafka)
    body = json.dumps([a_sale(number) for number in range(20)]).encode()
    async with a_service(kafka.bootstrap, topics) as client:
        await send_and_leave(client, body[:-20], len(body), stay_s=0.1)
        await until_taken(client, "/v1/sales", a_sale(99))

    records = await asyncio.to_thread(read_all, kafka.bootstrap, topics["sales"])
    assert identities(records) == [("till-1", "id-99")]


async def test_events_that_the_broker_refuses_for_good_do_not_poison_later_ones(
    kafka: Kafka,
) -> None:
    # aiokafka numbers the refused batch all the same: without a new producer the broker
    # refuses everything after it as out of order.
    topics = make_topics(kafka, **{"max.message.bytes": "2000"})
    async with a_service(kafka.bootstrap, topics) as client:
        large = a_sale(1, sku="one") | {"reference": "r" * 3000}
        await until_taken(client, "/v1/sales", a_sale(0, sku="one"))
        status, problem = await post(client, "/v1/sales", large)
        answer = await until_taken(client, "/v1/sales", a_sale(2, sku="one"))

    assert (status, problem["type"]) == (503, "/problems/append-failed")
    assert [event["id"] for event in answer["events"]] == ["id-2"]


async def test_a_refusal_holds_up_nobody_else_while_its_producer_closes(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = make_topics(kafka, **{"max.message.bytes": "2000"})
    closing, may_close = asyncio.Event(), asyncio.Event()
    close = appending._close

    async def slow_close(producer: Any) -> None:
        closing.set()
        await may_close.wait()
        await close(producer)

    monkeypatch.setattr(appending, "_close", slow_close)
    async with a_service(kafka.bootstrap, topics) as client:
        large = a_sale(1) | {"reference": "r" * 3000}
        assert (await post(client, "/v1/sales", large))[0] == 503
        await asyncio.wait_for(closing.wait(), 30)

        await until_taken(client, "/v1/returns", a_sale(2))
        may_close.set()


async def test_of_two_topics_one_gone_each_event_says_its_own(kafka: Kafka) -> None:
    topics = make_topics(kafka, only=["shipments"])
    kinds = ["inventory.shipment.received.v1", "inventory.sale.completed.v1"]
    data = {"sku": "one", "location": "store-1", "quantity": 1}
    events = [
        {"specversion": "1.0", "id": str(n), "source": "erp", "type": kind, "data": data}
        for n, kind in enumerate(kinds)
    ]
    async with a_service(kafka.bootstrap, topics, timeout_s=3) as client:
        await until_taken(client, "/v1/shipments", a_sale(99))  # it is connected
        headers = {"Content-Type": "application/cloudevents-batch+json"}
        async with client.post("/v1/events", data=json.dumps(events), headers=headers) as response:
            problem = await response.json(content_type=None)

    records = await asyncio.to_thread(read_all, kafka.bootstrap, topics["shipments"])
    assert response.status == 503
    assert problem["type"] == "/problems/append-incomplete"
    assert [event["status"] for event in problem["events"]] == ["appended", "unknown"]
    (record,) = (r for r in records if json.loads(r.value or b"")["id"] == "0")
    position = f"{topics['shipments']}-{record.partition}@{record.offset}"
    assert problem["events"][0]["position"] == position


# ---- Kafka is not there


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka gives nothing up by itself: what ends in time was ended by us."""

    def producer(**settings: Any) -> AIOKafkaProducer:
        return AIOKafkaProducer(**settings | {"request_timeout_ms": 3_600_000})

    monkeypatch.setattr(appending, "AIOKafkaProducer", producer)


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_without_kafka_the_answer_is_503_and_a_retry_ends_well(
    own_kafka: Kafka, how: str
) -> None:
    assert TIMEOUT_S < 5  # what a client is promised; how long it took is not asserted
    topics = make_topics(own_kafka)
    lines = [a_sale(number) for number in range(30)]
    async with a_service(own_kafka.bootstrap, topics, TIMEOUT_S) as client:
        await until_taken(client, "/v1/sales", a_sale(1000))
        own_kafka.pause() if how == "frozen" else own_kafka.kill()
        async with asyncio.timeout(60):
            answers = await asyncio.gather(
                post(client, "/v1/sales", lines),
                post(client, "/v1/adjustments", a_sale(2000) | {"reason": "count"}),
            )
        # From this thread: the kernel ends a broker together with the thread that started it.
        own_kafka.resume() if how == "frozen" else own_kafka.restart()
        answer, retries = await taken(client, "/v1/sales", lines)
        # What timed out is taken up again and lands, behind or before the retry.
        await until_taken(client, "/v1/adjustments", a_sale(2001) | {"reason": "count"})

    records = await asyncio.to_thread(read_all, own_kafka.bootstrap, topics["sales"])
    for status, problem in answers:
        assert (status, problem["type"]) == (503, "/problems/append-failed")
        assert {event["status"] for event in problem["events"]} == {"unknown"}
    there = [event_id for _, event_id in identities(records)]
    assert {event["id"] for event in answer["events"]} <= set(there)
    # Once by the first request, which timed out, and once by each retry: never oftener.
    assert max(there.count(line["id"]) for line in lines) <= 1 + retries


async def test_what_a_client_sent_whole_before_it_left_is_appended_whole(own_kafka: Kafka) -> None:
    topics = make_topics(own_kafka)
    body = json.dumps([a_sale(number) for number in range(20)]).encode()
    async with a_service(own_kafka.bootstrap, topics) as client:
        await until_taken(client, "/v1/sales", a_sale(99))
        own_kafka.pause()
        try:
            await send_and_leave(client, body, len(body), stay_s=0.3)
        finally:
            own_kafka.resume()
        await until_taken(client, "/v1/sales", a_sale(100))

    records = await asyncio.to_thread(read_all, own_kafka.bootstrap, topics["sales"])
    expected = [("till-1", f"id-{number}") for number in (*range(20), 99, 100)]
    assert sorted(identities(records)) == sorted(expected)


async def test_a_worker_that_starts_before_kafka_takes_facts_once_it_is_there() -> None:
    port = free_port()
    topics = {role: f"late.{role}" for role in ("shipments", "sales", "adjustments")}
    async with a_service(f"127.0.0.1:{port}", topics, timeout_s=0.5) as client:
        status, problem = await post(client, "/v1/sales", a_sale(1))
        assert (status, problem["type"]) == (503, "/problems/append-failed")
        with start(port=port) as kafka:
            make(kafka.bootstrap, topics["sales"], PARTITIONS)
            await until_taken(client, "/v1/sales", a_sale(1))


@pytest.mark.usefixtures("endless")
async def test_a_worker_can_be_stopped_while_kafka_is_frozen(
    own_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(appending, "CLOSE_TIMEOUT_S", 0.5)
    topics = make_topics(own_kafka)
    appender = Appender({"bootstrap_servers": own_kafka.bootstrap}, 0.5)
    app = web.Application()
    add_routes(app, Facts(appender.append, topics, PARTITIONS, FactLimits(), Ruling()).routes())
    await appender.start()
    async with TestClient(TestServer(app)) as client:
        await until_taken(client, "/v1/sales", a_sale(1))
        own_kafka.pause()
        try:
            assert (await post(client, "/v1/sales", a_sale(2)))[0] == 503
            async with asyncio.timeout(60):
                await appender.stop()
        finally:
            own_kafka.resume()
        status, problem = await post(client, "/v1/sales", a_sale(3))

    assert (status, problem["type"]) == (503, "/problems/append-failed")
