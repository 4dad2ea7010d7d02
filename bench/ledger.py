"""`python -m bench.ledger`: the ledger beside its peers, on both databases, and the audit."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from sqlalchemy import text

from app.counting.worker import settle_memory
from bench.__main__ import BROKER_SETTINGS, OUT
from bench.facts.events import facts
from bench.facts.load import Load, load
from bench.facts.oracle import FIELDS, Oracle, compare, row_key
from bench.harness.contest import Arena, TopicSet
from bench.harness.machine import describe
from bench.harness.progress import say
from bench.history import beside, questions
from bench.history.log import Batch, batches, ends_of, hot_batches
from bench.history.shares import shares
from bench.history.writers import (
    WINDOW,
    Bare,
    OurLedger,
    WritesBatches,
    by_copy,
    by_executemany,
    by_insert,
    cpu_s,
)
from dev.kafka import start
from dev.postgres import Postgres, postgres_started

EVENTS, HOT_EVENTS, QUESTIONS = 400_000, 100_000, 300
QUICK_EVENTS, QUICK_HOT_EVENTS, QUICK_QUESTIONS = 60_000, 5_000, 50
#: A log that is long enough for somebody to wait for a ledger of it.
LONG_EVENTS = 1_000_000
#: Of the batches, for who inserts each event by itself, and for the ledger beside it.
FEW_BATCHES = 3
#: Ids of all windows of a full ledger: three topics, 12 partitions, 100,000 of each.
FULL_WINDOWS = 36 * WINDOW
BOTH = ("sqlite", "postgresql")


class Judged:
    """The table of what was aimed for."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def least(self, what: str, value: float, limit: float, unit: str = " ×") -> None:
        """More is better."""
        self._line(what, f"≥ {limit:,g}{unit}", f"{_number(value)}{unit}", value >= limit)

    def most(self, what: str, value: float, limit: float, unit: str = " ms") -> None:
        """Less is better."""
        self._line(what, f"≤ {limit:,g}{unit}", f"{_number(value)}{unit}", value <= limit)

    def _line(self, what: str, wanted: str, measured: str, is_met: bool) -> None:
        word = "met" if is_met else "**missed**"
        self.lines.append(f"| {what} | {wanted} | {measured} | {word} |")
        say(f"{what}: {measured} ({wanted}, {word})")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"


class Databases:
    """Empty ones."""

    def __init__(self, server: Postgres | None, folder: Path) -> None:
        self._server, self._folder, self._made = server, folder, 0

    def new(self, kind: str) -> str:
        """Its URL."""
        self._made += 1
        if kind == "sqlite":
            return f"sqlite:///{self._folder}/{self._made}.db"
        assert self._server is not None
        return self._server.new_database()


class Pace(NamedTuple):
    """events_per_s: by the clock. cpu_us: of an event, in this process and in the database's."""

    events_per_s: float
    cpu_us: float


def _events_of(log: Sequence[Batch]) -> int:
    return sum(len(records) for batch in log for records in batch.values())


def timed(side: WritesBatches, log: Sequence[Batch]) -> Pace:
    """Until all is there: of who is built at the end, sums and indexes too."""
    events = _events_of(log)
    try:
        before_s, began = cpu_s(side.engine), time.perf_counter()
        for batch in log:
            side.write(batch)
        side.finish()
        took_s, used_s = time.perf_counter() - began, cpu_s(side.engine) - before_s
    finally:
        side.close()
    return Pace(events / took_s, used_s / events * 1e6)


def write(kind: str, fresh: Databases, log: Sequence[Batch], rounds: int, judged: Judged) -> None:
    """All sides in turn, round by round; ratios of each round."""
    bare = by_executemany if kind == "sqlite" else by_copy
    sides: dict[str, Callable[[], Pace]] = {
        "ledger": lambda: timed(OurLedger(fresh.new(kind)), log),
        "bare": lambda: timed(Bare(fresh.new(kind), bare), log),
    }
    if kind == "postgresql":
        few = log[:FEW_BATCHES]
        sides["ledger, few"] = lambda: timed(OurLedger(fresh.new(kind)), few)
        sides["insert"] = lambda: timed(Bare(fresh.new(kind), by_insert, keeps_sums=False), few)
    paces = _in_turn(kind, sides, rounds)
    steady = [pace.events_per_s for pace in paces["ledger"]]
    judged.least(f"{kind}: events/s", median(steady), 20_000, "/s")
    _ratio(judged, f"{kind}: of a bare loop", paces["ledger"], paces["bare"], 0.7)
    if kind == "postgresql":
        _ratio(judged, f"{kind}: of INSERT per event", paces["ledger, few"], paces["insert"], 5)


def backfill(
    kind: str, fresh: Databases, log: Sequence[Batch], rounds: int, judged: Judged
) -> None:
    """A ledger of the whole log, with sums and indexes at the end and with them all the time."""
    sides: dict[str, Callable[[], Pace]] = {
        "steady": lambda: timed(OurLedger(fresh.new(kind)), log),
        "backfill": lambda: timed(OurLedger(fresh.new(kind), built_from=10**6), log),
    }
    paces = _in_turn(kind, sides, rounds)
    what = f"{kind}: backfill of {_events_of(log):,} events, of the steady rate"
    _ratio(judged, what, paces["backfill"], paces["steady"], 2)


def _in_turn(
    kind: str, sides: Mapping[str, Callable[[], Pace]], rounds: int
) -> dict[str, list[Pace]]:
    paces: dict[str, list[Pace]] = {name: [] for name in sides}
    for number in range(rounds):
        for name in list(sides)[:: 1 if number % 2 == 0 else -1]:
            paces[name].append(pace := sides[name]())
            say(f"{kind}, {name}: {pace.events_per_s:,.0f} events/s, {pace.cpu_us:.1f} µs of CPU")
    return paces


def _ratio(
    judged: Judged, what: str, ours: Sequence[Pace], theirs: Sequence[Pace], limit: float
) -> None:
    """By the clock; by CPU it is said besides, since other load does not move that."""
    pairs = list(zip(ours, theirs, strict=True))
    ratios = [one.events_per_s / other.events_per_s for one, other in pairs]
    by_cpu = median(other.cpu_us / one.cpu_us for one, other in pairs)
    spread = f" ({min(ratios):.2f} to {max(ratios):.2f}; by CPU {by_cpu:.2f})"
    judged.least(what + spread, median(ratios), limit)


def show_shares(kind: str, fresh: Databases, log: Sequence[Batch]) -> None:
    """µs of CPU an event by step, kept up with each batch and built at the end."""
    steady = shares(fresh.new(kind), log, built_from=0)
    built = shares(fresh.new(kind), log, built_from=10**6)
    print(f"\n| {kind}, µs an event | steady | backfill |\n|---|---|---|")
    for step in dict.fromkeys([*steady, *built]):
        print(f"| {step} | {steady.get(step, 0.0):.1f} | {built.get(step, 0.0):.1f} |")
    print(f"| all | {sum(steady.values()):.1f} | {sum(built.values()):.1f} |\n")


def ask(kind: str, url: str, log: list[Batch], hot: int, times: int, judged: Judged) -> bool:
    """Fill one, check its rows, ask; whether its rows were right."""
    ledger = OurLedger(url)
    nothing_s = _opened_s(ledger)
    for batch in log:
        ledger.write(batch)
    is_right = _is_right(ledger, _events_of(log))
    for batch in hot_batches(hot, ends_of(log)):
        ledger.write(batch)
    say(f"{kind}: {questions.snapshots_made(ledger.engine):,} snapshots made")
    took_s, ids = _opened_s(ledger), ledger.ids_in_windows()
    what = f"{kind}: a restart loads its windows, as if they were full ({took_s:.2f} s for {ids:,})"
    judged.most(what, nothing_s + (took_s - nothing_s) * FULL_WINDOWS / ids, 5, " s")
    for answered in questions.asked(url, times):
        limit = {"as of an occurred time": 60, "one fact by its id": 2}.get(answered.what, 15)
        what = f"{kind}: {answered.what}, {answered.of}, p99 (p50 {answered.p50_ms:.2f} ms)"
        judged.most(what, answered.p99_ms, limit)
    ledger.close()
    return is_right


def _opened_s(ledger: OurLedger) -> float:
    began = time.perf_counter()
    ledger.opened()
    return time.perf_counter() - began


def _is_right(ledger: OurLedger, events: int) -> bool:
    oracle = Oracle()
    for fact in facts(events, seed=1):
        oracle.count(
            kind=fact.kind, sku=fact.sku, location=fact.location, quantity=fact.quantity,
            source=fact.source, id=fact.id,
        )  # fmt: skip
    with ledger.engine.begin() as connection:
        columns = ", ".join(FIELDS)
        found = {
            row_key(sku, location): tuple(map(int, sums))
            for sku, location, *sums in connection.execute(
                text(f"SELECT sku, location, {columns} FROM stock")
            )
        }
    verdict = compare(oracle, found)
    say(str(verdict))
    return "right" in str(verdict) and "WRONG" not in str(verdict)


def with_kafka(given: argparse.Namespace, judged: Judged) -> None:
    """What needs a broker and workers."""
    with start(settings=BROKER_SETTINGS) as kafka:
        word = f"ledger{int(time.time()):x}"
        plan = Load(events=given.events)
        oracle = load(kafka.bootstrap, {f"{word}.": given.events}, plan)[f"{word}."]
        topics = TopicSet(f"{word}.", oracle)
        arena = Arena(kafka.bootstrap, plan.partitions, word, topics, topics, OUT.resolve(), 300.0)
        audit = beside.audit_beside_raw(arena, given.rounds)
        judged.least("audit, of raw fetch of the same topics", audit.ratio, 0.25)
        what = f"audit, its memory ({audit.peak_mb:.0f} MB) of that for one partition alone"
        judged.most(what, audit.peak_mb / audit.one_mb, 1.5, " ×")
        found = beside.worker_beside_ledger(arena, given.seconds, given.rounds)
        judged.most(
            "CPU of a worker beside a ledger, 5,000 events/s", found.change(0), 5, " % more"
        )
        judged.most("reads p99 of a worker beside a ledger", found.change(1), 5, " % more")


def _pieces(given: argparse.Namespace) -> Iterator[str]:
    yield from (given.only.split(",") if given.only else ("write", "backfill", "ask"))


def main() -> int:
    """Measure, print the table; 1 where a row was wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument(
        "--events", type=int, default=0, help=f"({EVENTS:,}; backfill {LONG_EVENTS:,})"
    )
    parser.add_argument("--rounds", type=int, default=3, help="of all sides in turn (3)")
    parser.add_argument("--seconds", type=float, default=15.0, help="of a stretch beside (15)")
    parser.add_argument(
        "--only", help="comma-separated, of: write, backfill, ask (these without it), shares, kafka"
    )
    parser.add_argument("--quick", action="store_true", help="little of everything, to try it out")
    given = parser.parse_args()
    long = given.events or (QUICK_EVENTS if given.quick else LONG_EVENTS)
    given.events = given.events or (QUICK_EVENTS if given.quick else EVENTS)
    hot, times = (QUICK_HOT_EVENTS, QUICK_QUESTIONS) if given.quick else (HOT_EVENTS, QUESTIONS)
    judged, wanted, wrong = Judged(), list(_pieces(given)), []
    began = describe()
    with tempfile.TemporaryDirectory() as folder, postgres_started(is_durable=True) as server:
        fresh, log = Databases(server, Path(folder)), batches(given.events)
        settle_memory()  # as the ledger does
        for kind in BOTH:
            if "shares" in wanted:
                show_shares(kind, fresh, log)
            if "write" in wanted:
                write(kind, fresh, log, given.rounds, judged)
            if "backfill" in wanted:
                backfill(kind, fresh, batches(long), given.rounds, judged)
            if "ask" in wanted and not ask(kind, fresh.new(kind), log, hot, times, judged):
                wrong.append(kind)
    if "kafka" in wanted:
        with_kafka(given, judged)
    for key, value in began.items():
        print(f"- {key}: {value}")
    print(f"\n{given.events:,} events, {given.rounds} rounds in turn\n")
    print("| target | wanted | measured | |\n|---|---|---|---|")
    print("\n".join(judged.lines))
    for kind in wrong:
        print(f"WRONG ROWS: {kind}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
