"""The goals, held against one run: first ones, and those that were raised since (issue 17).

Nothing fails by them: a shared machine would make a coin toss of it. What is
missed is said, with the figure.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.harness.run import Run
from bench.onhand.lookups import CONNECTIONS, KEYS, LOOKUPS
from bench.onhand.reads import BACKLOG_ENDED, BESIDE_FOLDING

ONE_WORKER = "Onhand, one worker"
WINDOWS_FULL = f"{ONE_WORKER}, windows full"


@dataclass(frozen=True)
class Judged:
    """One goal; `word` is met or MISSED."""

    what: str
    wanted: str
    measured: str
    word: str


def least(what: str, value: float | None, limit: float, unit: str) -> Iterator[Judged]:
    """The goal that a figure is at least so much; none if there is no figure."""
    if value is not None:
        word = "met" if value >= limit else "**missed**"
        yield Judged(what, f"≥ {limit:,g}{unit}", f"{_number(value)}{unit}", word)


def most(what: str, value: float | None, limit: float, unit: str) -> Iterator[Judged]:
    """The goal that a figure is at most so much; none if there is no figure."""
    if value is not None:
        word = "met" if value <= limit else "**missed**"
        yield Judged(what, f"≤ {limit:,g}{unit}", f"{_number(value)}{unit}", word)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


def judge(run: Run) -> list[Judged]:
    """Every goal for which this run has the figures."""
    found = run.by_system()
    ours = found.get(ONE_WORKER)
    judged: list[Judged] = []
    if ours:
        rate = ours.events_per_s
        for start, what, limit in (
            ("Kafka Streams", "ingest, of the best Kafka Streams", 2.2),
            ("naive Faust", "ingest, of naive Faust", 50),
            ("raw aiokafka", "ingest, of raw fetch", 0.5),
        ):
            rates = [each.events_per_s for name, each in found.items() if name.startswith(start)]
            judged += least(what, rate / max(rates) if rates else None, limit, " ×")
        judged += most("CPU per event", ours.cpu_us_per_event, 8, " µs")
        judged += most("peak memory", ours.span.peak_mb, 350, " MB")
        full = found.get(WINDOWS_FULL)
        judged += most("peak memory, windows full", full.span.peak_mb if full else None, 350, " MB")
        if ours.restored:
            restored = ours.restored.records_per_s
            judged += least("restore", restored, 400_000, " records/s")
            others = [
                each.restored.records_per_s
                for name, each in found.items()
                if name.startswith("Kafka Streams") and each.restored
            ]
            ratio = restored / max(others) if others else None
            judged += least("restore, of the best Kafka Streams", ratio, 2.5, " ×")
    judged += _latencies(run)
    if run.pulse:
        judged += most("loop lag p99 at full speed", run.pulse.p99_ms, 25, " ms")
    if run.take_overs:
        judged += most("take-over by a standby p99", run.take_overs.p99_s, 1, " s")
    judged += _reads(run)
    return judged


def _latencies(run: Run) -> Iterator[Judged]:
    for each in run.latencies:
        if each.per_s == 0:
            yield from most("CPU, idle", each.cpu_percent, 3, " %")
            continue
        limit_ms = 200 if each.per_s <= 1_000 else 300
        yield from most(f"append → readable p99, {each.per_s:,}/s", each.p99_ms, limit_ms, " ms")
        if each.per_s <= 1_000:
            yield from most(f"CPU, {each.per_s:,}/s", each.cpu_percent, 25, " %")
    if own := run.own_write:
        what = f"own write visible through the other worker p99, {own.per_s:,}/s"
        yield from most(what, own.p99_ms, 300, " ms")


def _reads(run: Run) -> Iterator[Judged]:
    found = {(each.what, each.answers.connections): each.answers for each in run.reads}
    alone, many = found.get(("idle", 1)), found.get(("idle", 32))
    forwarded = found.get(("forwarded", 1))
    yield from most("key read p50, 1 connection", alone.p50_ms if alone else None, 0.25, " ms")
    yield from least("key reads, 32 connections", many.per_s if many else None, 9_000, "/s")
    added_ms = forwarded.p50_ms - alone.p50_ms if forwarded and alone else None
    yield from most("a forwarded read adds, p50", added_ms, 0.1, " ms")
    yield from most("a forwarded read p99", forwarded.p99_ms if forwarded else None, 3, " ms")
    far, near = found.get(("forwarded", 32)), found.get(("standby", 32))
    share = far.per_s / many.per_s if far and many else None
    yield from least("forwarded reads, 32 connections", share, 0.5, " × local")
    cpu_us = {(each.what, each.answers.connections): each.cpu_us for each in run.reads}
    dearer = cpu_us["forwarded", 32] / cpu_us["idle", 32] if far and many else None
    yield from most("a forwarded read, CPU of both, 32 connections", dearer, 1.5, " × local")
    ratio = near.per_s / far.per_s if near and far else None
    yield from least("reads from a standby, 32 connections", ratio, 1.8, " × forwarded")
    looked_up = found.get((LOOKUPS, CONNECTIONS))
    keys_per_s = looked_up.per_s * KEYS if looked_up else None
    yield from least("lookups over three workers", keys_per_s, 200_000, " keys/s")
    beside = [each for each in run.reads if each.what.startswith(BESIDE_FOLDING)]
    # A backlog that ended meanwhile left the worker idle: its p99 would flatter.
    if beside and not any(each.what.endswith(BACKLOG_ENDED) for each in beside):
        worst_ms = max(each.answers.p99_ms for each in beside)
        yield from most("key reads beside folding p99", worst_ms, 40, " ms")
