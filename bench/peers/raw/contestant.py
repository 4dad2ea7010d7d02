"""The ceiling: raw aiokafka."""

import sys

from bench.harness.contest import Arena, Checked, Restored
from bench.harness.machine import REPO
from bench.harness.measure import Process
from bench.peers.raw import fetch


class RawFetch:
    """aiokafka's `getmany` over everything, the records dropped: the ceiling."""

    name = "raw aiokafka fetch"

    def __init__(self, arena: Arena) -> None:
        self.topics = arena.full
        self._arena = arena
        self._process: Process

    def start(self) -> list[Process]:
        """See `Contestant`."""
        argv = [
            sys.executable,
            "-m",
            "bench.peers.raw.fetch",
            self._arena.kafka,
            self.topics.prefix,
        ]
        argv.append(str(self.topics.oracle.records))
        self._process = Process(argv, self._arena.log("raw"), cwd=REPO)
        return [self._process]

    def begun(self) -> bool:
        """See `Contestant`."""
        return self._process.said(fetch.BEGUN)

    def handled(self) -> int:
        """All or nothing: a count on the way would cost the fetch."""
        return self.topics.oracle.records if self._process.said(fetch.FINISHED) else 0

    def check(self) -> Checked:
        """It keeps nothing."""
        return Checked()

    def restore(self) -> Restored | None:
        """It keeps nothing."""
        return None
