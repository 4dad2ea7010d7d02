"""Many workers beside paced traffic: what `onhand plan` says of them, and what is seen.

Workers with their defaults on topics of their own. After some seconds to settle, twenty probes a
second ask how long a fact takes to be readable (`bench/onhand/probes.py`); meanwhile CPU, commits
and heartbeats are counted. In the end one worker is killed, and the logs of the others tell how
long each took from its assignment until it delivered.
"""

import time
from collections.abc import Iterator, Sequence
from statistics import mean
from typing import NamedTuple

import psutil

from app.planning.model import ExpectedLoad, Sizes, plan
from bench.facts.load import Load, create_sources
from bench.facts.oracle import Oracle
from bench.facts.pace import POPULATION_SKUS
from bench.harness.broker import ends_of, records_of
from bench.harness.contest import Arena, TopicSet
from bench.harness.measure import DidNotFinish
from bench.harness.progress import Ticker, say
from bench.onhand.contestant import Onhand, Worker
from bench.onhand.latency import AppendProbe
from bench.onhand.probes import probe_at_pace
from bench.onhand.takeover import TELLING_ALL, take_overs, wait_until_settled

SETTLE_TIMEOUT_S = 300.0
#: What Kafka adds to the commit interval until a fact is readable, as `onhand plan` says.
KAFKA_MS = 75
SEED = 400
LOOK_EVERY_S = 0.5


class Compared(NamedTuple):
    """One figure of the plan."""

    what: str
    planned: str
    seen: str


def beside_traffic(arena: Arena, workers: int, per_s: int, seconds: float) -> Iterator[Compared]:
    """Start so many workers, send so many facts a second, and hold the plan against them.

    Args:
        arena: partitions, of which each worker must own as many, and Kafka.
        workers: how many.
        per_s: facts a second, of all.
        seconds: of the measured stretch.
    """
    rows = POPULATION_SKUS * Load.locations
    planned = plan(
        ExpectedLoad(
            events_per_s=per_s, rows=rows, workers=workers, partitions=arena.partitions,
            replication=1,
        )
    )  # fmt: skip
    prefix = f"{arena.run}.paced."
    create_sources(arena.kafka, prefix, arena.partitions)
    installation = Onhand(
        arena, workers, topics=TopicSet(prefix, Oracle()), label=" paced", settings=TELLING_ALL
    )
    started = time.monotonic()
    installation.start()
    try:
        wait_until_settled(installation, SETTLE_TIMEOUT_S)
        say(f"{installation.name}: settled after {time.monotonic() - started:.0f} s")
        yield from _beside(arena, installation, planned, per_s, seconds)
        yield _take_over(installation, planned)
    finally:
        installation.stop()


def _beside(
    arena: Arena, installation: Onhand, planned: Sizes, per_s: int, seconds: float
) -> Iterator[Compared]:
    workers = installation.workers
    members = f"{installation.onhand_name}-members"
    told = ends_of(arena.kafka, members)
    began = time.monotonic()
    probe = AppendProbe(arena, installation)
    latency = probe_at_pace(arena, installation, probe, per_s, seconds, SEED)
    took_s = time.monotonic() - began
    beats = records_of(arena.kafka, members, told)
    beats_bytes = sum(len(each.key() or b"") + len(each.value() or b"") for each in beats)
    used = latency.cpu_percent / 100 / len(workers)
    interval_ms = planned.commit_interval_s * 1000
    peaks = [each.process.peak_mb() for each in workers]
    files = [psutil.Process(each.process.pid).num_fds() for each in workers]
    yield Compared("CPU of a worker, cores", f"{planned.worker_cpu:.3f}", f"{used:.3f}")
    yield Compared(
        "memory of a worker at its peak, MB",
        f"≤ {planned.worker_memory_mb:.0f}, windows full",
        f"{mean(peaks):.0f} (at most {max(peaks):.0f})",
    )
    yield Compared("open files of a worker", f"≤ {planned.worker_files:,}", f"{max(files):,}")
    yield Compared(
        "commits of all, a second",
        f"{planned.commits_per_s:,.0f}",
        f"{latency.commits_per_s:,.0f}",
    )
    yield Compared(
        "heartbeats that each reads, kB a second",
        f"≤ {planned.beats_bytes_per_s / 1000:.1f}",
        f"{beats_bytes / took_s / 1000:.1f}",
    )
    yield Compared(
        "a fact is readable after, ms",
        f"{interval_ms:.0f}, and some {KAFKA_MS}",
        f"p50 {latency.p50_ms:.0f}, p99 {latency.p99_ms:.0f}; {latency.lost} not within 10 s",
    )


def _take_over(installation: Onhand, planned: Sizes) -> Compared:
    """One worker is killed; the session timeout runs out before anybody is assigned its own."""
    *stay, killed = installation.workers
    seen = {worker.url: worker.process.log.stat().st_size for worker in stay}
    killed.process.kill()
    ticker, deadline = Ticker(), time.monotonic() + SETTLE_TIMEOUT_S
    while not _is_owned_by(stay):
        if time.monotonic() > deadline:
            raise DidNotFinish(f"{installation.name}: no owner for all after one was killed")
        ticker.say(f"{installation.name}: waiting until one more is taken over for")
        time.sleep(LOOK_EVERY_S)
    took_s = [one for worker in stay for one in take_overs(worker, seen[worker.url])]
    what = "take-over by each of the others, all at once, s"
    return Compared(what, f"{planned.take_over_s:.2f}", f"{max(took_s):.2f} at most")


def _is_owned_by(workers: Sequence[Worker]) -> bool:
    """Whether these alone own all partitions, as the first of them has heard."""
    answer = workers[0].web.get("/v1/cluster")
    if answer is None or answer.status != 200:
        return False
    owners = {each["active"] and each["active"]["worker"] for each in answer.json()["partitions"]}
    return owners <= {worker.url for worker in workers}
