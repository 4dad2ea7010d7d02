"""Heartbeats through a real Kafka: who is here, who left, who froze; and Kafka away."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from core.stages import Role
from dev import workers
from dev.kafka import Kafka
from tests.support.inside.shelf import Shelf
from web.cluster import members, roster
from web.cluster.heartbeats import Heartbeat, WorkerState, bytes_of
from web.cluster.members import Members
from wire.transactions import Brokers

SOON_S = 60.0


class Worker:
    """A shelf and the membership that tells of it."""

    def __init__(self, bootstrap: str, topic: str, number: int, version: int = 1) -> None:
        self.url = f"http://10.0.0.{number}:6066"
        self.shelf = Shelf(2, self.url)
        self.members = Members(
            {"bootstrap_servers": bootstrap},
            topic,
            self.shelf,
            version=version,
            rules=1,
            build="test",
            url=self.url,
        )

    def sees(self, *others: Worker) -> bool:
        """Whether exactly these would be asked for partition 0, in this order."""
        return [h.url for h in self.members.roster.holders(0)] == [o.url for o in others]


async def until(condition: Callable[[], bool]) -> None:
    async def holds() -> bool:
        return condition()

    await workers.until(holds, "so", SOON_S, 0.01)


async def a_topic(bootstrap: str) -> str:
    name = f"members-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    settings = {"message.timestamp.type": "LogAppendTime"}
    await admin.create_topics([NewTopic(name, 1, 1, topic_configs=settings)])
    await admin.close()
    return name


@asynccontextmanager
async def running(*workers: Worker) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for worker in workers:
            await worker.members.start()
            stack.push_async_callback(worker.members.stop)
        yield


@pytest.fixture
async def topic(kafka: Kafka) -> str:
    return await a_topic(kafka.bootstrap)


@pytest.fixture
def silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """No silence, however long, takes a worker out or hides it from a new one."""
    monkeypatch.setattr(roster, "SILENCE_S", 3600.0)
    monkeypatch.setattr(members, "LOOK_BACK_S", 600.0)


@pytest.mark.usefixtures("silence")
async def test_workers_find_each_other_and_hear_of_changes_at_once(
    kafka: Kafka, topic: str
) -> None:
    a, b = (Worker(kafka.bootstrap, topic, n) for n in (1, 2))
    for worker in (a, b):
        worker.members._interval_s = 3600.0
    a.shelf.hold([0], Role.ACTIVE, sales=10)
    b.shelf.hold([0], Role.STANDBY, sales=9)
    async with running(a, b):
        await until(lambda: a.sees(b) and b.sees(a))

        a.shelf.drop(0)  # tells at once, not at the next turn, in an hour
        await until(lambda: b.sees())

        assert [view.beat.url for view in b.members.workers()] == [a.url, b.url]
        assert [view.this for view in b.members.workers()] == [False, True]


@pytest.mark.usefixtures("silence")
async def test_a_goodbye_takes_a_worker_out_at_once(kafka: Kafka, topic: str) -> None:
    a, b = (Worker(kafka.bootstrap, topic, n) for n in (1, 2))
    b.shelf.hold([0], Role.ACTIVE, sales=10)
    async with running(a, b):
        await until(lambda: a.sees(b))
        await b.members.leave()
        await until(lambda: [h.leaving for h in a.members.roster.holders(0)] == [True])

        await b.members.stop()

        await until(lambda: a.sees())
        states = {view.beat.url: view.beat.state for view in a.members.roster.workers()}
        assert states[b.url] is WorkerState.GONE


async def test_a_worker_that_falls_silent_is_out_without_a_goodbye(
    kafka: Kafka, topic: str
) -> None:
    a, b = (Worker(kafka.bootstrap, topic, n) for n in (1, 2))
    b.shelf.hold([0], Role.ACTIVE, sales=10)
    async with running(a, b):
        await until(lambda: a.sees(b))

        await b.members._tasks.cancel()  # as frozen: no goodbye

        await until(lambda: a.sees())
        assert b.url in [view.beat.url for view in a.members.workers()]


@pytest.mark.usefixtures("silence")
async def test_a_new_worker_knows_the_others_before_their_next_heartbeat(
    kafka: Kafka, topic: str
) -> None:
    a, late = (Worker(kafka.bootstrap, topic, n) for n in (1, 2))
    a.shelf.hold([0], Role.ACTIVE, sales=10)
    a.members._interval_s = 3600.0
    async with running(a):
        await until(lambda: any(view.this for view in a.members.roster.workers()))
        async with running(late):
            await until(lambda: late.sees(a))


async def test_another_version_is_seen_but_not_asked(kafka: Kafka, topic: str) -> None:
    a, b = (Worker(kafka.bootstrap, topic, n, version=n) for n in (1, 2))
    b.shelf.hold([0], Role.ACTIVE, sales=10)
    async with running(a, b):
        await until(lambda: len(a.members.workers()) == 2)

        assert a.sees()
        assert [view.routed for view in a.members.workers()] == [True, False]


async def test_rubbish_on_the_topic_changes_nothing(kafka: Kafka, topic: str) -> None:
    a, b = (Worker(kafka.bootstrap, topic, n) for n in (1, 2))
    b.shelf.hold([0], Role.ACTIVE, sales=10)
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    async with running(a):
        await until(lambda: any(view.this for view in a.members.roster.workers()))
        for value in RUBBISH:
            await producer.send_and_wait(topic, value, key=b"k")
        await send_batch_with_a_header_that_is_no_text(kafka.bootstrap, topic)
        # Its header's name is of no interest: the heartbeat in it is one.
        await until(lambda: A_BEAT.url in [view.beat.url for view in a.members.roster.workers()])
        assert a.members.unreadable() == len(RUBBISH)
        async with running(b):
            await until(lambda: a.sees(b))
    await producer.stop()


A_BEAT = Heartbeat(1, 1, "test", "http://10.0.0.9:6066", "other", 1)
RUBBISH = [
    None,
    b"rubbish",
    b"{}",
    b'{"version":1,"rules":1,"build":"\xff","url":"http://a:1","instance":"i","sequence":1}',
    b'{"version":1,"new":' + b"[" * 100_000,
    *(
        bytes_of(msgspec.structs.replace(A_BEAT, url=url))
        for url in ("", "10.0.0.9:6066", "http://a:0", "http://a:99999", "http://[::1", "ftp://a:1",
                    "http://a:1/path", "http://a b:1", "http://u@a:1", "http://a\r\nX: y:1")
    ),
]  # fmt: skip


async def send_batch_with_a_header_that_is_no_text(bootstrap: str, topic: str) -> None:
    """As librdkafka, Go and C send it; aiokafka's own producer would not."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 10_000)
    builder.append(0, 0, key=b"k", value=bytes_of(A_BEAT), headers=[("HHHH", b"")])
    raw = bytearray(builder.build().replace(b"HHHH", b"\xff\xfe\xff\xfe"))
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    brokers = Brokers({"bootstrap_servers": bootstrap}, [topic])
    await brokers.start()
    node = await brokers.leader(TopicPartition(topic, 0))
    request = ProduceRequest(None, -1, 10_000, [(topic, [(0, bytes(raw))])])
    [(_, [(_, code, *_)])] = (await brokers.client.send(node, request)).topics
    await brokers.stop()
    assert code == 0


@pytest.mark.usefixtures("silence")
@pytest.mark.parametrize("ahead_s", [3600, -3600])
async def test_a_new_worker_with_a_wrong_clock_knows_the_others_all_the_same(
    kafka: Kafka, topic: str, ahead_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, late = (Worker(kafka.bootstrap, topic, n) for n in (1, 2))
    a.shelf.hold([0], Role.ACTIVE, sales=10)
    a.members._interval_s = 3600.0
    async with running(a):
        await until(lambda: any(view.this for view in a.members.roster.workers()))
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + ahead_s)
        async with running(late):
            await until(lambda: late.sees(a))


async def test_a_frozen_kafka_ages_nobody_out_and_all_come_back_by_themselves(
    own_kafka: Kafka, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough for one whose last heartbeat before came late.
    monkeypatch.setattr(roster, "SILENCE_S", 5.0)
    topic = await a_topic(own_kafka.bootstrap)
    a, b = (Worker(own_kafka.bootstrap, topic, n) for n in (1, 2))
    a.shelf.hold([0], Role.STANDBY, sales=9)
    b.shelf.hold([0], Role.ACTIVE, sales=10)
    async with running(a, b):
        await until(lambda: a.sees(b) and b.sees(a))

        own_kafka.pause()
        lost = time.monotonic()
        while time.monotonic() - lost < 7:
            assert a.sees(b)
            assert b.sees(a)
            await asyncio.sleep(0.05)

        own_kafka.resume()
        b.shelf.advance(0, 20)
        await until(lambda: [h.handled for h in a.members.roster.holders(0)] == [20])
        await until(lambda: a.sees(b) and b.sees(a))


async def test_workers_start_and_stop_without_kafka_and_find_each_other_when_it_comes(
    own_kafka: Kafka,
) -> None:
    topic = await a_topic(own_kafka.bootstrap)
    a, b = (Worker(own_kafka.bootstrap, topic, n) for n in (1, 2))
    own_kafka.kill()
    async with running(a):
        async with asyncio.timeout(SOON_S), running(b):
            pass

        b = Worker(own_kafka.bootstrap, topic, 2)
        b.shelf.hold([0], Role.ACTIVE, sales=10)
        async with running(b):
            await asyncio.to_thread(own_kafka.restart)
            await until(lambda: a.sees(b))
