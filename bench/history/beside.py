"""With a broker: the audit beside a raw fetch, and a worker with and without a ledger beside it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil

from bench.facts.load import create_sources
from bench.facts.oracle import Oracle
from bench.harness.contest import Arena, TopicSet, play
from bench.harness.machine import REPO
from bench.harness.measure import DidNotFinish, Process
from bench.harness.progress import say
from bench.onhand.contestant import Onhand, Worker
from bench.onhand.probes import traffic
from bench.onhand.web import Web, inventory_path
from bench.peers.raw.contestant import RawFetch
from dev.kafka import free_port

PER_S, READS_PER_S = 5_000, 100
_WAIT_S = 300.0


class AuditFigures(NamedTuple):
    """Records/s of both in turn; peak of the audit's process in MB, and of one partition alone."""

    raw: list[float]
    audit: list[float]
    peak_mb: float
    one_mb: float

    @property
    def ratio(self) -> float:
        """Of the medians."""
        return median(self.audit) / median(self.raw)


def audit_beside_raw(arena: Arena, rounds: int) -> AuditFigures:
    """The same topics, in turn."""
    installation = Onhand(arena, label=" audited")
    installation.create_topics()
    [worker] = installation.launch()
    raw, audits, peak_mb = [], [], 0.0
    try:
        _until(lambda: worker.handled() >= arena.full.oracle.records, "folded", worker.process)
        for _ in range(rounds):
            raw.append(play(RawFetch(arena), arena, with_restore=False).events_per_s)
            rate, used_mb = _audited(arena, installation, worker)
            audits.append(rate)
            peak_mb = max(peak_mb, used_mb)
            say(f"raw fetch {raw[-1]:,.0f} records/s, audit {rate:,.0f}, {used_mb:.0f} MB")
        largest = (_audited(arena, installation, worker, n)[1] for n in range(arena.partitions))
        return AuditFigures(raw, audits, peak_mb, max(largest))
    finally:
        installation.stop()


def _audited(
    arena: Arena, installation: Onhand, worker: Worker, partition: int | None = None
) -> tuple[float, float]:
    """Records/s and peak in MB; of all partitions, or of one."""
    environment = {**installation.environments[0], "PYTHONUNBUFFERED": "1"}
    onhand = str(Path(sys.executable).parent / "onhand")
    argv = [onhand, "audit", "--no-ledger", "--json", "--url", worker.url]
    argv += [] if partition is None else ["--partition", str(partition)]
    with Process(argv, arena.log("audit"), env=environment, cwd=REPO) as process:
        peak_mb = 0.0
        while process.runs():
            # At its end it has no memory any more, and is still there.
            with suppress(LookupError, OSError, psutil.NoSuchProcess):
                peak_mb = max(peak_mb, process.peak_mb())
            time.sleep(0.05)
        if process.wait(1) != 0:
            raise DidNotFinish(f"the audit found something:\n{process.log_tail()}")
        said = json.loads(process.log.read_text().splitlines()[-1])["partitions"]
    records, seconds = (sum(one[name] for one in said) for name in ("records", "seconds"))
    return records / seconds, peak_mb


class BesideFigures(NamedTuple):
    """Of stretches in turn: % of a core of the worker, and p99 of reads in ms."""

    alone: list[tuple[float, float]]
    beside: list[tuple[float, float]]

    def change(self, which: int) -> float:
        """Per cent more beside a ledger; 0: CPU, 1: reads."""
        alone, beside = (median(one[which] for one in each) for each in self)
        return (beside / alone - 1) * 100


def worker_beside_ledger(arena: Arena, seconds: float, rounds: int) -> BesideFigures:
    """One worker at a pace of 5,000 events/s; a ledger comes and goes."""
    prefix = f"{arena.run}.beside."
    create_sources(arena.kafka, prefix, arena.partitions)
    installation = Onhand(arena, topics=TopicSet(prefix, Oracle()), label=" beside")
    installation.create_topics()
    [worker] = installation.launch()
    found = BesideFigures([], [])
    try:
        _until(lambda: _ready(worker.web), "ready", worker.process)
        for number in range(2 * rounds):
            with ExitStack() as stack:
                is_beside = number % 4 in (1, 2)
                if is_beside:
                    stack.enter_context(_a_ledger(arena, installation))
                pace = traffic(arena, "beside", prefix, PER_S, seconds + 6, seed=500 + number)
                stack.enter_context(pace)
                time.sleep(3)
                figures = _stretch(worker, seconds)
            (found.beside if is_beside else found.alone).append(figures)
            name = "beside a ledger" if is_beside else "alone"
            say(f"{name}: {figures[0]:.1f} % of a core, reads p99 {figures[1]:.2f} ms")
    finally:
        installation.stop()
    return found


def _a_ledger(arena: Arena, installation: Onhand) -> Process:
    port = free_port()
    environment = {
        **installation.environments[0],
        "ONHAND_WEB_PORT": str(port),
        "ONHAND_DATA_DIR": str(arena.fresh("ledger")),
    }
    argv = [sys.executable, "-m", "faust", "-A", "app.ledger", "worker", "-l", "info"]
    process = Process(argv, arena.log("ledger"), env=environment, cwd=REPO)
    web = Web(port)

    def caught_up() -> bool:
        answer = web.get("/ready")
        return answer is not None and answer.status == 200 and answer.json()["lag_events"] < PER_S

    try:
        _until(caught_up, "a ledger that has caught up", process)
    except BaseException:
        process.kill()
        raise
    return process


def _stretch(worker: Worker, seconds: float) -> tuple[float, float]:
    """% of a core and p99 of paced reads, ms."""
    web, took, number = Web(worker.web.port), list[float](), 0
    before_s, began = worker.process.cpu_s(), time.perf_counter()
    while (now := time.perf_counter()) < began + seconds:
        path = inventory_path(f"SKU-{number % 2_000:06d}\x00store-{number % 20:03d}")
        assert web.get(path) is not None
        took.append(time.perf_counter() - now)
        number += 1
        time.sleep(max(0.0, began + number / READS_PER_S - time.perf_counter()))
    used_s = worker.process.cpu_s() - before_s
    took.sort()
    return used_s / seconds * 100, took[int(0.99 * (len(took) - 1))] * 1000


def _ready(web: Web) -> bool:
    answer = web.get("/ready")
    return answer is not None and answer.status == 200


def _until(condition: Callable[[], bool], what: str, process: Process) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        process.must_run()
        if time.monotonic() > deadline:
            raise DidNotFinish(f"not {what} after {_WAIT_S:.0f} s:\n{process.log_tail()}")
        time.sleep(0.1)
