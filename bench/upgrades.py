"""`python -m bench.upgrades`: what it costs to let a version take over, and how long it takes.

1. One worker counts the log alone, then one of version 2 counts it from zero while nothing else
   runs: version 1 is not asked anything. With `--catchup` it is read meanwhile: what that bound
   is for is that those who read it do not notice.
2. Both versions' rows are compared while facts come in; with `--switches 0` that is all.
3. Versions are promoted and rolled back in turn, 2 + 2 workers, under an open loop of reads and
   facts through all doors, whose every answer is judged afterwards.

Ratios are held against the goals; nothing fails by a time. The exit code is 1 if a request
failed, an answer was wrong, or somebody went back in version or time.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config import Settings
from bench.facts.load import Load, load
from bench.harness.machine import describe
from bench.harness.progress import say
from bench.harness.targets import Judged, least, most
from bench.onhand.contestant import HANDLED_METRICS
from bench.onhand.httpload import ask, quantile
from bench.onhand.web import Web, inventory_path, metric_sum
from dev.kafka import start
from dev.switches.running import moves, open_loop, oracles
from dev.switches.verdicts import SwitchVerdict, judge_switches
from dev.workers import Worker, onhand, until

PARTITIONS = 12
TIMEOUT_S, LOOK_EVERY_S = 600.0, 0.02
READS_S = 5.0
#: Comparisons, of which the one in the middle counts.
DIFFS = 3
#: For a caught-up version, and between two switches.
STABLE, QUIET_S = ("--stable", "5s"), 3.0
_QUANTILES = ("p50_ms", "p99_ms")
ACCEPT = ("--accept", "accepted-now,damaged-returns")


class Refused(RuntimeError):
    """A command did not do what was asked."""


@dataclass
class Deployment:
    """Workers of two versions over one log."""

    settings: Settings
    variables: dict[str, str]
    folder: Path
    keys: list[tuple[str, str]]
    events: int
    catchup_per_s: int = 0

    def worker(self, name: str, version: int) -> Worker:
        """One more; it is started."""
        own = {"ONHAND_VERSION": str(version)}
        own |= {"ONHAND_CATCHUP_EVENTS_PER_S": str(self.catchup_per_s)}
        worker = Worker(name, self.folder, {**self.variables, **own})
        worker.start()
        return worker

    async def upgrade(self, *arguments: str) -> str:
        """Run the command; again while it is refused, since a busy worker is not heard."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            code, said = await onhand(
                "upgrade", *arguments, settings=self.variables, timeout_s=TIMEOUT_S
            )
            if code == 0:
                return said
            if time.monotonic() > deadline:
                raise Refused(f"onhand upgrade {' '.join(arguments)}: {code} {said}")
            say(said.strip().splitlines()[0])
            await asyncio.sleep(1)


async def counted(worker: Worker, events: int) -> float:
    """Seconds from the last look at which it had counted nothing to the one at which all was."""
    web = Web(worker.port)
    began, done = time.monotonic(), 0

    async def all_of_them() -> bool:
        nonlocal began, done
        page = web.get("/metrics")
        done = int(metric_sum(page.body, *HANDLED_METRICS)) if page else 0
        if not done:
            began = time.monotonic()
        return done >= events

    await until(all_of_them, f"counted by {worker.name}", TIMEOUT_S, every_s=LOOK_EVERY_S)
    web.close()
    return time.monotonic() - began


async def p99_of_reads(worker: Worker, keys: Sequence[tuple[str, str]]) -> float:
    """Of key reads over one connection, ms."""
    paths = [inventory_path(f"{sku}\x00{location}") for sku, location in keys[:500]]
    return (await asyncio.to_thread(ask, worker.port, paths, 1, READS_S)).p99_ms


async def built(at: Deployment) -> tuple[list[Worker], dict[str, float]]:
    """Version 1 counts alone, version 2 after it; the workers and the figures."""
    code, said = await onhand("topics", "create", settings=at.variables)
    if code:
        raise Refused(said)
    first = at.worker("a", 1)
    alone_s = await counted(first, at.events)
    say(f"alone: {at.events / alone_s:,.0f} events/s")
    await first.ready()
    rates = {"alone": at.events / alone_s}
    if at.catchup_per_s:
        rates["read_before_ms"] = await p99_of_reads(first, at.keys)
    await at.upgrade("stage", "2")
    staged = time.monotonic()
    second = at.worker("c", 2)
    counting = asyncio.create_task(counted(second, at.events))
    if at.catchup_per_s:
        await asyncio.sleep(3)  # until it counts
        rates["read_beside_ms"] = await p99_of_reads(first, at.keys)
        if counting.done():
            say("version 2 was done before the reads beside it were: take more --events")
    beside_s = await counting
    say(f"version 2 from zero: {at.events / beside_s:,.0f} events/s")
    await at.upgrade("status", "--wait", "5m", *STABLE)
    rates |= {"second": at.events / beside_s, "caught_up_s": time.monotonic() - staged}
    return [first, second], rates


async def switched(
    at: Deployment, workers: Sequence[Worker], switches: int, reads: float, facts: float
) -> tuple[dict[str, Any], SwitchVerdict]:
    """Compare, then promote and roll back in turn; the comparison and the verdict."""
    urls = [worker.url for worker in workers]
    loop = open_loop(at.settings, at.folder, urls, at.keys[:1_000], reads, facts)
    async with loop as tally:
        await at.upgrade("status", "--wait", "5m", *STABLE)
        reports = []
        for _ in range(DIFFS):
            reports.append(json.loads((await at.upgrade("diff", "--json")).splitlines()[-1]))
            say(f"{reports[-1]['rows']:,} rows compared in {reports[-1]['seconds']:.2f} s")
        for number in range(switches):
            await at.upgrade("status", "--wait", "5m", *STABLE)
            move = ("rollback",) if number % 2 else ("promote", "2", *ACCEPT)
            said = await at.upgrade(*move, *STABLE)
            say(said.splitlines()[0])
            await asyncio.sleep(QUIET_S)
    found = oracles(at.settings), await moves(at.settings)
    report = sorted(reports, key=lambda one: one["seconds"])[DIFFS // 2]
    return report, judge_switches(tally.answers, tally.posts, *found)


@asynccontextmanager
async def deployment(given: argparse.Namespace, kafka: str) -> AsyncIterator[Deployment]:
    """A loaded log, and settings of which nothing runs yet."""
    name, plan = f"up{int(time.time()):x}", Load(events=given.events, partitions=PARTITIONS)
    say(f"loading {given.events:,} events")
    [oracle] = load(kafka, {f"{name}.": given.events}, plan).values()
    variables = {
        "ONHAND_KAFKA": kafka,
        "ONHAND_NAME": name,
        "ONHAND_TOPIC_PREFIX": f"{name}.",
        "ONHAND_PARTITIONS": str(PARTITIONS),
    }
    keys = [(key.split("\x00")[0], key.split("\x00")[1]) for key in oracle.rows]
    with tempfile.TemporaryDirectory(prefix="onhand-bench-") as folder:
        settings = Settings.from_env(variables)
        yield Deployment(settings, variables, Path(folder), keys, oracle.records, given.catchup)


async def run(given: argparse.Namespace, kafka: str) -> int:
    """Measure, print; 1 if anything was not as it must be."""
    workers: list[Worker] = []
    async with deployment(given, kafka) as at:
        try:
            workers, rates = await built(at)
            workers += [at.worker("b", 1), at.worker("d", 2)]
            await workers[2].ready()
            report, verdict = await switched(at, workers, given.switches, given.reads, given.facts)
        finally:
            for worker in workers:
                worker.kill()
    show(given, rates, report, verdict)
    for name, (count, some) in verdict.faults.items():
        say(f"{count:,} {name.upper()}: {some}")
    return 1 if verdict.faults else 0


def goals(rates: dict[str, float], report: dict[str, Any], verdict: SwitchVerdict) -> list[Judged]:
    """What was aimed for, and what came out."""
    seconds = [one.seconds for one in verdict.switches]
    extra = [one.p99_ms - verdict.quiet_p99_ms for one in verdict.switches]
    before, beside = rates.get("read_before_ms"), rates.get("read_beside_ms")
    reads = None if before is None or beside is None else beside / before
    # As fast as it can, or as slowly as it was told to.
    built_at = rates["second"] / rates["alone"] if reads is None else None
    return [
        *most("switch over all workers, slowest", max(seconds, default=None), 1, " s"),
        *most("extra p99 of reads in a switch, worst", max(extra, default=None), 100, " ms"),
        *least("comparison", report["rows"] / report["seconds"], 100_000, " rows/s"),
        *least("version 2 from zero, of alone", built_at, 0.8, " ×"),
        *most("p99 of version 1's reads while version 2 counts, of before", reads, 2, " ×"),
    ]


def show(
    given: argparse.Namespace,
    rates: dict[str, float],
    report: dict[str, Any],
    verdict: SwitchVerdict,
) -> None:
    """The report, as Markdown."""
    for key, value in describe().items():
        print(f"- {key}: {value}")
    seconds = sorted(one.seconds for one in verdict.switches)
    read = ""
    if "read_beside_ms" in rates:
        read = (
            f"p99 of version 1's key reads {rates['read_before_ms']:,.1f} ms, "
            f"while version 2 counts {rates['read_beside_ms']:,.1f} ms.\n"
        )
    medians, tails = ([getattr(one, name) for one in verdict.switches] for name in _QUANTILES)
    print(
        f"\n{given.events:,} events, {report['rows']:,} rows, {PARTITIONS} partitions. Open loop: "
        f"{given.reads:,g} reads/s and {given.facts:,g} facts/s in posts of ten.\n"
        f"{len(seconds)} switches: median {quantile(seconds, 0.5):.2f} s, slowest "
        f"{max(seconds, default=0):.2f} s. Reads outside of them: p50 "
        f"{verdict.quiet_p50_ms:,.1f} ms, p99 {verdict.quiet_p99_ms:,.0f} ms; in the slowest: p50 "
        f"{max(medians, default=0):,.1f} ms, p99 {max(tails, default=0):,.0f} ms.\n"
        f"{verdict.reads:,} reads, {verdict.facts:,} facts: {len(verdict.failed):,} failed, "
        f"{verdict.late:,} later than 2 s, {len(verdict.wrong):,} wrong for the version they "
        f"name, {len(verdict.back):,} back in version or time.\n"
        f"From stage to caught up {rates['caught_up_s']:,.1f} s, of which it has to be so for "
        f"{STABLE[1]}.\n"
        f"Ingest alone {rates['alone']:,.0f} events/s, of version 2 {rates['second']:,.0f}"
        f" ({f'at most {given.catchup:,}' if given.catchup else 'without a bound'}).\n{read}"
    )
    print("| goal | wanted | measured | |\n|---|---|---|---|")
    for one in goals(rates, report, verdict):
        print(f"| {one.what} | {one.wanted} | {one.measured} | {one.word} |")


def main() -> int:
    """Measure on a Kafka of its own."""
    parser = argparse.ArgumentParser(prog="python -m bench.upgrades", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="in the log (1,000,000)")
    parser.add_argument(
        "--catchup", type=int, default=0, help="ONHAND_CATCHUP_EVENTS_PER_S (0: no bound)"
    )
    parser.add_argument("--switches", type=int, default=20, help="promotes and rollbacks (20)")
    parser.add_argument("--reads", type=float, default=500, help="a second (500)")
    parser.add_argument("--facts", type=float, default=2_000, help="a second (2,000)")
    given = parser.parse_args()
    with start() as kafka:
        return asyncio.run(run(given, kafka.bootstrap))


if __name__ == "__main__":
    sys.exit(main())
