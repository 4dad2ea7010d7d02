"""A cluster under test: its topics, its workers as processes, its log, and what must hold."""

import json
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import aiohttp

from dev.oracle.log import ends_of
from dev.oracle.reading import ROLES
from dev.oracle.rows import Key, Row, compare
from dev.oracle.stock import Oracle, sku_in
from dev.reads.answers import Answer, owners, read_list, row_url
from dev.traffic.shop import Shop
from dev.workers import Late, Worker, onhand, start_process, until
from tests.support.cluster.feed import Feeder, records_of
from tests.support.judges.oracle import (
    assert_dead_letters,
    oracle_of,
    read_changelog,
    read_dead_letters,
)

Answered = TypeVar("Answered")

SESSION_S = 6.0
#: Of a `Worker` that is a ledger.
LEDGER = ("-m", "faust", "-A", "app.ledger", "worker", "-l", "info")


@dataclass
class Cluster:
    """Workers of one version over topics of their own.

    Attributes:
        kafka: bootstrap servers.
        folder: for disks and logs.
        name: ONHAND_NAME; new for each cluster.
        partitions: of every topic.
        settings: ONHAND_… variables that all workers share.
        workers: by name; started ones and stopped ones.
        starts: when each process was started, by the worker's URL.
    """

    kafka: str
    folder: Path
    partitions: int = 12
    name: str = field(default_factory=lambda: f"t-{uuid.uuid4().hex[:8]}")
    settings: dict[str, str] = field(default_factory=dict)
    workers: dict[str, Worker] = field(default_factory=dict)
    starts: dict[str, list[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        own = {
            "ONHAND_KAFKA": self.kafka,
            "ONHAND_NAME": self.name,
            "ONHAND_TOPIC_PREFIX": self.prefix,
            "ONHAND_PARTITIONS": str(self.partitions),
            "ONHAND_SESSION_TIMEOUT_MS": str(int(SESSION_S * 1000)),
        }
        self.settings = own | self.settings

    @property
    def prefix(self) -> str:
        return f"{self.name}."

    @property
    def sources(self) -> list[str]:
        return [self.prefix + role for role in ROLES]

    @property
    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers.values() if worker.alive]

    async def create_topics(self) -> None:
        code, said = await onhand("topics", "create", settings=self.settings)
        assert code == 0, said

    def worker(self, name: str) -> Worker:
        """The worker of this name; a new one runs only after `start`."""
        if name not in self.workers:
            self.workers[name] = Worker(name, self.folder, self.settings)
        return self.workers[name]

    async def start(self, *names: str, timeout_s: float = 60) -> None:
        """Start these workers at once; returns when each is ready."""
        for name in names:
            self.launch(name)
        for name in names:
            await self.worker(name).ready(timeout_s)

    def launch(self, name: str) -> None:
        """Start one worker; it is not ready yet."""
        worker = self.worker(name)
        worker.start()
        self.starts.setdefault(worker.url, []).append(time.time())

    async def settled(self, timeout_s: float = 60) -> list[str]:
        """Wait until all living workers name the same living owner for every partition."""
        return await self._until(self._agreed, "owned: all partitions", timeout_s)

    async def revived(self, timeout_s: float = 120) -> list[str]:
        """As a supervisor would: start what ended by itself, until the cluster is settled."""

        async def well() -> list[str]:
            for worker in self.workers.values():
                if not worker.alive:
                    self.launch(worker.name)
            return await self._agreed()

        return await self._until(well, "revived", timeout_s)

    async def owned_by(self, urls: set[str], timeout_s: float) -> None:
        """Wait until these workers, and no others, own all partitions as they see it."""

        async def theirs() -> bool:
            views = await self._owners(urls)
            return all(set(view) <= urls for view in views)

        await self._until(theirs, f"owned by {urls} alone: all partitions", timeout_s)

    async def _agreed(self) -> list[str]:
        living = {worker.url for worker in self.alive}
        views = await self._owners(living)
        same = all(view == views[0] for view in views) and set(views[0]) <= living
        return views[0] if same else []

    async def _owners(self, urls: set[str]) -> list[list[str]]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            return [await owners(http, url, self.partitions) for url in sorted(urls)]

    async def _until(
        self, probe: Callable[[], Awaitable[Answered]], what: str, timeout_s: float
    ) -> Answered:
        try:
            return await until(probe, what, timeout_s, every_s=0.2)
        except Late as late:
            raise Late(f"{late}\n{self.logs()}") from None

    async def caught_up(self, timeout_s: float = 60) -> None:
        """Wait until every living worker can answer for the whole log as it is now."""
        ends = ends_of(self.kafka, self.sources)
        for worker in self.alive:
            for partition in range(self.partitions):
                await self._has_reached(worker, partition, ends, timeout_s)

    async def _has_reached(
        self, worker: Worker, partition: int, ends: Mapping[tuple[str, int], int], timeout_s: float
    ) -> None:
        places = [(topic, end) for (topic, p), end in ends.items() if p == partition and end > 0]
        token = ",".join(f"{topic}-{partition}@{end - 1}" for topic, end in places)
        url = row_url(worker.url, (sku_in(partition, self.partitions), "nowhere"))
        last = ""

        async def reached() -> bool:
            nonlocal last
            try:
                async with aiohttp.request(
                    "GET",
                    url,
                    params={"min_position": token, "wait_ms": "2000"},
                    timeout=aiohttp.ClientTimeout(total=10),
                ) as response:
                    last = f"{response.status} {await response.text()}"
                    role = response.headers.get("Onhand-Role")
                    return response.status == 404 and role == "active"
            except (aiohttp.ClientError, TimeoutError) as error:
                last = repr(error)
                return False

        try:
            await self._until(reached, f"at {token} through {worker.name}", timeout_s)
        except Late as late:
            raise Late(f"{last}: {late}") from None

    def oracle(self) -> Oracle:
        """What the log says, read again from its first record."""
        return oracle_of(self.kafka, partitions=self.partitions, prefix=self.prefix)

    async def rows(self, worker: Worker, query: str = "limit=1000") -> dict[Key, Row]:
        """The whole list through one worker, or what the query leaves of it."""
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            return await read_list(http, worker.url, query)

    async def assert_exact(self, timeout_s: float = 60) -> Oracle:
        """Every row, everywhere, is what the log says; so are the counts and the dead letters."""
        await self.caught_up(timeout_s)
        oracle = self.oracle()
        expected = oracle.rows()
        assert expected, "nothing was counted: this would prove nothing"
        for worker in self.alive:
            through = compare(expected, await self.rows(worker))
            assert not through.differ, f"through {worker.name}: {through}\n{self.logs()}"
        changelog = read_changelog(self.kafka, self.name)
        kept = compare(expected, changelog.rows)
        assert not kept.differ, f"in the changelog: {kept}\n{self.logs()}"
        assert not changelog.rewinds, changelog.rewinds[:5]
        counts = sum(oracle.applied.values()), len(oracle.repeated), len(oracle.refused)
        assert changelog.counts() == counts
        assert_dead_letters(read_dead_letters(self.kafka, self.name), oracle)
        return oracle

    def feeding(self, shop: Shop, count: int | None = None, rate: float | None = None) -> Feeder:
        """A shop that tells its records to this cluster's topics; a context manager.

        Its end waits until all are told, if they are counted.
        """
        records = records_of(shop, count)
        return Feeder(self.kafka, self.prefix, records, rate, finish=count is not None)

    @asynccontextmanager
    async def readers(
        self, keys: Iterable[Key], rate: float = 500, timeout_s: float = 5
    ) -> AsyncIterator[list[Answer]]:
        """A process that reads through all workers; its answers are there at the end."""
        out = self.folder / f"answers-{uuid.uuid4().hex[:8]}.jsonl"
        asked = out.with_suffix(".keys")
        asked.write_text(json.dumps(list(keys)))
        urls = ",".join(worker.url for worker in self.workers.values())
        pace = ["--rate", str(rate), "--timeout", str(timeout_s)]
        process = start_process(
            [
                "-m",
                "dev.reads.answers",
                "--urls",
                urls,
                "--keys",
                str(asked),
                "--out",
                str(out),
                *pace,
            ],
            {},
            out.with_suffix(".log"),
        )
        answers: list[Answer] = []

        async def has_begun() -> bool:
            assert process.poll() is None, out.with_suffix(".log").read_text()
            return out.exists() and out.stat().st_size > 0

        try:
            await until(has_begun, "an answer", 60)
            yield answers
        finally:
            os.kill(process.pid, signal.SIGTERM)
            process.wait(60)
        assert process.returncode == 0, out.with_suffix(".log").read_text()
        answers += map(Answer.from_json, out.read_text().splitlines())

    def logs(self) -> str:
        """The last words of every worker."""
        return "\n".join(worker.tail() for worker in self.workers.values())

    def close(self) -> None:
        """End what was started."""
        for worker in self.workers.values():
            worker.kill()
