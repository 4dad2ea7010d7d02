"""A deployment with workers of two versions, switched under an open loop that is judged after."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import aiohttp

from app.config import Settings
from app.upgrades.moves import FORCES
from app.upgrades.record import recorded
from dev.kafka import Kafka
from dev.oracle.rows import compare
from dev.reads.answers import read_list
from dev.switches.running import Tally, moves, open_loop, oracles
from dev.switches.verdicts import SwitchVerdict, judge_switches
from dev.workers import Worker, onhand, until
from tests.support.cluster.upgrading import upgraded
from tests.support.cluster.workers import Cluster
from tests.support.judges.record import VARIABLE

PARTITIONS = 4
KEYS = [(f"SKU-{n:03}", f"store-{n % 5}") for n in range(200)]
#: By the rules of either version rows differ, for these reasons.
ACCEPT = ("--accept", "accepted-now,damaged-returns")
#: Whatever speaks against it, but rows that nobody can explain.
FORCED = [word for name in FORCES if name != "unexplained-rows" for word in ("--force", name)]
#: For what goes wrong: enough to see every answer that would be one too many.
FEW_READS_PER_S, FEW_FACTS_PER_S = 50.0, 100.0
#: Between two switches, so that what is quiet can be told from what is not.
QUIET_S = 3.0
#: Nobody waits a minute for a test.
STABLE = ("--stable", "3s")


class Switching:
    """Workers a, b, … of version 1 and others of version 2, which may be of a mutated build."""

    def __init__(self, kafka: Kafka, folder: Path, settings: dict[str, str] | None = None) -> None:
        given = settings or {}
        self.one = Cluster(kafka.bootstrap, folder, PARTITIONS, settings=dict(given))
        second = {**given, "ONHAND_VERSION": "2"}
        self.two = Cluster(kafka.bootstrap, folder, PARTITIONS, name=self.one.name, settings=second)
        self.settings = Settings.from_env(self.one.settings)

    @property
    def workers(self) -> list[Worker]:
        return [*self.one.workers.values(), *self.two.workers.values()]

    async def upgrade(self, *arguments: str, code: int = 0) -> str:
        found, said = await onhand("upgrade", *arguments, settings=self.one.settings, timeout_s=240)
        assert found == code, f"{arguments}: {found}\n{said}"
        return said

    async def set_up(self, ones: str, twos: str) -> None:
        """Start them (a name is a letter); version 2 is staged, and caught up."""
        await self.one.create_topics()
        await self.one.start(*ones)
        await self.upgrade("stage", "2")
        for name in twos:
            self.two.launch(name)
        await self.caught_up()

    async def caught_up(self) -> None:
        """The version that is not active is where the active one is."""
        await self.upgrade("status", "--wait", "4m", *STABLE)

    async def promote(self, *more: str, codes: Sequence[int] = (0,)) -> str:
        words = ("promote", "2", *ACCEPT, *STABLE, *more)
        return await upgraded(self.one.settings, *words, codes=codes)

    async def rollback(self, *more: str, codes: Sequence[int] = (0,)) -> str:
        return await upgraded(self.one.settings, "rollback", *STABLE, *more, codes=codes)

    async def recorded(self, epoch: int, switching: asyncio.Task[str]) -> None:
        """Wait for the record with this number, as whoever reads the topic sees it."""

        async def so() -> bool:
            if switching.done():
                await switching
            return len((await recorded(self.settings)).entries) >= epoch

        await until(so, f"record {epoch}", 120, every_s=0.01)

    async def every_door_answers(self, version: int) -> None:
        """Every living worker has gone over."""
        alive = [worker for worker in self.workers if worker.alive]

        async def so() -> bool:
            return all([await answering(worker.url) == version for worker in alive])

        await until(so, f"every door answers from version {version}", 60)

    def open_loop(
        self, reads_per_s: float, facts_per_s: float
    ) -> AbstractAsyncContextManager[Tally]:
        """Reads and facts through all doors during the block."""
        urls = [worker.url for worker in self.workers]
        return open_loop(self.settings, self.one.folder, urls, KEYS, reads_per_s, facts_per_s)

    async def judged(self, tally: Tally) -> SwitchVerdict:
        """Hold every answer against the log, by the rules of the version that it is of."""
        found = oracles(self.settings), await moves(self.settings)
        return judge_switches(tally.answers, tally.posts, *found, self.one.starts | self.two.starts)

    async def assert_exact(self, version: int, tally: Tally) -> None:
        """Every accepted fact is counted once, and every door lists the rows of this version."""
        await self.one.caught_up()
        oracle = oracles(self.settings)[version]
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            for worker in self.workers:
                if worker.alive:
                    found = compare(oracle.rows(), await read_list(http, worker.url))
                    assert not found.differ, f"through {worker.name}: {found}"
        accepted = sum(post.facts for post in tally.posts if post.status == 202)
        counted = sum(oracle.applied.values())
        assert accepted <= counted, (accepted, counted)

    def logs(self) -> str:
        return f"{self.one.logs()}\n{self.two.logs()}"

    def close(self) -> None:
        self.one.close()
        self.two.close()


@asynccontextmanager
async def two_versions(
    kafka: Kafka, folder: Path, settings: dict[str, str] | None = None
) -> AsyncIterator[Switching]:
    """A deployment, ended whatever happens; a failure shows the last words of every worker."""
    both = Switching(kafka, folder, settings)
    try:
        yield both
    except AssertionError as error:
        raise AssertionError(f"{error}\n{both.logs()}") from None
    finally:
        for worker in both.workers:
            if worker.alive:
                worker.thaw()
        both.close()


async def answering(url: str) -> int:
    """The version that a worker answers from; 0 where it does not answer."""
    timeout = aiohttp.ClientTimeout(total=5)
    sku, location = KEYS[0]
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as http,
            http.get(f"{url}/v1/inventory/{sku}/{location}") as got,
        ):
            return int(got.headers.get("Onhand-Version", 0)) if got.status in (200, 404) else 0
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0


def keep_figures(what: str, verdict: SwitchVerdict) -> None:
    """One line for docs/reliability.md, where TORTURE_FIGURES names a file."""
    line = {
        "fault": what,
        "reads": verdict.reads,
        "facts": verdict.facts,
        "failed": len(verdict.failed),
        "late": verdict.late,
        "wrong": len(verdict.wrong),
        "back": len(verdict.back),
        "switches": len(verdict.switches),
        "slowest_switch_s": round(max((s.seconds for s in verdict.switches), default=0), 3),
        "quiet_p99_ms": round(verdict.quiet_p99_ms, 1),
        "worst_p99_ms": round(max((s.p99_ms for s in verdict.switches), default=0), 1),
    }
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a") as figures:
            figures.write(json.dumps(line) + "\n")
