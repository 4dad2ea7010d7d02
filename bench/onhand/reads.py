"""HTTP key reads against workers: idle, beside folding a backlog, and forwarded.

Keys are drawn evenly from the oracle's rows, so that most are not in a cache
of recent ones.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from bench.harness.contest import Arena
from bench.harness.progress import Ticker, say
from bench.onhand.contestant import LOOK_EVERY_S, Onhand, Worker
from bench.onhand.httpload import Answers, ask, quantile
from bench.onhand.web import inventory_path

SAMPLED_KEYS = 5_000
CONNECTIONS = (1, 32)
#: Events behind that are allowed where a standby is to answer.
NEAR_ENOUGH = 1_000
PULSE_EVERY_S = 0.02
PULSES_PER_COUNT = 10
WARM_UP_S = 0.5
BESIDE_FOLDING = "beside folding"
BACKLOG_ENDED = ", whose backlog ended meanwhile"


@dataclass(frozen=True)
class Reads:
    """One measured situation; CPU is that of all workers that have to do with it, a request."""

    what: str
    answers: Answers
    cpu_us: float


#: Asks for so many seconds each.
AskForReads: TypeAlias = Callable[[float], list[Reads]]


@dataclass(frozen=True)
class Pulse:
    """Answer times of `/live` asked at a fixed pace: how long the event loop was held.

    Attributes:
        asked: how often.
        p50_ms, p99_ms, max_ms: of the answers.
        folded: events folded meanwhile.
        seconds: how long.
    """

    asked: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    folded: int
    seconds: float


def sample_paths(arena: Arena) -> list[str]:
    """Paths of rows that exist once all is folded."""
    keys = sorted(arena.full.oracle.rows)
    return [
        inventory_path(key) for key in random.Random(2).sample(keys, min(SAMPLED_KEYS, len(keys)))
    ]


def _measure(
    what: str, workers: Sequence[Worker], paths: Sequence[str], connections: int, seconds: float
) -> Reads:
    """The first of them is asked."""
    port = workers[0].web.port
    ask(port, paths, connections, WARM_UP_S)
    cpu_before_s = sum(worker.process.cpu_s() for worker in workers)
    answers = ask(port, paths, connections, seconds)
    cpu_s = sum(worker.process.cpu_s() for worker in workers) - cpu_before_s
    asked = sum(answers.statuses.values())
    say(
        f"reads, {what}, {connections} connection(s): {answers.per_s:,.0f}/s, "
        f"p50 {answers.p50_ms:.2f} ms, p99 {answers.p99_ms:.2f} ms, {answers.statuses}"
    )
    return Reads(what, answers, cpu_s / asked * 1e6 if asked else float("nan"))


@contextmanager
def idle(folded: Onhand, arena: Arena) -> Iterator[AskForReads]:
    """One worker with nothing else to do, on the stores that its restore left on the disk.

    Args:
        folded: of one worker; it has folded all.
    """
    paths = sample_paths(arena)
    folded.start_again(0)
    try:
        folded.wait_until_serving()
        yield lambda seconds: [
            _measure("idle", folded.workers, paths, count, seconds) for count in CONNECTIONS
        ]
    finally:
        folded.stop()


@contextmanager
def forwarded(folded: Onhand, arena: Arena) -> Iterator[AskForReads]:
    """Two workers; the first is asked only for rows that the second owns.

    Then again by a caller who takes what the first one's standby has.

    Args:
        folded: of two workers; they have folded all.
    """
    asked, owner = folded.launch()
    try:
        folded.wait_until_serving()
        foreign = []
        for path in sample_paths(arena)[:1_000]:
            answer = asked.web.get(path)
            if answer and answer.headers.get("onhand-worker", "").rstrip("/") == owner.url:
                foreign.append(path)
        say(f"reads, forwarded: {len(foreign)} of 1,000 sampled rows belong to the other worker")
        near = [f"{path}?max_lag_events={NEAR_ENOUGH}" for path in foreign]
        kinds = (("forwarded", foreign), ("standby", near)) if foreign else ()
        yield lambda seconds: [
            _measure(what, folded.workers, paths, count, seconds)
            for what, paths in kinds
            for count in CONNECTIONS
        ]
    finally:
        folded.stop()


def reads_beside_folding(arena: Arena, seconds: float) -> list[Reads]:
    """Fresh installations fold the whole set and are asked for rows meanwhile.

    Rows that are not folded yet are 404s, partitions not taken over yet 503s:
    both count as answers.
    """
    paths = sample_paths(arena)
    reads = []
    for count in CONNECTIONS:
        installation = Onhand(arena, label=f" asked by {count}")
        worker = _start(installation)
        try:
            before = worker.handled()
            found = _measure(BESIDE_FOLDING, [worker], paths, count, seconds)
            after = worker.handled()
        finally:
            installation.stop()
        # The warm-up folds too, and a backlog that ended early would make this look slow.
        rate = (after - before) / (seconds + WARM_UP_S)
        ended = BACKLOG_ENDED if after >= arena.full.oracle.records else ""
        reads.append(replace(found, what=f"{BESIDE_FOLDING} {rate:,.0f} events/s{ended}"))
    return reads


def pulse_beside_folding(arena: Arena) -> Pulse:
    """One fresh installation folds the whole set; only `/live` is asked, at a fixed pace."""
    installation = Onhand(arena, label=" with a pulse")
    worker = _start(installation)
    took_ms: list[float] = []
    wanted = arena.full.oracle.records
    started = time.perf_counter()
    before = handled = worker.handled()
    try:
        while handled < wanted and time.perf_counter() - started < arena.timeout_s:
            asked_at = time.perf_counter()
            worker.web.get("/live")
            answered_at = time.perf_counter()
            took_ms.append((answered_at - asked_at) * 1_000)
            time.sleep(max(0.0, PULSE_EVERY_S - (answered_at - asked_at)))
            if len(took_ms) % PULSES_PER_COUNT == 0:
                handled = worker.handled()
    finally:
        installation.stop()
    took_ms.sort()
    pulse = Pulse(
        asked=len(took_ms),
        p50_ms=quantile(took_ms, 0.50),
        p99_ms=quantile(took_ms, 0.99),
        max_ms=took_ms[-1],
        folded=handled - before,
        seconds=time.perf_counter() - started,
    )
    say(
        f"pulse beside folding: p50 {pulse.p50_ms:.1f} ms, p99 {pulse.p99_ms:.1f} ms, "
        f"max {pulse.max_ms:.1f} ms"
    )
    return pulse


def _start(installation: Onhand) -> Worker:
    """One fresh worker that has just begun to fold."""
    installation.start()
    [worker] = installation.workers
    ticker = Ticker()
    while not installation.begun():
        worker.process.must_run()
        ticker.say(f"{installation.name}: starting")
        time.sleep(LOOK_EVERY_S)
    return worker
