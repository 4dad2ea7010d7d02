"""Bridges under test: a foreign topic, workers as processes, and what they must have written."""

import json
import signal
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp
from confluent_kafka import Producer

from app import topics
from app.config import Settings
from core.partitioning import partition_for
from dev.oracle.log import MARKERS_S, ends_of, read_topics
from dev.oracle.stock import Record
from dev.workers import Late, Worker, until
from tests.support.breaking import failing
from tests.support.breaking.kafka_tools import create
from tests.support.judges.oracle import own_headers, read_dead_letters

Answer = TypeVar("Answer")

COMMAND = ("-m", "faust", "-A", "app.bridge", "worker", "-l", "info")
MAP = """
frame = "json"
[constants]
type = "inventory.sale.completed.v1"
[paths]
sku = "value.article"
location = "value.shop"
quantity = "value.count"
"""
GOOD_EVERY = 10


def a_record(n: int) -> bytes:
    """Every tenth one cannot be mapped."""
    if n % GOOD_EVERY == GOOD_EVERY - 1:
        return b"record %d is no JSON" % n
    return json.dumps({"article": f"A-{n % 97}", "shop": f"s-{n % 7}", "count": 1 + n % 5}).encode()


@dataclass
class Bridges:
    """Bridges of one map over topics of their own.

    Attributes:
        kafka: bootstrap servers.
        folder: for the map, disks and logs.
        partitions: of the foreign topic; Onhand's have 4.
        map_text: the map.
        settings: ONHAND_… variables beyond the usual.
        sent: how many records are in the foreign topic.
    """

    kafka: str
    folder: Path
    partitions: int = 6
    map_text: str = MAP
    settings: dict[str, str] = field(default_factory=dict)
    name: str = field(default_factory=lambda: f"b-{uuid.uuid4().hex[:8]}")
    workers: dict[str, Worker] = field(default_factory=dict)
    sent: int = 0

    @property
    def topic(self) -> str:
        return f"{self.name}.orders"

    @property
    def group(self) -> str:
        return f"{self.name}-bridge-{self.topic}"

    @property
    def variables(self) -> dict[str, str]:
        return {
            "ONHAND_KAFKA": self.kafka,
            "ONHAND_NAME": self.name,
            "ONHAND_TOPIC_PREFIX": f"{self.name}.",
            "ONHAND_PARTITIONS": "4",
            "ONHAND_SESSION_TIMEOUT_MS": "6000",
            "ONHAND_BRIDGE_TOPIC": self.topic,
            "ONHAND_BRIDGE_MAP": str(self.map_file),
            **self.settings,
        }

    @property
    def map_file(self) -> Path:
        return self.folder / "orders.toml"

    def onhand(self, **more: str) -> Settings:
        return Settings.from_env({**self.variables, **more})

    def write_map(self, text: str) -> None:
        self.map_text = text
        self.map_file.write_text(text)

    async def create_topics(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.write_map(self.map_text)
        await topics.create(self.onhand())
        await create(self.kafka, self.topic, self.partitions)

    def send(self, records: Iterable[bytes | None], **settings: str) -> None:
        producer = Producer({"bootstrap.servers": self.kafka, "log_level": 0, **settings})
        for value in records:
            producer.produce(self.topic, value, partition=self.sent % self.partitions)
            self.sent += 1
            producer.poll(0)
        assert producer.flush(120) == 0

    def worker(self, name: str, **more: str) -> Worker:
        """The one of this name; `more` are settings of a new one."""
        if name not in self.workers:
            worker = Worker(name, self.folder, {}, command=COMMAND)
            port = {"ONHAND_BRIDGE_PORT": str(worker.port)}
            worker.settings = {**self.variables, **port, **more}
            self.workers[name] = worker
        return self.workers[name]

    def start(self, *names: str, **more: str) -> None:
        for name in names:
            self.worker(name, **more).start()

    async def dies(self, name: str, when: str) -> None:
        """Start a worker that is killed at this moment: see tests/support/breaking/failing.py."""
        worker = self.worker(name)
        usual = worker.command, worker.settings
        worker.command = ("-m", failing.__name__, *COMMAND[2:])
        worker.settings = {**worker.settings, failing.VARIABLE: when}
        worker.start()
        code = await worker.ended(180)
        assert code == -signal.SIGKILL, worker.tail()
        worker.command, worker.settings = usual

    async def ready(self, *names: str) -> None:
        for name in names:
            await self.workers[name].ready(180)

    def facts(self, *, committed: bool = True, markers_s: float = MARKERS_S) -> list[Record]:
        sources = self.onhand().source_topics.values()
        return read_topics(self.kafka, sources, committed=committed, markers_s=markers_s)

    def letters(self) -> list[Record]:
        return read_dead_letters(self.kafka, self.name)

    async def carried(self, timeout_s: float = 180) -> None:
        """Wait until as many records as were sent have become something."""

        async def all_there() -> bool:
            ends = ends_of(self.kafka, [self.topic])
            return self.positions() == {
                partition: end for (_, partition), end in ends.items() if end
            }

        await self._until(all_there, f"carried: {self.sent} records", timeout_s)

    def facts_seen(self) -> int:
        """How many places the facts and their markers take: a quick bound."""
        sources = self.onhand().source_topics.values()
        return sum(ends_of(self.kafka, sources, committed=False).values())

    def has_an_open_transaction(self) -> bool:
        """Whether some of what was written is neither committed nor aborted."""
        sources = [*self.onhand().source_topics.values()]
        return ends_of(self.kafka, sources) != ends_of(self.kafka, sources, committed=False)

    async def has_written(self, count: int, timeout_s: float = 180) -> None:
        """Wait until there are so many facts, committed or not, or markers behind them."""

        async def enough() -> bool:
            return self.facts_seen() >= count

        await self._until(enough, f"written: {count} facts", timeout_s)

    async def made(self, count: int, timeout_s: float = 180) -> None:
        """Wait until there are so many facts and dead letters."""

        async def enough() -> bool:
            return len(self.facts()) + len(self.letters()) >= count

        await self._until(enough, f"made: {count}", timeout_s)

    async def waits(self, name: str) -> str:
        """Wait for why a partition does."""
        return await self._in_state(name, "waiting")

    async def stands_still(self, name: str) -> str:
        """Wait for why a partition does."""
        return await self._in_state(name, "stopped")

    async def _in_state(self, name: str, state: str) -> str:

        async def why() -> str:
            with suppress(aiohttp.ClientError, TimeoutError):
                async with aiohttp.request(
                    "GET",
                    f"{self.workers[name].url}/ready",
                    timeout=aiohttp.ClientTimeout(total=5),
                ) as answer:
                    body = await answer.json()
                    if any(partition["state"] == state for partition in body.get("partitions", ())):
                        return str(body["detail"])
            return ""

        return await self._until(why, state, 180)

    async def metrics(self, name: str) -> dict[str, float]:
        url = f"{self.workers[name].url}/metrics"
        async with aiohttp.request("GET", url) as answer:
            lines = (await answer.text()).splitlines()
        pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {series: float(number) for series, _, number in pairs}

    async def _until(
        self, probe: Callable[[], Awaitable[Answer]], what: str, timeout_s: float
    ) -> Answer:
        try:
            return await until(probe, what, timeout_s, every_s=0.1)
        except Late as late:
            tails = "\n".join(worker.tail() for worker in self.workers.values())
            raise Late(f"{late}\n{tails}") from None

    def positions(self) -> dict[int, int]:
        """Of each partition, as its newest committed mark says, if it is above 0."""
        found = {}
        for record in read_topics(self.kafka, [f"{self.name}-documents"]):
            number = int((record.key or b"").rpartition(b"/")[2])
            found[number] = int(json.loads(record.value or b"{}")["next"])
        return {number: position for number, position in found.items() if position}

    def assert_each_once(self) -> None:
        """Each record of the foreign topic is one fact, in its place, or one dead letter."""
        wanted_facts, wanted_letters = Counter[str](), Counter[str]()
        for record in read_topics(self.kafka, [self.topic]):
            position = f"{record.topic}-{record.partition}@{record.offset}"
            good = (record.value or b"").startswith(b"{")
            (wanted_facts if good else wanted_letters)[position] += 1
        facts = self.facts()
        found = Counter(json.loads(fact.value or b"")["id"] for fact in facts)
        assert found == wanted_facts
        for fact in facts:
            event = json.loads(fact.value or b"")
            assert fact.key == event["data"]["sku"].encode()
            assert fact.partition == partition_for(fact.key or b"", 4)
            assert fact.headers == (("content-type", b"application/cloudevents+json"),)
        told = [own_headers(letter) for letter in self.letters()]
        places = Counter(f"{t['topic']}-{t['partition']}@{t['offset']}" for t in told)
        assert places == wanted_letters

    def logs(self) -> str:
        return "\n".join(worker.log.read_text() for worker in self.workers.values())

    def close(self) -> None:
        for worker in self.workers.values():
            worker.kill()
