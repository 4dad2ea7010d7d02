"""A whole worker in this process: Faust, its consumer in its thread, the table, the web."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import TopicPartition

from app import topics
from app.config import Settings
from app.group.transport import (
    BatchConsumer,
    BatchConsumerThread,
)
from app.service import OnhandApp
from app.wiring import build
from core.stages import Stage
from dev.kafka import Kafka, free_port
from dev.workers import until
from tests.support.inputs.builders import a_receipt
from tests.support.topics.logs import Put, Writer, a_name

WAIT_S = 60.0
#: What a test is that uses a worker of its whole file.
in_worker = pytest.mark.asyncio(loop_scope="module")


class Deployment:
    """One worker in this process, with two partitions."""

    def __init__(self, settings: Settings, app: OnhandApp, failed: list[str]) -> None:
        self.settings, self.app, self.failed = settings, app, failed
        self.writer = Writer(settings.kafka)
        self.sent = 0
        # A topic's own list of calls, newest last.
        self.calls: list[str] = []

    @property
    def consumer(self) -> BatchConsumer:
        found: Any = self.app.consumer
        assert isinstance(found, BatchConsumer)
        return found

    @property
    def thread(self) -> BatchConsumerThread:
        return self.consumer._thread

    @property
    def kafka_consumer(self) -> Any:
        """aiokafka's own."""
        return self.thread._ensure_consumer()

    @property
    def shipments(self) -> str:
        return self.settings.source_topics["shipments"]

    def sources(self) -> set[TopicPartition]:
        return {
            TopicPartition(t, partition) for t in self.app.source_topics for partition in (0, 1)
        }

    async def active(self) -> None:
        """Wait until both partitions are delivered."""

        async def there() -> bool:
            states = [partition.state for partition in self.app.table.held.values()]
            return states == [Stage.ACTIVE] * 2 and set(self.thread.epochs) == (self.sources())

        await until(there, f"active {self.failed}", WAIT_S)

    async def send(self, count: int) -> None:
        """Append to partition 0 by a key that may not live there, and wait until it is handled."""
        sku = next(f"SKU-{n}" for n in range(100) if self.app.table.partition_of(f"SKU-{n}") == 0)
        events = [a_receipt(id=f"{n}", sku=sku) for n in range(self.sent, self.sent + count)]
        puts = [Put(sku.encode(), msgspec.json.encode(event)) for event in events]
        self.writer.write(self.shipments, puts)
        self.sent += count
        assert await self.app.table.reached(0, {self.shipments: self.sent - 1}, WAIT_S), self.failed

    async def in_thread(self, call: Any) -> Any:
        """Run it where aiokafka's consumer runs."""

        async def run() -> Any:
            return call()

        return await self.thread._in_thread(run())

    async def rebalance(self) -> None:
        """As when another worker joins or leaves."""
        before = self.app.consumer_generation_id
        await self.in_thread(self.kafka_consumer._coordinator.request_rejoin)

        async def again() -> bool:
            return bool(self.app.consumer_generation_id > before and not self.app.rebalancing)

        await until(again, "rebalanced", WAIT_S)
        await self.active()


@asynccontextmanager
async def a_deployment(kafka: Kafka, folder: Path) -> AsyncIterator[Deployment]:
    """Started, with its partitions; whatever would end it is in `failed`, and must be taken out."""
    failed: list[str] = []

    async def note(sentence: str, error: BaseException | None) -> None:
        failed.append(sentence)

    name = a_name()
    settings = Settings.from_env(
        {}, kafka=kafka.bootstrap, name=name, topic_prefix=f"{name}.", partitions=2, standbys=0,
        web_port=free_port(), data_dir=folder, session_timeout_ms=6000, log_level="WARNING",
    )  # fmt: skip
    await topics.create(settings)
    thresholds = gc.get_threshold()
    deployment = Deployment(settings, build(settings, end=note), failed)
    await deployment.app.start()
    try:
        await deployment.active()
        yield deployment
    finally:
        await deployment.app.stop()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
    assert failed == []
