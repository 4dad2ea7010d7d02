"""Quix Streams, behind `--quix`: installed then, into a throw-away environment."""

import json
import subprocess
import sys
from functools import cached_property
from pathlib import Path

from bench.facts.oracle import Values, compare, row_key
from bench.harness.broker import GroupProgress, read_changelog, topics_named
from bench.harness.contest import Arena, Checked, Restored
from bench.harness.machine import REPO
from bench.harness.measure import Process
from bench.harness.progress import say

REQUIREMENT = "quixstreams==3.28.1"


class QuixStreams:
    """At least once, on the first events of the set."""

    name = "Quix Streams"

    def __init__(self, arena: Arena) -> None:
        self.topics = arena.full
        self._arena = arena
        self._id = f"{arena.run}-quix"
        self._process: Process

    @cached_property
    def _progress(self) -> GroupProgress:
        return GroupProgress(self._arena.kafka, self.topics.prefix, self._id)

    def _python(self) -> Path:
        """The interpreter that has Quix Streams; made on first use."""
        home = self._arena.folder / "quix-venv"
        python = home / "bin" / "python"
        ready = home / REQUIREMENT
        if not ready.exists():
            say(f"Quix Streams: installing {REQUIREMENT} into {home}")
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", REQUIREMENT], check=True)
            ready.touch()
        return python

    def start(self) -> list[Process]:
        """See `Contestant`."""
        env = {
            "QUIX_KAFKA": self._arena.kafka,
            "QUIX_TOPIC_PREFIX": self.topics.prefix,
            "QUIX_ID": self._id,
            "QUIX_DATA_DIR": str(self._arena.fresh("quix")),
        }
        argv = [str(self._python()), "-m", "bench.peers.quix.app"]
        self._process = Process(argv, self._arena.log("quix"), env=env, cwd=REPO)
        return [self._process]

    def begun(self) -> bool:
        """See `Contestant`."""
        return self._process.said("first event")

    def handled(self) -> int:
        """See `Contestant`."""
        return self._progress()

    def check(self) -> Checked:
        """Its changelog keys are the message key, a bar, and the state's key as JSON."""
        found: dict[str, Values] = {}
        records = size = 0
        for topic in topics_named(
            self._arena.kafka, lambda name: name.startswith(f"changelog__{self._id}-")
        ):
            changelog = read_changelog(self._arena.kafka, topic)
            records += changelog.records
            size += changelog.size_bytes
            for key, value in changelog.latest.items():
                sku, _, location = key.decode().partition("|")
                found[row_key(sku, json.loads(location))] = tuple(json.loads(value))
        return Checked(compare(self.topics.oracle, found), records, size)

    def restore(self) -> Restored | None:
        """Not timed: 51,000 records/s in our notes."""
        return None
