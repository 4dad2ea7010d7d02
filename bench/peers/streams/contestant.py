"""Kafka Streams: built by Maven, run in a JVM that is cold each time, as ours is."""

import json
import struct
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench.facts.oracle import CHECKSUM, CHECKSUM_MODULUS, EVENTS, Oracle, Values, compare, on_hand
from bench.harness.broker import GroupProgress, read_changelog, wait_until_empty
from bench.harness.contest import Arena, Checked, Restored
from bench.harness.measure import DidNotFinish, Process
from bench.harness.progress import say

PROJECT = Path(__file__).resolve().parent
JVM_OPTIONS = (
    "-Xms1g",
    "-Xmx1g",
    "-XX:+UseParallelGC",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
)
RESTORE_TIMEOUT_S = 300.0
#: Kafka Streams' own, and exactly once with stores that are transactional too (Kafka 4.4).
Guarantee = Literal["alo", "eos", "eos-tx"]
_WORDS: dict[Guarantee, str] = {
    "alo": "at least once",
    "eos": "exactly once",
    "eos-tx": "exactly once, transactional stores",
}
ROW = struct.Struct(">8q")  # Row.java: the seven numbers of FIELDS and updated_at, ms


def build() -> None:
    """Compile it unless that was done since the sources changed."""
    built = PROJECT / "target" / "classes" / "bench" / "Main.class"
    sources = [PROJECT / "pom.xml", *PROJECT.glob("src/main/java/bench/*.java")]
    if built.exists() and built.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return
    say("Kafka Streams: building the Java peer with Maven")
    subprocess.run(["mvn", "-q", "-B", "package"], cwd=PROJECT, check=True)


class KafkaStreams:
    """Processor API, RocksDB with write cache, changelog; one guarantee and a number of threads."""

    def __init__(self, arena: Arena, guarantee: Guarantee, threads: int = 1) -> None:
        self.name = f"Kafka Streams, {_WORDS[guarantee]}"
        self.name += f", {threads} threads" if threads > 1 else ""
        self.topics = arena.full
        self._arena = arena
        self._guarantee = guarantee
        self._threads = threads
        self._id = f"{arena.run}-streams-{guarantee}-{threads}"
        self._process: Process

    @cached_property
    def _progress(self) -> GroupProgress:
        return GroupProgress(self._arena.kafka, self.topics.prefix, self._id)

    def _run(self, mode: Literal["run", "restore"], *, anew: bool = True) -> Process:
        """anew: on an empty state folder."""
        state = self._arena.fresh(self._id) if anew else self._arena.kept(self._id)
        classpath = f"{PROJECT / 'target' / 'classes'}:{PROJECT / 'target' / 'lib'}/*"
        argv = ["java", *JVM_OPTIONS, "-cp", classpath, "bench.Main", mode, self._arena.kafka]
        argv += [self.topics.prefix, self._id, str(state)]
        argv += [str(self.topics.oracle.records), self._guarantee, str(self._threads)]
        return Process(argv, self._arena.log(f"{self._id}-{mode}"))

    def start(self) -> list[Process]:
        """See `Contestant`."""
        self._process = self._run("run")
        return [self._process]

    def begun(self) -> bool:
        """See `Contestant`."""
        return self._process.said("first event")

    def handled(self) -> int:
        """See `Contestant`."""
        return self._progress()

    def check(self) -> Checked:
        """Its changelog holds eight longs by `sku` NUL `location`."""
        changelog = read_changelog(self._arena.kafka, f"{self._id}-stock-changelog")
        found = {key.decode(): _values(value) for key, value in changelog.latest.items()}
        verdict = compare(self.topics.oracle, found)
        return Checked(verdict, changelog.records, changelog.size_bytes)

    def restore(self) -> Restored | None:
        """Start again; it times itself, without the start of its JVM, and sums its rows."""
        say(f"{self.name}: starting it again, then restoring")
        kept, said = self._started(anew=False), self._started(anew=True)
        return Restored(
            records=said["records"],
            restore_s=said["restore_s"],
            startup_s=said["start_to_running_s"],
            note=_totals_note(self.topics.oracle, said),
            restarted_s=kept["start_to_running_s"],
        )

    def _started(self, *, anew: bool) -> dict[str, Any]:
        wait_until_empty(self._arena.kafka, self._id)
        with self._run("restore", anew=anew) as process:
            if process.wait(RESTORE_TIMEOUT_S) != 0:
                raise DidNotFinish(f"{self.name}: no restore; its log ends:\n{process.log_tail()}")
            lines = process.log.read_text().splitlines()
        found: dict[str, Any]
        found = json.loads(next(line for line in reversed(lines) if line.startswith("{")))
        return found


def _values(value: bytes) -> Values:
    received, dispatched, sold, returned, adjusted, events, checksum, _ = ROW.unpack(value)
    return received, dispatched, sold, returned, adjusted, events, checksum % CHECKSUM_MODULUS


def _totals_note(oracle: Oracle, said: dict[str, int | str]) -> str:
    rows = oracle.rows.values()
    checksum = sum(row[CHECKSUM] for row in rows) % CHECKSUM_MODULUS
    expected = {
        "rows": len(rows),
        "events": sum(row[EVENTS] for row in rows),
        "checksum": f"{checksum:016x}",
        "on_hand": sum(on_hand(tuple(row)) for row in rows),
    }
    wrong = [name for name, value in expected.items() if said[name] != value]
    return "TOTALS WRONG: " + ", ".join(wrong) if wrong else "totals right"
