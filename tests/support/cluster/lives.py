"""Workers that start, stop and move at the same time, and what must not happen then."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress

import aiohttp
import msgspec
from confluent_kafka import Producer

from core.stages import Role, Stage
from dev.oracle.stock import sku_in
from dev.reads.answers import owners
from dev.workers import WORKER, Worker, until
from domain.rows import Row, row_key
from domain.rules.held import CURRENT
from tables.home.changelog import Meta
from tables.keys import META_KEY
from tests.support.breaking.faults import passes
from tests.support.cluster.workers import Cluster
from tests.support.judges.oracle import changelog_topic
from tests.support.topics.logs import TIMEOUT_S, topic_id

#: A worker that waits for a slow caller for as long as a test needs.
PATIENT = (
    "-c",
    "from functools import partial\n"
    "from app import wiring\n"
    "from faust.cli.faust import cli\n"
    "from web.http.bodies import BodyLimits\n"
    "from web.writes.facts import FactLimits\n"
    "facts = FactLimits(body=BodyLimits(timeout_s=600.0))\n"
    "wiring.Limits = partial(wiring.Limits, drain_s=600.0, facts=facts)\n"
    "cli()\n",
    *WORKER[2:],
)


async def rolled(cluster: Cluster, names: Iterable[str], apart_s: float) -> None:
    """Each is told to stop so long after the one before, and started again when it has ended."""

    async def again(worker: Worker) -> None:
        assert await worker.stop(60) == 0, worker.tail()
        cluster.launch(worker.name)
        await worker.ready()

    rolling = []
    for name in names:
        rolling.append(asyncio.ensure_future(again(cluster.worker(name))))
        await passes(apart_s)
    await asyncio.gather(*rolling)
    await cluster.settled()


@asynccontextmanager
async def a_slow_caller(worker: Worker) -> AsyncIterator[Callable[[], bool]]:
    """A request under way whose body does not end: told to stop, the worker waits for it.

    Gives whether it was answered, or cut off.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    writer.write(b"POST /v1/sales HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 1000\r\n\r\n[")
    answer = asyncio.ensure_future(reader.read(1))
    try:
        yield answer.done
    finally:
        answer.cancel()
        writer.close()


async def stopped_together(cluster: Cluster, *names: str) -> None:
    """All of them are told to stop at one moment."""
    codes = await asyncio.gather(*(cluster.worker(name).stop(60) for name in names))
    assert codes == [0] * len(names), cluster.logs()
    await cluster.settled()


async def owns_all(cluster: Cluster, worker: Worker) -> None:
    """Wait until it says of itself that it owns every partition."""

    async def alone() -> bool:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            found = await owners(http, worker.url, cluster.partitions)
        return found == [worker.url] * cluster.partitions

    await until(alone, f"owned by {worker.name}: all partitions", 120, every_s=0.1)


def said(cluster: Cluster, what: str) -> list[str]:
    """Lines of all workers' logs that hold this."""
    logs = [worker.log.read_text(errors="replace") for worker in cluster.workers.values()]
    return [line for log in logs for line in log.splitlines() if what in line]


def assert_nobody_was_fenced(cluster: Cluster) -> None:
    """Neither by one who left, nor by one who came; and nobody had to be started again."""
    assert said(cluster, "the broker refused a commit") == [], cluster.logs()
    assert said(cluster, "The worker ends") == []


def write_long_changelog(cluster: Cluster, rows: int) -> None:
    """As if so many rows of each partition had been counted, of sources that begin now."""
    topic = changelog_topic(cluster.name)
    meta = Meta(
        positions=dict.fromkeys(cluster.sources, 0), fingerprints={}, counts={}, window=100_000,
        rules=CURRENT.number, incarnation=topic_id(cluster.kafka, topic),
    )  # fmt: skip
    row = msgspec.json.encode(Row(received=1, events=1, checksum=1, updated_at=1))
    producer = Producer(
        {
            "bootstrap.servers": cluster.kafka,
            "transactional.id": f"{cluster.name}-long",
            "queue.buffering.max.messages": 10_000_000,
            "linger.ms": 50,
            "log_level": 0,
        }
    )
    producer.init_transactions(TIMEOUT_S)
    for partition in range(cluster.partitions):
        sku = sku_in(partition, cluster.partitions)
        producer.begin_transaction()
        for number in range(rows):
            key = row_key(sku, f"store-{number:07}")
            producer.produce(topic, key=key, value=row, partition=partition)
        producer.produce(topic, key=META_KEY, value=msgspec.json.encode(meta), partition=partition)
        assert not producer.flush(60)
        producer.commit_transaction(TIMEOUT_S)


async def restored_of_each(cluster: Cluster, worker: Worker, records: int) -> None:
    """Wait until a worker that restores all partitions has so much of each, or all of it."""

    async def so_much() -> bool:
        with suppress(aiohttp.ClientError):
            async with aiohttp.request("GET", f"{worker.url}/ready") as response:
                held = (await response.json())["partitions"]
            done = [
                records if part["state"] == Stage.ACTIVE else part.get("restore", {}).get("done", 0)
                for part in held
            ]
            return len(done) == cluster.partitions and min(done) >= records
        return False

    await until(so_much, f"restored by {worker.name}: {records:,} of each", 60)


async def shared_by_all(cluster: Cluster) -> None:
    """Wait until every living worker owns as many partitions as any other, or one more."""
    urls = [worker.url for worker in cluster.alive]

    async def shared() -> bool:
        view = Counter(await cluster.settled())
        shares = [view[url] for url in urls]
        return max(shares) - min(shares) <= 1

    await until(shared, "shared by all", 240, every_s=0.5)


async def restores(cluster: Cluster, role: Role) -> Counter[int]:
    """How often a store was begun anew for this role, by partition, on all workers together."""
    found: Counter[int] = Counter()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as http:
        for worker in cluster.alive:
            async with http.get(f"{worker.url}/metrics") as response:
                for line in (await response.text()).splitlines():
                    pattern = rf'onhand_restores_total{{partition="(\d+)",role="{role}"}} (\S+)'
                    if told := re.fullmatch(pattern, line):
                        found[int(told[1])] += int(float(told[2]))
    return found
