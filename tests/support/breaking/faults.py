"""Faults and what must hold after each; short in `make test`, long in `make torture`.

Every fault falls on commits in flight: traffic never stops while it happens, and
the workers commit every few milliseconds.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import aiohttp
import psutil

from dev.kafka import Kafka
from dev.oracle.log import ends_of, read_topics
from dev.oracle.stock import Oracle
from dev.reads.verdicts import Verdict, judge
from dev.workers import Worker, until
from tests.support.breaking.kafka_tools import mislead_group, set_topic, transactional
from tests.support.cluster.feed import Feeder, a_shop
from tests.support.cluster.workers import SESSION_S, Cluster
from tests.support.judges.disks import positions_on_disk
from tests.support.judges.oracle import META, changelog_topic, read_changelog
from tests.support.judges.watch import DECIDED_S, CommitWatch

EVENTS_PER_S = 1_000
READS_PER_S = 50
SETTINGS = {"ONHAND_COMMIT_INTERVAL_MS": "10"}


@dataclass
class Load:
    """Traffic, readers and a watch over a cluster in trouble."""

    cluster: Cluster
    feeder: Feeder
    watch: CommitWatch
    verdict: Verdict | None = None
    oracle: Oracle | None = None

    async def more(self, records: int, timeout_s: float = 60) -> None:
        """Let this much more traffic pass: the clock of a fault test."""
        await self.feeder.more(records, timeout_s)

    async def committed_more(self, records: int, timeout_s: float = 60) -> None:
        """Wait until the workers have committed so many more, so that commits do flow."""
        goal = sum(self.watch.changelog.counts()) + records

        async def committed() -> bool:
            self.watch.check_running()
            return sum(self.watch.changelog.counts()) >= goal

        await until(committed, f"committed: {records:,} more records", timeout_s)

    async def looked(self, timeout_s: float = 60) -> None:
        """Wait until the watch has read all that the changelog holds now."""
        # The look that is under way may have asked for the end before.
        goal = self.watch.looks + 2

        async def has_looked() -> bool:
            self.watch.check_running()
            return self.watch.looks >= goal

        await until(has_looked, "the watch has read the changelog on", timeout_s)


@asynccontextmanager
async def under_load(
    cluster: Cluster,
    *workers: str,
    seed: int = 1,
    rate: float = EVENTS_PER_S,
    decided_s: float = DECIDED_S,
) -> AsyncIterator[Load]:
    """Workers at work; when the block is done, all that must hold is held against the log.

    `decided_s`: see `CommitWatch`.
    """
    await cluster.create_topics()
    await cluster.start(*workers)
    await cluster.settled()
    shop = a_shop(partitions=cluster.partitions, seed=seed)
    keys = [(sku, store) for sku in shop.skus[:40] for store in shop.stores]
    name, sources, partitions = cluster.name, cluster.sources, cluster.partitions
    with CommitWatch(cluster.kafka, name, sources, partitions, decided_s=decided_s) as watch:
        async with cluster.readers(keys, READS_PER_S) as answers:
            with cluster.feeding(shop, rate=rate) as feeder:
                load = Load(cluster, feeder, watch)
                await load.committed_more(200)
                yield load
                await load.more(500)
            load.oracle = await cluster.assert_exact(timeout_s=120)
        watch.check()
    load.verdict = judge(answers, load.oracle, cluster.starts)
    assert not load.verdict.wrong, (len(load.verdict.wrong), load.verdict.wrong[:5])
    assert not load.verdict.back, (len(load.verdict.back), load.verdict.back[:5])


def cut_records(cluster: Cluster) -> int:
    """Changelog records of transactions that a fault cut in two: proof that it hit one."""
    topics = [changelog_topic(cluster.name)]
    everything = read_topics(cluster.kafka, topics, committed=False)
    return len(everything) - len(read_topics(cluster.kafka, topics))


async def random_kills(load: Load, rounds: int, seed: int, wiped: float = 0.3) -> None:
    """`kill -9` of any worker at any moment, some lose their disk; then each comes back."""
    rng = random.Random(seed)
    for _ in range(rounds):
        await load.more(rng.randint(50, 1_500))
        victim = rng.choice(load.cluster.alive)
        victim.kill()
        await nothing_ahead_on_disk(load, victim)
        if rng.random() < wiped:
            victim.wipe()
        await load.more(rng.randint(50, 1_500))
        await load.cluster.start(victim.name)


async def kills_in_a_backlog(cluster: Cluster, rounds: int, records: int) -> None:
    """Decoding processes and a worker are killed while they fold what had waited.

    Who had folded all before the kill is given twice as much to fold, in a round more.
    """
    names = ("a", "b")
    fed = in_mid_fold = 0
    with CommitWatch(cluster.kafka, cluster.name, cluster.sources, cluster.partitions) as watch:
        for n in range(rounds + 3):
            shop = a_shop(partitions=cluster.partitions, run=f"r{n}")
            with cluster.feeding(shop, records) as feeder:
                fed += records
            for name in names:
                cluster.launch(name)
            for name in names:
                await applied(cluster.worker(name), 1)
                kill_decoding(cluster.worker(name))
            victim = cluster.worker(names[n % 2])
            await applied(victim, records // 10)
            victim.kill()
            if sum(read_changelog(cluster.kafka, cluster.name).counts()) < fed:
                in_mid_fold += 1
            else:
                records *= 2
            await nothing_ahead_on_disk(Load(cluster, feeder, watch), victim)
            await cluster.start(victim.name)
            await cluster.assert_exact(timeout_s=120)
            for name in names:
                await cluster.worker(name).stop()
            if in_mid_fold == rounds:
                break
        watch.check()
    assert in_mid_fold == rounds, "nothing was left to fold, again and again: this proves nothing"


async def applied(worker: Worker, events: int) -> None:
    """Wait until a worker that is starting has applied so many."""

    async def so_many() -> bool:
        with suppress(aiohttp.ClientError):
            async with aiohttp.request("GET", f"{worker.url}/metrics") as response:
                found = re.findall(
                    r"^onhand_events_applied_total.* ([0-9.]+)$", await response.text(), re.M
                )
                return sum(map(float, found)) >= events
        return False

    await until(so_many, f"applied by {worker.name}: {events:,} events", 60, every_s=0.01)


def kill_decoding(worker: Worker) -> None:
    """`kill -9` of the worker's second process, unless it is being replaced just now."""
    for child in psutil.Process(worker.pid).children():
        with suppress(psutil.NoSuchProcess):
            if "tables.decoder" in child.cmdline():
                child.kill()


async def kills_in_heavy_traffic(load: Load, rounds: int, seed: int) -> None:
    """As `random_kills`; batches are large, and decoding processes die as well."""
    rng = random.Random(seed)
    for _ in range(rounds):
        await load.more(rng.randint(1_000, 30_000))
        for worker in load.cluster.alive:
            kill_decoding(worker)
        await load.more(rng.randint(50, 5_000))
        victim = rng.choice(load.cluster.alive)
        victim.kill()
        await nothing_ahead_on_disk(load, victim)
        if rng.random() < 0.3:
            victim.wipe()
        await load.more(rng.randint(1_000, 60_000))
        await load.cluster.start(victim.name)


async def nothing_ahead_on_disk(load: Load, victim: Worker) -> None:
    """No store of a killed worker is ahead of the committed changelog."""
    group = f"{load.cluster.name}-v1"
    found = await asyncio.to_thread(positions_on_disk, victim, group)
    # Not by reading the changelog anew each time: that takes longer from kill to kill, and
    # meanwhile traffic goes on.
    await load.looked()
    for partition, positions in found.items():
        committed = load.watch.changelog.metas.get(partition, {"positions": {}})["positions"]
        ahead = {t: p for t, p in positions.items() if p > committed.get(t, 0)}
        assert not ahead, f"partition {partition} of {victim.name}: {ahead}, committed {committed}"


async def frozen_owner(load: Load, victim: str, others: set[str]) -> None:
    """SIGSTOP past the session, another takes over and goes on, SIGCONT: a zombie wakes."""
    cluster, worker = load.cluster, load.cluster.worker(victim)
    urls = {cluster.worker(name).url for name in others}
    worker.freeze()
    try:
        await cluster.owned_by(urls, timeout_s=SESSION_S + 60)
        await load.more(1_000)
    finally:
        worker.thaw()
    await load.more(2_000)
    await cluster.revived()


async def broker_fault(
    load: Load, kafka: Kafka, fault: Callable[[], object], away_s: float
) -> None:
    """The broker is stopped, killed or frozen in mid-commit, and comes back after a while."""
    await load.more(300)
    fault()
    await passes(away_s)
    kafka.resume()
    if not kafka.nodes[0].running:
        kafka.restart()
    await load.committed_more(500, timeout_s=120)


async def passes(seconds: float) -> None:
    """Let time pass: how long an outage lasts, never how long something may take."""
    over = time.monotonic() + seconds

    async def is_over() -> bool:
        return time.monotonic() >= over

    await until(is_over, "over", seconds + 5)


async def writes_refused(load: Load, most_bytes: int = 200) -> None:
    """The changelog takes no batch any more (its limit was lowered), then does again."""
    topic = changelog_topic(load.cluster.name)
    before = refused_commits(load.cluster)
    await set_topic(load.cluster.kafka, topic, {"max.message.bytes": str(most_bytes)})
    await load.more(2_000)

    async def some_refused() -> bool:
        return refused_commits(load.cluster) > before

    await until(some_refused, "refused: a commit", 60)
    await set_topic(load.cluster.kafka, topic, {"max.message.bytes": str(16 * 2**20)})
    await load.cluster.revived()
    await load.committed_more(1_000)


def refused_commits(cluster: Cluster) -> int:
    """As the workers have told them."""
    return sum(
        worker.log.read_text().count("the broker refused a commit")
        for worker in cluster.workers.values()
    )


async def joins_and_leaves(load: Load, rounds: int, every_records: int) -> None:
    """Workers come and go in turn, cleanly, while traffic flows."""
    for n in range(rounds):
        newcomer, leaver = ("c", "a", "b")[n % 3], ("a", "b", "c")[n % 3]
        if not load.cluster.worker(newcomer).alive:
            await load.cluster.start(newcomer)
        await load.more(every_records)
        assert await load.cluster.worker(leaver).stop() == 0, load.cluster.worker(leaver).tail()
        await load.more(every_records)


async def all_restarted(cluster: Cluster, between: Callable[[Cluster], Awaitable[None]]) -> None:
    """Stop every worker, do something to what they keep in Kafka, start them again."""
    names = [worker.name for worker in cluster.alive]
    for name in names:
        await cluster.worker(name).stop()
    await between(cluster)
    await cluster.start(*names)


async def wiped_and_restored(cluster: Cluster) -> None:
    """Every disk is lost at once; the changelog alone must give every row back."""
    names = [worker.name for worker in cluster.alive]
    for name in names:
        cluster.worker(name).kill()
        cluster.worker(name).wipe()
    await cluster.start(*names)
    await cluster.assert_exact(timeout_s=120)


async def group_misled(cluster: Cluster) -> None:
    """While all are down, the group's offsets are set to nonsense."""
    group = f"{cluster.name}-v1"
    await mislead_group(cluster.kafka, group, cluster.sources, cluster.partitions)


async def abort_garbage(load: Load, rounds: int) -> None:
    """What a writer that died in mid-commit leaves behind, among commits of the living."""
    cluster = load.cluster
    producer = transactional(cluster.kafka, f"{cluster.name}-garbage")
    await asyncio.to_thread(producer.init_transactions, 60)
    topic = changelog_topic(cluster.name)
    row = b'{"received":666,"events":666,"checksum":666,"updated_at":1}'
    for _ in range(rounds):
        producer.begin_transaction()
        for partition in range(cluster.partitions):
            for key in (b"SKU-000000\x00store-000", b"GARBAGE\x00store-000"):
                producer.produce(topic, row, key, partition=partition)
            producer.produce(topic, b'{"positions":{}}', META, partition=partition)
        await asyncio.to_thread(producer.flush, 60)
        await load.more(300)
        await asyncio.to_thread(producer.abort_transaction, 60)


async def compacted(cluster: Cluster, timeout_s: float = 120) -> str:
    """Wait until the cleaner has thrown most of the changelog away; how much is left.

    Under load it grows meanwhile, and its newest segment is never cleaned.
    """
    topics = [changelog_topic(cluster.name)]

    async def cleaned() -> str:
        kept = len(await asyncio.to_thread(read_topics, cluster.kafka, topics))
        written = sum(ends_of(cluster.kafka, topics).values())
        return f"{kept:,} of {written:,} records left" if kept < written / 2 else ""

    return await until(cleaned, "compacted: the changelog", timeout_s, every_s=1)
