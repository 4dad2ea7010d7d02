"""From an assignment to delivering: one of two workers ends, the other takes over for both.

Read in the log of the one that stays: from the line that says its assignment to the line
of each partition that is active. It was a standby for half of them; the half that it keeps
goes through a take-over too. Workers end in turn by SIGTERM and by `kill -9`; the session
of a killed one runs out first (10 s), before the assignment and so before the clock.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from bench.facts.load import Load, load
from bench.harness.contest import Arena, TopicSet
from bench.harness.measure import DidNotFinish
from bench.harness.progress import Ticker, say
from bench.onhand.contestant import Onhand, Worker
from bench.onhand.httpload import quantile
from bench.onhand.probes import traffic

SETTLE_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.1
SEED = 300
#: Rows to hold before the first worker ends.
FIRST_EVENTS = 100_000
#: A round of ends, sessions and starts, at most; for so long there must be traffic.
ROUND_S = 60.0

#: To be read in a worker's log, each take-over is told only where all is.
TELLING_ALL = {"ONHAND_LOG_LEVEL": "DEBUG"}
_LINE = re.compile(r"^(\S+ \S+) DEBUG +tables\.\w+: (Assigned|Partition (\d+) is active)", re.M)


@dataclass(frozen=True)
class TakeOvers:
    """All that were seen.

    Attributes:
        rounds: how often a worker ended.
        seconds: of each partition, from assignment to delivering, ascending.
    """

    rounds: int
    seconds: list[float]

    @property
    def killed(self) -> int:
        """How many of the rounds by `kill -9`."""
        return sum(map(_is_killed, range(self.rounds)))

    @property
    def p50_s(self) -> float:
        """Of single partitions."""
        return quantile(self.seconds, 0.50)

    @property
    def p99_s(self) -> float:
        """Of single partitions."""
        return quantile(self.seconds, 0.99)


def measure_take_overs(arena: Arena, per_s: int, rounds: int) -> TakeOvers:
    """Two workers with their defaults on topics of their own, beside traffic.

    Args:
        arena: partitions and Kafka.
        per_s: events a second meanwhile.
        rounds: how often a worker ends; each gives one take-over of every partition.
    """
    prefixes = {f"{arena.run}.take-over.": FIRST_EVENTS}
    plan = Load(events=FIRST_EVENTS, partitions=arena.partitions)
    [(prefix, oracle)] = load(arena.kafka, prefixes, plan).items()
    topics = TopicSet(prefix, oracle)
    installation = Onhand(arena, 2, topics=topics, label=" take-over", settings=TELLING_ALL)
    installation.start()
    seconds: list[float] = []
    try:
        wait_until_settled(installation)
        with traffic(arena, "take-over", prefix, per_s, rounds * ROUND_S, SEED) as pace:
            for number in range(rounds):
                pace.must_run()
                found = _one_ends(installation, number, arena.partitions)
                say(f"take-over {number + 1} of {rounds}: {found[-1]:.2f} s for all")
                seconds += found
                wait_until_settled(installation)
    finally:
        installation.stop()
    return TakeOvers(rounds, sorted(seconds))


def _is_killed(number: int) -> bool:
    """Each of the two once by SIGTERM, then each once by `kill -9`."""
    return number % 4 > 1


def _one_ends(installation: Onhand, number: int, partitions: int) -> list[float]:
    """Seconds of each partition, ascending; the one that ended is started again."""
    gone = number % 2
    ends, stays = installation.workers[gone], installation.workers[1 - gone]
    seen = stays.process.log.stat().st_size
    if _is_killed(number):
        ends.process.kill()
    else:
        ends.process.stop()
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while len(found := sorted(take_overs(stays, seen))) < partitions:
        stays.process.must_run()
        if time.monotonic() > deadline:
            raise DidNotFinish(f"take-over: {len(found)} of {partitions} partitions in a minute")
        time.sleep(LOOK_EVERY_S)
    installation.start_again(gone)
    return found


def take_overs(worker: Worker, seen: int) -> Iterator[float]:
    """Seconds of each partition since the newest assignment in its log behind byte `seen`.

    The worker must be `TELLING_ALL`.
    """
    text = worker.process.log.read_bytes()[seen:].decode(errors="replace")
    lines = [(datetime.fromisoformat(at), partition) for at, _, partition in _LINE.findall(text)]
    assigned = [i for i, (_, partition) in enumerate(lines) if not partition]
    if assigned:
        began, _ = lines[assigned[-1]]
        yield from ((at - began).total_seconds() for at, _ in lines[assigned[-1] + 1 :])


def wait_until_settled(installation: Onhand, timeout_s: float = SETTLE_TIMEOUT_S) -> None:
    """Return when each worker owns its share of the partitions and stands by for as many."""
    deadline = time.monotonic() + timeout_s
    ticker = Ticker()
    while not all(_is_settled(worker, installation.workers) for worker in installation.workers):
        for worker in installation.workers:
            worker.process.must_run()
        if time.monotonic() > deadline:
            raise DidNotFinish(f"{installation.name}: not settled within {timeout_s:.0f} s")
        ticker.say(f"{installation.name}: waiting until they share the partitions")
        time.sleep(LOOK_EVERY_S)


def _is_settled(asked: Worker, workers: Sequence[Worker]) -> bool:
    answer = asked.web.get("/v1/cluster")
    with suppress(KeyError, TypeError, ValueError):
        cluster = answer.json() if answer and answer.status == 200 else {}
        alive = [each for each in cluster["workers"] if each["alive"]]
        share = len(cluster["partitions"]) // len(workers)
        return len(alive) == len(workers) and all(
            each["active"] == each["standby"] == share for each in alive
        )
    return False
