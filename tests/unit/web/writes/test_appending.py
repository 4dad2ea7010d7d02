"""Facts of an array join the batches that are sent next, and each is where the answer says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.producer.message_accumulator import MessageAccumulator

from dev.workers import until
from web.writes.appending import BATCH_BYTES, HEADERS, Appender, Outgoing, Receipt
from wire.batches import pieces

PARTITIONS = 4


class Broker:
    """In place of an `AIOKafkaProducer`: has batches as it does, and sends them on `take`."""

    def __init__(self, batch_bytes: int) -> None:
        cluster = SimpleNamespace(leader_for_partition=lambda place: 0)
        self.client = SimpleNamespace(cluster=cluster)
        self._message_accumulator = MessageAccumulator(cluster, batch_bytes, 0, 60)
        #: Values by partition, in the order of their offsets; and times of arrival.
        self.log: list[list[Any]] = [[] for _ in range(PARTITIONS)]
        self.times_ms: set[int] = set()
        #: How many batches each request had.
        self.requests: list[int] = []

    def create_batch(self) -> Any:
        return self._message_accumulator.create_builder()

    async def send_batch(self, batch: Any, topic: str, *, partition: int) -> Any:
        place = TopicPartition(topic, partition)
        return await self._message_accumulator.add_batch(batch, place, 60)

    def take(self) -> None:
        """One produce request, and its answer."""
        batches, _ = self._message_accumulator.drain_by_nodes(ignore_nodes=())
        if not batches:
            return
        self.requests.append(len(batches[0]))
        for place, batch in batches[0].items():
            log, base = self.log[place.partition], len(self.log[place.partition])
            for piece in pieces(bytes(batch.get_data_buffer()), 0):
                for _, time_ms, key, value, headers in piece:
                    assert (key, list(headers)) == (b"SKU", HEADERS)
                    log.append(value)
                    self.times_ms.add(time_ms)
            batch.done(base, -1, 0)


@pytest.fixture
async def appender() -> Appender:
    made = Appender({}, 60)
    made._producer = asyncio.get_running_loop().create_future()
    made._is_running = True
    return made


def facts(name: str, count: int, nbytes: int = 20) -> list[Outgoing]:
    return [
        Outgoing("sales", n * 7 % PARTITIONS, b"SKU", f"{name}-{n}".ljust(nbytes).encode())
        for n in range(count)
    ]


async def appended(
    appender: Appender, broker: Broker, arrays: Sequence[Sequence[Outgoing]]
) -> list[Receipt]:
    """All at once; what each is told is held against the log."""
    appender._producer.set_result(cast(AIOKafkaProducer, broker))
    tasks = [asyncio.create_task(appender.append(array)) for array in arrays]

    async def come() -> bool:
        broker.take()
        return all(task.done() for task in tasks)

    await asyncio.sleep(0)  # all of them begin
    await until(come, "be appended", 60, every_s=0.001)
    receipts = [await task for task in tasks]
    for array, receipt in zip(arrays, receipts, strict=True):
        assert receipt.trouble is None
        for record, offset in zip(array, receipt.offsets, strict=True):
            assert offset is not None
            assert broker.log[record.partition][offset] == record.value
    assert sum(map(len, broker.log)) == sum(map(len, arrays))
    return receipts


async def test_an_array_goes_out_with_one_request(appender: Appender) -> None:
    broker = Broker(BATCH_BYTES)

    await appended(appender, broker, [facts("a", 1000)])

    assert broker.requests == [PARTITIONS]
    assert len(broker.times_ms) <= PARTITIONS


async def test_arrays_that_come_together_share_their_batches(appender: Appender) -> None:
    broker = Broker(BATCH_BYTES)

    first, *_ = await appended(
        appender, broker, [facts("a", 500), facts("b", 1), facts("c", 3), facts("d", 999)]
    )

    assert len(broker.requests) < 4
    assert first.offsets[0] == 0


@pytest.mark.parametrize("nbytes", [100, 300, 5000])
async def test_what_has_no_room_follows_in_order(appender: Appender, nbytes: int) -> None:
    broker = Broker(4096)
    arrays = [facts(name, 60, nbytes) for name in "abc"]

    receipts = await appended(appender, broker, arrays)

    assert len(broker.requests) > 1
    for array, receipt in zip(arrays, receipts, strict=True):
        for partition in range(PARTITIONS):
            offsets = [
                offset or 0
                for record, offset in zip(array, receipt.offsets, strict=True)
                if record.partition == partition
            ]
            assert offsets == sorted(offsets)
