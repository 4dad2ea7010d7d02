"""What readers see while workers and Kafka fail: `python -m tests.availability` prints the table.

Three workers, traffic, and a process that reads through all of them as a load
balancer's clients would (`dev/reads/answers.py`): only ready workers are asked, and
no request is tried twice. Every answer is held against the log at exactly the
position that it claims.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from dev.kafka import Kafka, start
from dev.reads.answers import Answer
from dev.reads.verdicts import Verdict, judge
from dev.workers import ROOT
from tests.support.breaking.faults import passes
from tests.support.cluster.feed import Feeder, a_shop
from tests.support.cluster.workers import Cluster
from tests.support.judges.document import put_table

READS_PER_S, EVENTS_PER_S = 500, 500
REQUEST_TIMEOUT_S = 2.0
GRACE_S = 2.0
BEFORE_S, AFTER_S = 3.0, 5.0
DOCUMENT = ROOT / "docs" / "availability.md"


@dataclass
class Scene:
    """What a case may break.

    Attributes:
        faults: when each fault happened, seconds since the epoch.
    """

    kafka: Kafka
    cluster: Cluster
    feeder: Feeder
    faults: list[float]

    def now(self) -> None:
        """A fault happens now."""
        self.faults.append(time.time())


@dataclass(frozen=True)
class Case:
    """One way to fail.

    Attributes:
        name: as the table shows it.
        happen: break it and mend it.
        never_fails: no request may fail, not even at the moment of the fault.
    """

    name: str
    happen: Callable[[Scene], Awaitable[None]]
    never_fails: bool = False


@dataclass(frozen=True)
class Seen:
    """What the readers of one case saw.

    Attributes:
        at_once: requests that failed and had begun less than 2 s after a fault.
        later: requests that failed at any other time.
    """

    case: Case
    verdict: Verdict
    at_once: list[Answer]
    later: list[Answer]
    faults: list[float]

    @property
    def line(self) -> str:
        """Its line of the table."""
        v = self.verdict
        others = v.roles["standby"] + v.roles["former"]
        return (
            f"| {self.case.name} | {v.asked:,} | {len(v.wrong)} | {len(v.back)} "
            f"| {len(self.at_once):,} | {len(self.later):,} | {v.slowest_ms:,.0f} ms "
            f"| {others:,} in {v.not_owner_s} s | {v.oldest_s:.1f} s |"
        )

    @property
    def broken(self) -> list[str]:
        """The promises that this case broke, with an example of each."""
        told = [*self.verdict.wrong[:2], *self.verdict.back[:2]]
        for answer in [*self.later[:3], *(self.at_once[:3] if self.case.never_fails else [])]:
            after = ", ".join(f"{answer.began - at:.1f} s" for at in self.faults)
            told.append(f"failed {after} after: {answer.status} {answer.problem} of {answer.asked}")
        return told


HEADING = """\
| what happens | reads | wrong | back in time | failed within 2 s | failed later | slowest \
| not by the owner | oldest |
|---|---:|---:|---:|---:|---:|---:|---:|---:|"""


async def nothing(scene: Scene) -> None:
    scene.now()
    await passes(5)


async def killed(scene: Scene) -> None:
    victim = scene.cluster.worker("a")
    scene.now()
    victim.kill()
    await passes(15)
    await scene.cluster.start("a")
    await scene.cluster.settled()


async def frozen(scene: Scene) -> None:
    victim = scene.cluster.worker("b")
    scene.now()
    victim.freeze()
    await passes(30)
    scene.now()
    victim.thaw()
    await scene.cluster.revived()


async def stopped(scene: Scene) -> None:
    scene.now()
    await scene.cluster.worker("c").stop()
    await passes(5)
    await scene.cluster.start("c")
    await scene.cluster.settled()


async def rolled(scene: Scene) -> None:
    for name in ("a", "b", "c"):
        scene.now()
        await scene.cluster.worker(name).stop()
        await scene.cluster.start(name)
        await scene.cluster.settled()


async def wiped(scene: Scene) -> None:
    victim = scene.cluster.worker("a")
    scene.now()
    victim.kill()
    victim.wipe()
    await scene.cluster.start("a")
    await scene.cluster.settled()


async def kafka_away(scene: Scene) -> None:
    scene.now()
    scene.kafka.kill()
    await passes(20)
    scene.kafka.restart()
    await scene.cluster.settled(120)


CASES = {
    "nothing": Case("nothing (to compare with)", nothing, never_fails=True),
    "killed": Case("`kill -9` of an owner, back after 15 s", killed),
    "frozen": Case("SIGSTOP of an owner for 30 s", frozen),
    "stopped": Case("clean stop, back after 5 s", stopped, never_fails=True),
    "rolled": Case("rolling restart of all three", rolled, never_fails=True),
    "wiped": Case("`kill -9`, disk wiped, back at once", wiped),
    "kafka": Case("Kafka away for 20 s", kafka_away, never_fails=True),
}


async def see(case: Case, scene: Scene, reads_per_s: float = READS_PER_S) -> Seen:
    """Let one case happen under load, then judge every answer."""
    cluster = scene.cluster
    shop = a_shop(partitions=cluster.partitions)
    keys = [(sku, store) for sku in shop.skus[:100] for store in shop.stores]
    scene.faults.clear()
    async with cluster.readers(keys, reads_per_s, REQUEST_TIMEOUT_S) as answers:
        await passes(BEFORE_S)
        await case.happen(scene)
        await passes(AFTER_S)
    oracle = await asyncio.to_thread(cluster.oracle)
    verdict = judge(answers, oracle, cluster.starts)
    at_once = [answer for answer in verdict.failed if _soon(answer, scene.faults)]
    later = [answer for answer in verdict.failed if not _soon(answer, scene.faults)]
    return Seen(case, verdict, at_once, later, list(scene.faults))


def _soon(answer: Answer, faults: list[float]) -> bool:
    return any(at - REQUEST_TIMEOUT_S <= answer.began <= at + GRACE_S for at in faults)


async def measure(names: list[str], folder: Path) -> list[Seen]:
    """All cases on one Kafka and three workers, each from a settled cluster."""
    seen = []
    with start() as kafka:
        cluster = Cluster(kafka.bootstrap, folder)
        # What people run: the defaults, not the tests' shorter session.
        del cluster.settings["ONHAND_SESSION_TIMEOUT_MS"]
        try:
            await cluster.create_topics()
            await cluster.start("a", "b", "c")
            await cluster.settled()
            shop = a_shop(partitions=cluster.partitions)
            with cluster.feeding(shop, rate=EVENTS_PER_S) as feeder:
                await feeder.more(5_000)
                for name in names:
                    seen.append(await see(CASES[name], Scene(kafka, cluster, feeder, [])))
                    say("\n  ".join([seen[-1].line, *seen[-1].broken]))
                    await cluster.settled()
            await cluster.assert_exact()
        finally:
            cluster.close()
    return seen


def say(line: str) -> None:
    """To whoever watches."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def write(seen: list[Seen]) -> None:
    """Put the table into docs/availability.md."""
    measured = time.strftime("Measured on %Y-%m-%d; two cores for workers, Kafka and readers.")
    put_table(DOCUMENT, [HEADING, *(one.line for one in seen)], measured)


def main() -> int:
    """Print the table; exit code 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.availability", description=__doc__)
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="default: all")
    parser.add_argument("--write", action="store_true", help="put it into docs/availability.md")
    arguments = parser.parse_args()
    say(HEADING)
    with tempfile.TemporaryDirectory(prefix="onhand-availability-") as folder:
        seen = asyncio.run(measure(arguments.cases or list(CASES), Path(folder)))
    if arguments.write:
        write(seen)
    return 1 if any(one.broken for one in seen) else 0


if __name__ == "__main__":
    sys.exit(main())
