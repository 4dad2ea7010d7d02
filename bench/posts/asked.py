"""Processes that take facts by HTTP."""

import time
from collections.abc import Callable
from typing import Protocol

from bench.facts.load import create_sources
from bench.facts.oracle import Oracle
from bench.harness.contest import Arena, TopicSet
from bench.harness.machine import REPO
from bench.harness.measure import DidNotFinish, Process
from bench.onhand.contestant import Onhand
from bench.peers.bare_posts import LISTENING
from dev.kafka import free_port

TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.05


class Asked(Protocol):
    """A process that takes POSTs."""

    port: int
    process: Process

    def handled(self) -> int | None:
        """Facts that are counted; None where it counts none."""


class Bare:
    """`bench.peers.bare_posts`."""

    def __init__(self, arena: Arena) -> None:
        prefix = f"{arena.run}bare."
        create_sources(arena.kafka, prefix, arena.partitions)
        self.port = free_port()
        argv = [arena.python, "-m", "bench.peers.bare_posts", arena.kafka, f"{prefix}sales"]
        self.process = Process([*argv, str(self.port)], arena.log(f"{prefix}log"), cwd=REPO)
        until(lambda: LISTENING in self.process.log.read_text(), self.process)

    def handled(self) -> None:
        """It counts nothing."""


class OfOnhand:
    """One worker on topics of its own."""

    def __init__(self, arena: Arena) -> None:
        onhand = Onhand(arena, topics=TopicSet(f"{arena.run}.", Oracle()))
        onhand.start()
        [self._worker] = onhand.workers
        self.port, self.process = self._worker.web.port, self._worker.process
        until(self._is_ready, self.process)

    def _is_ready(self) -> bool:
        answer = self._worker.web.get("/ready")
        return answer is not None and answer.status == 200

    def handled(self) -> int:
        """Committed."""
        return self._worker.handled()


def until(holds: Callable[[], bool], process: Process) -> None:
    """Return when it holds.

    Raises:
        DidNotFinish: the process ended, or it took too long.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        process.must_run()
        if time.monotonic() > deadline:
            raise DidNotFinish(f"not so far after {TIMEOUT_S:.0f} s; see {process.log}")
        time.sleep(LOOK_EVERY_S)
