"""Heartbeats of whoever may write to the topic, through a real Kafka: nobody asks his address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from core.stages import Role
from dev.kafka import Kafka
from tests.integration.web.test_members import a_topic, until
from tests.support.inside.shelf import Shelf
from tests.unit.web.access_files import OTHER, Keys
from web.access.beats import BEAT_PROOF
from web.access.denials import Denial
from web.access.proofs import beat_proof, read_secrets
from web.cluster.heartbeats import Heartbeat, WorkerState, beat_of, bytes_of
from web.cluster.members import Members

STRANGER = "http://10.9.9.9:6066"


class Worker:
    """One that proves what it says, and demands it of others."""

    def __init__(self, bootstrap: str, topic: str, keys: Keys, number: int) -> None:
        self.url = f"http://10.0.0.{number}:6066"
        self.shelf = Shelf(2, self.url)
        self.access = keys.access(self.url, has_tokens=False)
        self.members = Members(
            {"bootstrap_servers": bootstrap},
            topic,
            self.shelf,
            version=1,
            rules=1,
            build="test",
            url=self.url,
            access=self.access,
        )

    def asks(self) -> list[str]:
        """Whom it would ask for partition 0."""
        return [holder.url for holder in self.members.roster.holders(0)]


async def heartbeats_of(url: str, bootstrap: str, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """All that are in the topic now, with their proofs."""
    where = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([where])
        (end,) = (await consumer.end_offsets([where])).values()
        await consumer.seek_to_beginning(where)
        found: list[ConsumerRecord[bytes, bytes]] = []
        async with asyncio.timeout(60):
            while await consumer.position(where) < end:
                got = await consumer.getmany(where, timeout_ms=200)
                found += [record for records in got.values() for record in records]
    finally:
        await consumer.stop()
    mine = [one for one in found if (beat := beat_of(one.value)) is not None and beat.url == url]
    assert mine
    return mine


def forged(
    genuine: Sequence[ConsumerRecord[bytes, bytes]],
) -> list[tuple[bytes, list[tuple[str, bytes]]]]:
    """What a stranger makes of heartbeats that he has read: values and headers."""
    last = genuine[-1]
    beat = beat_of(last.value)
    assert beat is not None
    assert last.value is not None

    def bent(**changes: object) -> bytes:
        later = {"sequence": beat.sequence + 1_000, "state": WorkerState.RUNNING}
        return bytes_of(msgspec.structs.replace(beat, **{**later, **changes}))

    proof = dict(last.headers)[BEAT_PROOF]
    other = read_secrets(f"sign\n{OTHER}".encode())
    mine = bytes_of(Heartbeat(1, 1, "test", STRANGER, "stranger", 1, claims=beat.claims))
    return [
        (mine, []),
        (mine, [(BEAT_PROOF, proof)]),
        (mine, [(BEAT_PROOF, beat_proof(other, last.topic, mine, last.timestamp))]),
        (bent(url=STRANGER), [(BEAT_PROOF, proof)]),
        (bent(), []),
        (bent(), [(BEAT_PROOF, proof)]),
    ]


async def test_neither_a_stranger_nor_a_dead_worker_is_asked_for_what_others_write(
    kafka: Kafka, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    keys, topic = Keys(tmp_path), await a_topic(kafka.bootstrap)
    here, dead, fence = (Worker(kafka.bootstrap, topic, keys, number) for number in (1, 2, 3))
    for worker in (dead, fence):
        worker.shelf.hold([0], Role.ACTIVE, sales=10)
    async with AsyncExitStack() as stack:
        for worker in (here, dead):
            await worker.members.start()
            stack.push_async_callback(worker.members.stop)
        await until(lambda: here.asks() == [dead.url])
        await dead.members.stop()
        await until(lambda: here.asks() == [])

        genuine = await heartbeats_of(dead.url, kafka.bootstrap, topic)
        attempts = forged(genuine)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
        await producer.start()
        try:
            for record in genuine:  # each as it was
                await producer.send_and_wait(topic, record.value, headers=list(record.headers))
            for value, headers in attempts:
                await producer.send_and_wait(topic, value, headers=headers)
        finally:
            await producer.stop()

        # Heartbeats are heard in the order of the log: once this one is, those were judged.
        await fence.members.start()
        stack.push_async_callback(fence.members.stop)
        await until(lambda: fence.url in here.asks())
        assert here.asks() == [fence.url]
        known = {view.beat.url for view in here.members.workers() if view.alive}
        assert known == {here.url, fence.url}
        assert here.access.refused[Denial.UNPROVEN_HEARTBEAT] == len(attempts)
        record_property("tried", len(attempts) + len(genuine))
