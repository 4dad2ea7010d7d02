"""`make demo-upgrade`: a version with other rules takes over under traffic, and back, and again.

Two workers of version 1, two of version 2, which counts by rules 3: damaged returns do not come
back to stock, and a sale may be voided, which rules 2 refuse. Readers ask all ready workers all
the time; each answer is held against the log by the rules of the version that it names.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp

from dev.demo.scoreboard import Readings, clock
from dev.demo.stage import PARTITIONS, Stage
from dev.demo.steps import Clock, Failed, all_owned, compared, on_stage, port, shown, stop
from dev.oracle.log import FollowingOracle, oracle_of
from dev.oracle.stock import Oracle
from dev.reads.answers import Answer, Reader, reading
from dev.reads.verdicts import back_in_time
from dev.switches.running import RULES
from dev.switches.verdicts import back_in_version
from dev.traffic.sending import KafkaSink, Traffic, run_tag
from dev.traffic.shop import Habits, Shop
from dev.workers import Late, Worker, onhand

SKUS, STORES, SEED = 500, 20, 1
EVENTS_PER_S, READS_PER_S = 300, 100
HABITS = Habits(returned=0.06, damaged=0.5, voided=0.004)
#: Caught up means so for a minute; nobody watches a demo for that.
STABLE = ("--stable", "5s")
#: Between two switches.
SHOW_S, LINE_EVERY_S = 4.0, 2.0
HEADING = "         reads  version 1  version 2  failed  wrong  slowest"


class Parts(NamedTuple):
    """What runs while the chapter runs. answers: all of them."""

    stage: Stage
    traffic: Traffic
    following: Mapping[int, FollowingOracle]
    readings: Readings
    answers: list[Answer]
    began: float


async def main_async() -> None:
    """Set up, switch, compare."""
    steps = Clock(4)
    async with on_stage(steps) as (stage, folder):
        await _on(stage, folder, steps)


async def _on(stage: Stage, folder: Path, steps: Clock) -> None:
    first, second = stage.variables, stage.variables | {"ONHAND_VERSION": "2"}
    code, said = await onhand("topics", "create", settings=first)
    if code:
        raise Failed(said)
    old = [Worker("a", folder, first, port(6066)), Worker("b", folder, first, port(6067))]
    new = [Worker("c", folder, second, port(6068)), Worker("d", folder, second, port(6069))]
    try:
        for worker in old:
            worker.start()
        for worker in old:
            await worker.ready()
        await all_owned(old)
        told = "   ".join(f"{w.name} {w.url} (pid {w.pid})" for w in old)
        steps.say(3, "Workers", f"of version 1: {told}")
        async with running(stage, [*old, *new]) as parts:
            said = f"{EVENTS_PER_S} events/s · {READS_PER_S} reads/s through all ready workers"
            steps.say(4, "Traffic", f"{said} · some returns damaged, some sales voided")
            await _chapter(parts, old, new)
    except Late as late:
        raise Failed(str(late)) from None
    finally:
        await stop([*old, *new])


@asynccontextmanager
async def running(stage: Stage, workers: Sequence[Worker]) -> AsyncIterator[Parts]:
    """Traffic, readers, and the log counted by both rules, until the end of the block."""
    kafka, prefix = stage.settings.kafka, stage.settings.topic_prefix
    traffic, readings, answers = Traffic(EVENTS_PER_S), Readings(), list[Answer]()
    sink = KafkaSink(kafka, prefix, traffic.acked)
    await sink.start()
    tag = run_tag()
    shop = Shop(seed=SEED, skus=SKUS, stores=STORES, partitions=PARTITIONS, run=tag, habits=HABITS)
    keys = [(sku, store) for sku in shop.skus[:100] for store in shop.stores]

    def took(answer: Answer) -> None:
        answers.append(answer)
        readings.took(answer)

    reader = Reader([w.url for w in workers], keys, READS_PER_S, took, timeout_s=10)
    following = {
        version: FollowingOracle(kafka, Oracle(PARTITIONS, prefix, rules=rules))
        for version, rules in RULES.items()
    }
    sending = asyncio.create_task(traffic.run(shop, sink))
    try:
        async with reading(reader):
            parts = Parts(stage, traffic, following, readings, answers, time.monotonic())
            board = asyncio.create_task(_scoreboard(parts))
            try:
                yield parts
                if board.done():
                    board.result()  # a wrong answer
            finally:
                board.cancel()
            if sending.done():
                sending.result()
    finally:
        sending.cancel()
        await sink.stop()
        for one in following.values():
            one.close()


async def _scoreboard(parts: Parts) -> None:
    """A line every two seconds, for ever."""
    print(f"\n{HEADING}", flush=True)
    while True:
        await asyncio.sleep(LINE_EVERY_S)
        _judge(parts)
        seen = parts.readings
        versions = "".join(f"{seen.versions[version]:>11,}" for version in RULES)
        rest = f"{seen.failed:>8,}  {len(seen.wrong):>5,}  {seen.slowest_ms:>4,.0f} ms"
        print(
            f"{clock(time.monotonic() - parts.began)}{seen.reads:>9,}{versions}{rest}", flush=True
        )
        seen.start_again()


def _judge(parts: Parts) -> None:
    for version, one in parts.following.items():
        parts.readings.judge(one, version)
    if parts.readings.wrong:
        raise Failed("wrong answer: " + parts.readings.wrong[0])


async def _chapter(parts: Parts, old: Sequence[Worker], new: Sequence[Worker]) -> None:
    await asyncio.sleep(SHOW_S)
    await _upgrade(parts, "stage", "2", "--note", "damaged returns")
    for worker in new:
        worker.start()
    told = ", ".join(f"{worker.name} (pid {worker.pid})" for worker in new)
    print(f"  started with ONHAND_VERSION=2: {told}", flush=True)
    await _upgrade(parts, "status", "--wait", "5m", *STABLE, last=5)
    await _upgrade(parts, "diff")
    accept = ("--accept", "accepted-now,damaged-returns")
    await _upgrade(parts, "promote", "2", *accept, *STABLE)
    await asyncio.sleep(SHOW_S)
    await _upgrade(parts, "status", "--wait", "5m", *STABLE, show=False)
    await _upgrade(parts, "rollback", *STABLE)
    await asyncio.sleep(SHOW_S)
    await _upgrade(parts, "status", "--wait", "5m", *STABLE, show=False)
    await _upgrade(parts, "promote", "2", *accept, *STABLE)
    await asyncio.sleep(SHOW_S)
    await _upgrade(parts, "log")
    parts.traffic.running.clear()
    await _compare(parts, [*old, *new])


async def _upgrade(parts: Parts, *arguments: str, last: int = 0, show: bool = True) -> None:
    """Run the command as an operator does, and print what it says (or its last lines)."""
    code, said = await onhand("upgrade", *arguments, settings=parts.stage.variables, timeout_s=320)
    if code:
        raise Failed(f"onhand upgrade {' '.join(arguments)}: exit code {code}\n{said}")
    if show:
        print(f"$ onhand upgrade {' '.join(arguments)}")
        # Without what it says while it works.
        lines = [line for line in said.splitlines() if line and not line.endswith("…")][-last:]
        print("".join(f"  {line}\n" for line in lines), end="", flush=True)


async def _compare(parts: Parts, workers: Sequence[Worker]) -> None:
    """Every row through every door against the log by rules 3; every answer, by its version."""
    settings = parts.stage.settings
    oracle = await asyncio.to_thread(
        oracle_of,
        settings.kafka,
        partitions=PARTITIONS,
        prefix=settings.topic_prefix,
        rules=RULES[2],
    )
    print("Traffic paused; the whole log read again from offset 0 by other code, by rules 3:")
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        for worker in workers:
            found = await compared(http, worker, oracle)
            print(f"         {found} (through worker {worker.name})", flush=True)
            if found.differ:
                raise Failed("rows differ from the log")
    _judge(parts)
    answers = list(parts.answers)
    failed = [one for one in answers if one.status not in (200, 404)]
    back = [*back_in_version(answers), *back_in_time(answers, {})]
    print(
        f"         {len(answers):,} reads in {clock(time.monotonic() - parts.began)}: "
        f"{len(failed):,} failed, {len(parts.readings.wrong):,} wrong for the version they name, "
        f"{len(back):,} back in version or time through one worker.",
        flush=True,
    )
    if failed:
        print(f"         The first that failed: {failed[0]}", flush=True)
    if back:
        raise Failed(back[0])


def main() -> int:
    """Run the chapter; exit code 0 only if nothing was wrong or went back."""
    argparse.ArgumentParser(prog="python -m dev.demo.upgrade", description=__doc__).parse_args()
    return shown(main_async())


if __name__ == "__main__":
    sys.exit(main())
