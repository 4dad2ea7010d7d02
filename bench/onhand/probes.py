"""Probes beside paced traffic: how long after a sale was sent does an answer show it?

A paced producer makes the traffic. Beside it, twenty times a second, a probe
sends one sale of a SKU of its own and, as soon as its position is known, asks
a worker for that row with `min_position`: one waiting request instead of many
polls, under half a percent of a core. The clock runs from the begin of the
sending to the answer that shows the sale, so it holds the append and the HTTP
requests too. A row that is not there yet is asked for again; such misses are
counted.
"""

import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from bench.facts.oracle import row_key
from bench.facts.pace import BEGUN
from bench.harness.contest import Arena
from bench.harness.machine import REPO
from bench.harness.measure import DidNotFinish, Process
from bench.harness.progress import say
from bench.onhand.contestant import Onhand, Worker
from bench.onhand.httpload import quantile
from bench.onhand.web import Web, inventory_path

PROBES_PER_S = 20
PROBE_CONNECTIONS = 16
PROBE_TIMEOUT_S = 10.0
PROBE_LOCATION = "store-000"
WAIT_MS = 5_000
ASK_AGAIN_AFTER_S = 0.005
SETTLE_S = 3.0
LOOK_EVERY_S = 0.1


@dataclass(frozen=True)
class Latency:
    """One pace.

    Attributes:
        per_s: events a second; 0 is idle.
        cpu_percent: of one core, by all workers, over the middle of the time.
        p50_ms, p99_ms, max_ms: sent to readable; nan when idle.
        probes: how many were measured.
        misses: answers that did not show the sale yet, or did not take it.
        lost: probes given up after PROBE_TIMEOUT_S; they count with that time.
        forwarded: answers that another worker gave than the one asked.
        commits_per_s, commit_ms: of all workers together, and what one takes.
        partitions: that are committed.
    """

    per_s: int
    cpu_percent: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    probes: int
    misses: int
    lost: int
    forwarded: int
    partitions: int = 0
    commits_per_s: float = 0.0
    commit_ms: float = 0.0

    @property
    def round_ms(self) -> float:
        """From one commit of a partition to the next, where each finds something to commit."""
        return 1_000 * self.partitions / self.commits_per_s if self.commits_per_s else 0.0

    @property
    def modelled_ms(self) -> tuple[float, float]:
        """What p50 and p99 would be if a fact waited for its round, then for its commit.

        Half a round on average, all of one at worst. What is measured above it is the append, the
        way of the fetch and of the answer, and commits that take longer than on average.
        """
        return self.round_ms / 2 + self.commit_ms, self.round_ms + self.commit_ms


@dataclass(frozen=True)
class Probed:
    """One probe: seconds from sent to readable (PROBE_TIMEOUT_S: given up), and as `Latency`."""

    took_s: float
    misses: int
    forwarded: bool = False


class _OfThisThread(threading.local):
    def __init__(self) -> None:
        self.webs: dict[int, Web] = {}


@dataclass
class Probe(ABC):
    """Sends one sale and waits until it is readable; how it is sent is the subclass's.

    Attributes:
        name: of the question, for progress and logs.
        workers: of the installation under test.
    """

    name: str
    workers: Sequence[Worker]
    _local: _OfThisThread = field(default_factory=_OfThisThread, init=False)

    @abstractmethod
    def send(self, number: int, sku: str) -> str | None:
        """Send the sale of one piece; its position, or None if it was not taken."""

    @abstractmethod
    def asked(self, number: int) -> Worker:
        """Whom this probe asks for the row."""

    def web(self, worker: Worker) -> Web:
        """A kept connection to it that no other thread uses."""
        webs, port = self._local.webs, worker.web.port
        if port not in webs:
            webs[port] = Web(port)
        return webs[port]

    def measure(self, number: int) -> Probed:
        """One probe; gives up after PROBE_TIMEOUT_S."""
        sku = f"PROBE-{time.time_ns():x}-{number}"
        path = inventory_path(row_key(sku, PROBE_LOCATION))
        worker = self.asked(number)
        position: str | None = None
        misses = 0
        started = time.perf_counter()
        while time.perf_counter() - started < PROBE_TIMEOUT_S:
            # What was not taken is sent again as it was: it has the same id and counts once.
            position = position or self.send(number, sku)
            if position:
                answer = self.web(worker).get(f"{path}?min_position={position}&wait_ms={WAIT_MS}")
                if answer and answer.status == 200 and answer.json().get("sold") == 1:
                    took_s = time.perf_counter() - started
                    said_by = answer.headers.get("onhand-worker", "").rstrip("/")
                    return Probed(took_s, misses, forwarded=said_by != worker.url)
            misses += 1
            time.sleep(ASK_AGAIN_AFTER_S)
        return Probed(PROBE_TIMEOUT_S, misses)


def cpu_percent(workers: Sequence[Worker], seconds: float) -> float:
    """Of one core, by these workers together, over the seconds from now."""
    started, before_s = time.perf_counter(), sum(each.process.cpu_s() for each in workers)
    time.sleep(seconds)
    used_s = sum(each.process.cpu_s() for each in workers) - before_s
    return used_s / (time.perf_counter() - started) * 100


@contextmanager
def traffic(
    arena: Arena, name: str, prefix: str, per_s: int, seconds: float, seed: int
) -> Iterator[Process]:
    """A paced producer at work, in a process of its own; `name` is of its log."""
    argv = [sys.executable, "-m", "bench.facts.pace", arena.kafka, prefix]
    argv += [str(per_s), str(seconds), str(seed)]
    with Process(argv, arena.log(f"{name}-pace-{per_s}"), cwd=REPO) as producer:
        while not producer.said(BEGUN):
            producer.must_run()
            time.sleep(LOOK_EVERY_S)
        yield producer


def probe_at_pace(
    arena: Arena, installation: Onhand, probe: Probe, per_s: int, seconds: float, seed: int
) -> Latency:
    """Probes beside traffic of `per_s` events a second; `seed` unlike that of other traffic."""
    say(f"{probe.name}: {per_s:,} events/s for {seconds + SETTLE_S:.0f} s")
    prefix, length_s = installation.topics.prefix, seconds + 2 * SETTLE_S
    with (
        traffic(arena, probe.name, prefix, per_s, length_s, seed) as producer,
        ThreadPoolExecutor(PROBE_CONNECTIONS) as probes,
    ):
        time.sleep(SETTLE_S)
        cpu = probes.submit(cpu_percent, installation.workers, seconds)
        before = _commits(installation.workers)
        started = time.perf_counter()
        pending = []
        for number in range(int(seconds * PROBES_PER_S)):
            time.sleep(max(0.0, started + number / PROBES_PER_S - time.perf_counter()))
            pending.append(probes.submit(probe.measure, number))
        measured = [each.result() for each in pending]
        took_s = time.perf_counter() - started
        commits, travelled_s = (
            after - at_first
            for after, at_first in zip(_commits(installation.workers), before, strict=True)
        )
        percent = cpu.result()
        if producer.wait(timeout_s=60):
            raise DidNotFinish(f"{probe.name}: {producer.log_tail()}")
        said = producer.log_tail()
    latency = replace(
        _summed_up(measured, per_s, percent),
        partitions=arena.partitions,
        commits_per_s=commits / took_s,
        commit_ms=1_000 * travelled_s / commits if commits else 0.0,
    )
    p50_ms, p99_ms = latency.modelled_ms
    say(
        f"{probe.name}: {per_s:,} events/s ({said}): readable after p50 {latency.p50_ms:.0f} ms, "
        f"p99 {latency.p99_ms:.0f} ms, {percent:.0f} % of a core; {latency.commits_per_s:.0f} "
        f"commits/s of {latency.commit_ms:.0f} ms each, so by the model {p50_ms:.0f} and "
        f"{p99_ms:.0f} ms"
    )
    return latency


def _commits(workers: Sequence[Worker]) -> tuple[float, float]:
    """How many these workers have made, and the seconds that they took together."""
    names = "onhand_commit_seconds_count", "onhand_commit_seconds_sum"
    count, seconds = (sum(each.measured(name) for each in workers) for name in names)
    return count, seconds


def _summed_up(measured: Sequence[Probed], per_s: int, percent: float) -> Latency:
    took_ms = sorted(each.took_s * 1_000 for each in measured)
    return Latency(
        per_s=per_s,
        cpu_percent=percent,
        p50_ms=quantile(took_ms, 0.50),
        p99_ms=quantile(took_ms, 0.99),
        max_ms=took_ms[-1],
        probes=len(took_ms),
        misses=sum(each.misses for each in measured),
        lost=sum(each.took_s >= PROBE_TIMEOUT_S for each in measured),
        forwarded=sum(each.forwarded for each in measured),
    )
