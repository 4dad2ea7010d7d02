"""Faust by the tutorial."""

import json
import sys
from functools import cached_property

from bench.facts.oracle import compare_on_hand, row_key
from bench.harness.broker import GroupProgress, Growth, read_changelog
from bench.harness.contest import Arena, Checked, Restored
from bench.harness.machine import REPO
from bench.harness.measure import Process
from dev.kafka import free_port

NAIVE_COMMIT_INTERVAL_S = 0.5
"""Shorter than Faust's 2.8, so that its clock does not stop on a wait."""


class NaiveFaust:
    """The tutorial's application on the first events of the set: its rate is what counts."""

    name = "naive Faust"

    def __init__(self, arena: Arena) -> None:
        self.topics = arena.small
        self._arena = arena
        self._id = f"{arena.run}-naive"
        self._changelog = f"{self._id}-inventory-changelog"

    @cached_property
    def _progress(self) -> GroupProgress:
        return GroupProgress(self._arena.kafka, self.topics.prefix, self._id)

    @cached_property
    def _grown(self) -> Growth:
        return Growth(self._arena.kafka, self._changelog)

    def start(self) -> list[Process]:
        """See `Contestant`."""
        env = {
            "NAIVE_KAFKA": self._arena.kafka,
            "NAIVE_TOPIC_PREFIX": self.topics.prefix,
            "NAIVE_ID": self._id,
            "NAIVE_DATA_DIR": str(self._arena.fresh("naive")),
            "NAIVE_PARTITIONS": str(self._arena.partitions),
            "NAIVE_COMMIT_INTERVAL_S": str(NAIVE_COMMIT_INTERVAL_S),
            "NAIVE_WEB_PORT": str(free_port()),
        }
        argv = [
            sys.executable,
            "-m",
            "faust",
            "-A",
            "bench.peers.naive.app",
            "worker",
            "-l",
            "info",
        ]
        return [Process(argv, self._arena.log("naive"), env=env, cwd=REPO)]

    def begun(self) -> bool:
        """Its first event shows in the changelog."""
        return self._grown()

    def handled(self) -> int:
        """See `Contestant`."""
        return self._progress()

    def check(self) -> Checked:
        """It keeps what is on hand and nothing else, as JSON."""
        changelog = read_changelog(self._arena.kafka, self._changelog)
        found: dict[str, int] = {}
        for key, value in changelog.latest.items():
            sku, _, location = json.loads(key).partition("|")
            found[row_key(sku, location)] = json.loads(value)
        verdict = compare_on_hand(self.topics.oracle, found)
        return Checked(verdict, changelog.records, changelog.size_bytes)

    def restore(self) -> Restored | None:
        """Not timed: 9,000 records/s in our notes."""
        return None
