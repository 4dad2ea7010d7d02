"""`python -m bench.feed`: readers of one worker's feed, and as many plain consumers, in turn.

Each reader takes every fact from the first one on, and counts them: deliveries/s of all together.
Then facts come at a pace: how long after the broker wrote a fact a reader has it. Behind the
worker stands a ledger, as everywhere; the readers share the machine with all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import aiohttp
import psutil
from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from bench.facts.events import SOURCES
from bench.facts.load import Load, load
from bench.harness.broker import TIMEOUT_S, partitions_of, reader
from bench.harness.machine import REPO, describe
from bench.harness.measure import DidNotFinish
from bench.harness.progress import say
from bench.harness.targets import least, most
from dev.kafka import free_port, start
from dev.workers import LEDGER, Worker, onhand, until

READERS = (1, 10, 100)
PARTITIONS, SKUS = 12, 2_000
#: A reader that has not come to the end by then fails the run.
PATIENCE_S = 300.0
LEAST_PER_S, MOST_P99_MS = 100_000, 200
FACT = b'"event":"fact"'  # in a text within a line the quotes would be escaped
AT_ONCE = 1_000

Begin = Callable[[], Awaitable[None]]


class Reading:
    """What one of many readers has taken.

    Args:
        facts: so many it waits for.
        timed: whether it looks at each fact, instead of counting alone.
    """

    def __init__(self, facts: int, *, timed: bool = False) -> None:
        self.facts, self.timed = facts, timed
        self.seen, self.is_ready = 0, False
        self.delays_ms: list[float] = []
        self._rest = b""

    @property
    def is_done(self) -> bool:
        """All were taken. Raises `DidNotFinish` where there were more than there are."""
        if self.seen > self.facts:
            raise DidNotFinish(f"a reader was told {self.seen:,} facts of {self.facts:,}")
        return self.seen == self.facts

    def take(self, piece: bytes) -> None:
        """Some bytes of a stream of lines."""
        piece = self._rest + piece
        if not self.timed:
            self.seen += piece.count(FACT)
            self._rest = piece[-len(FACT) + 1 :]
            return
        *lines, self._rest = piece.split(b"\n")
        for line in map(json.loads, filter(None, lines)):
            if line["event"] == "fact":
                recorded = datetime.fromisoformat(line["data"]["recorded_at"])
                self.saw(recorded.timestamp() * 1000)

    def saw(self, recorded_ms: float) -> None:
        """One fact, by the broker's time."""
        self.seen += 1
        if self.timed:
            self.delays_ms.append(time.time() * 1000 - recorded_ms)


async def follow(
    http: aiohttp.ClientSession, url: str, after: str, reading: Reading, begun: Callable[[], None]
) -> None:
    """Take a stream until all facts are there."""
    headers = {"Accept": "application/x-ndjson"}
    async with http.get(f"{url}/v1/changes", params={"after": after}, headers=headers) as answer:
        if answer.status != 200:
            raise DidNotFinish(f"the feed answered {answer.status}: {await answer.text()}")
        async for piece in answer.content.iter_any():
            reading.take(piece)
            begun()
            if reading.is_done:
                return
    raise DidNotFinish(f"a stream ended after {reading.seen:,} of {reading.facts:,} facts")


def consume(kafka: str, starts: Sequence[TopicPartition], reading: Reading) -> None:
    """Take the topics until all facts are there: a consumer without a group, decoding nothing."""
    consumer = reader(kafka)
    try:
        consumer.assign([TopicPartition(one.topic, one.partition, one.offset) for one in starts])
        deadline = time.monotonic() + PATIENCE_S
        while not reading.is_done:
            if time.monotonic() > deadline:
                raise DidNotFinish(f"a consumer had {reading.seen:,} of {reading.facts:,} facts")
            for message in consumer.consume(AT_ONCE, 0.5):
                if message.error() is None:
                    reading.saw(message.timestamp()[1])
            reading.is_ready = True
    finally:
        consumer.close()


class Crowd:
    """Readers at one worker, or consumers at its broker.

    Args:
        kafka: bootstrap servers.
        url: of the worker.
        prefix: before the three topics.
    """

    def __init__(self, kafka: str, url: str, prefix: str) -> None:
        self._kafka, self._url = kafka, url
        self._topics = [prefix + name for name in SOURCES]

    async def of_the_feed(self, after: str, some: Sequence[Reading], begin: Begin) -> None:
        """All of them; `begin` runs when each has heard something."""
        silent, all_heard = set(range(len(some))), asyncio.Event()

        def heard(number: int) -> None:
            silent.discard(number)
            if not silent:
                all_heard.set()

        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
            asyncio.TaskGroup() as group,
        ):
            for number, reading in enumerate(some):
                begun = partial(heard, number)
                group.create_task(follow(http, self._url, after, reading, begun))
            await all_heard.wait()
            await begin()

    async def of_consumers(self, after: str, some: Sequence[Reading], begin: Begin) -> None:
        """As many consumers, each with a thread of its own besides those of its client."""
        starts = self._starts(after)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(len(some)) as threads:
            running = [
                loop.run_in_executor(threads, consume, self._kafka, starts, one) for one in some
            ]

            async def can_begin() -> bool:
                return all(one.is_ready for one in some) or any(one.done() for one in running)

            await until(can_begin, "reading: all consumers", PATIENCE_S, every_s=0.01)
            await begin()
            await asyncio.gather(*running)

    def _starts(self, after: str) -> list[TopicPartition]:
        consumer = reader(self._kafka)
        try:
            found = [one for topic in self._topics for one in partitions_of(consumer, topic)]
            for one in found:
                ends = consumer.get_watermark_offsets(one, timeout=TIMEOUT_S)
                one.offset = ends[1] if after == "end" else OFFSET_BEGINNING
            return found
        finally:
            consumer.close()


async def at_once() -> None:
    """What there is to be read lies there already."""


class Taken(NamedTuple):
    """One crowd, once.

    cpu_s: of worker and ledger. crowd_s: CPU of the readers themselves. delays_ms: of one reader.
    """

    wall_s: float
    cpu_s: float
    crowd_s: float
    delays_ms: list[float]


def _told(deliveries: int, taken: Taken) -> str:
    """How fast, and whose time it took."""
    cpu_us, crowd_us = (1e6 * spent / deliveries for spent in (taken.cpu_s, taken.crowd_s))
    return (
        f"{deliveries / taken.wall_s:,.0f} deliveries/s; of CPU each {cpu_us:.1f} µs in worker and "
        f"ledger, {crowd_us:.1f} µs in the readers"
    )


class Bench:
    """Everything that is measured, on one broker.

    Args:
        given: the options.
        kafka: bootstrap servers.
        prefix: before the three topics.
        worker, ledger: started.
    """

    def __init__(
        self, given: argparse.Namespace, kafka: str, prefix: str, worker: Worker, ledger: Worker
    ) -> None:
        self._given, self._kafka, self._prefix = given, kafka, prefix
        self._served_by = [psutil.Process(one.pid) for one in (worker, ledger)]
        crowd = Crowd(kafka, worker.url, prefix)
        self._url = worker.url
        self._kinds = {"feed": crowd.of_the_feed, "plain consumers": crowd.of_consumers}

    async def told(self) -> None:
        """Wait until the feed has all facts, and look that it tells each of them once."""
        wanted, told = self._given.facts, 0
        positions: set[str] = set()
        async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE_S):
            after = ""
            while len(positions) < wanted:
                query = {"after": after, "limit": "1000", "wait_ms": "1000"}
                async with http.get(f"{self._url}/v1/changes", params=query) as answer:
                    page = await answer.json(content_type=None)
                if answer.status == 503:  # the ledger has not begun yet
                    await asyncio.sleep(0.5)
                    continue
                if answer.status != 200:
                    raise DidNotFinish(f"the feed answered {answer.status}: {page}")
                positions |= {line["data"]["position"] for line in page["changes"]}
                told += len(page["changes"])
                after = page["after"]
        if told != wanted:
            raise DidNotFinish(f"the feed told {told:,} facts, {wanted:,} of them different")

    async def caught_up(self, readers: int) -> None:
        """Deliveries/s from the first fact on, of both in turn."""
        rates: dict[str, list[float]] = {kind: [] for kind in self._kinds}
        for number in range(self._given.rounds):
            for kind in list(rates)[:: 1 if number % 2 == 0 else -1]:
                some = [Reading(self._given.facts) for _ in range(readers)]
                taken = await self._taken(kind, "", some, at_once)
                deliveries = readers * self._given.facts
                rates[kind].append(deliveries / taken.wall_s)
                say(f"{readers} readers, {kind}: {_told(deliveries, taken)}")
        ratios = [ours / theirs for ours, theirs in zip(*rates.values(), strict=True)]
        for kind, found in rates.items():
            print(f"{readers} readers, {kind}: {median(found):,.0f} deliveries/s")
        print(f"{readers} readers, feed ÷ plain consumers: {median(ratios):.2f}")
        if readers == max(self._given.readers):
            what = f"deliveries/s to {readers} readers of one worker"
            for goal in least(what, median(rates["feed"]), LEAST_PER_S, "/s"):
                print(f"{goal.what}: {goal.measured} (wanted {goal.wanted}): {goal.word}")

    async def live(self, readers: int) -> None:
        """How long after the broker's time a reader has a fact, while they come at a pace."""
        per_s, seconds = self._given.per_s, self._given.seconds
        delays: dict[str, list[float]] = {kind: [] for kind in self._kinds}
        for number in range(self._given.rounds):
            for kind in list(delays)[:: 1 if number % 2 == 0 else -1]:
                count = int(per_s * seconds)
                some = [Reading(count, timed=n == 0) for n in range(readers)]
                seed = 1_000 + 10 * number + (kind == "feed")
                taken = await self._taken(kind, "end", some, partial(self._paced, seed))
                delays[kind] += taken.delays_ms
                say(
                    f"{readers} readers beside {per_s:,}/s, {kind}: {_told(count * readers, taken)}"
                )
        for kind, found in delays.items():
            parts = quantiles(found, n=100)
            print(
                f"{readers} readers beside {per_s:,} facts/s, {kind}: {parts[49]:.0f} ms after the "
                f"broker's time at the median, {parts[98]:.0f} ms at p99"
            )
        what = f"p99 from the broker's time to one of {readers} readers"
        for goal in most(what, quantiles(delays["feed"], n=100)[98], MOST_P99_MS, " ms"):
            print(f"{goal.what}: {goal.measured} (wanted {goal.wanted}): {goal.word}")

    async def _taken(self, kind: str, after: str, some: Sequence[Reading], begin: Begin) -> Taken:
        before_s, crowd_s, began = self._cpu_s(), time.process_time(), time.perf_counter()
        await self._kinds[kind](after, some, begin)
        wall_s = time.perf_counter() - began
        crowd_s = time.process_time() - crowd_s
        return Taken(wall_s, self._cpu_s() - before_s, crowd_s, some[0].delays_ms)

    def _cpu_s(self) -> float:
        used = 0.0
        for one in self._served_by:
            for process in (one, *one.children(recursive=True)):
                times = process.cpu_times()
                used += times.user + times.system
        return used

    async def _paced(self, seed: int) -> None:
        """Facts at a pace, by a process of its own."""
        arguments = map(str, (self._prefix, self._given.per_s, self._given.seconds, seed))
        producer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bench.facts.pace", self._kafka), *arguments, cwd=REPO
        )
        if await producer.wait() != 0:
            raise DidNotFinish("the pace was not held: run it beside less")


async def measured(given: argparse.Namespace, kafka: str, folder: Path) -> None:
    """Load, start, measure, print."""
    name = f"bench{free_port()}"
    prefix = f"{name}."
    say(f"loading {given.facts:,} facts")
    load(kafka, {prefix: given.facts}, Load(partitions=PARTITIONS, skus=SKUS))
    settings = {
        "ONHAND_KAFKA": kafka,
        "ONHAND_NAME": name,
        "ONHAND_TOPIC_PREFIX": prefix,
        "ONHAND_PARTITIONS": str(PARTITIONS),
    }
    code, said = await onhand("topics", "create", settings=settings)
    if code != 0:
        raise DidNotFinish(said)
    worker = Worker("worker", folder, settings)
    ledger = Worker("ledger", folder, settings, command=LEDGER)
    try:
        for one in (worker, ledger):
            one.start()
        await worker.ready()
        bench = Bench(given, kafka, prefix, worker, ledger)
        say("waiting until the feed has told all of them, each once")
        await bench.told()
        for readers in given.readers:
            await bench.caught_up(readers)
        await bench.live(max(given.readers))
    finally:
        for one in (worker, ledger):
            one.kill()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.feed", description=__doc__)
    parser.add_argument("--facts", type=int, default=20_000, help="in the log (20,000)")
    parser.add_argument("--readers", type=int, nargs="+", default=READERS, help="at most 128 each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-s", type=int, default=500, help="facts/s of the live part (500)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each live part (10)")
    given = parser.parse_args()
    print("; ".join(f"{what} {value}" for what, value in describe().items()))
    with start() as kafka, tempfile.TemporaryDirectory() as folder:
        asyncio.run(measured(given, kafka.bootstrap, Path(folder)))


if __name__ == "__main__":
    main()
