"""The rules of the contest: what a system must offer to be measured, and the round itself."""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from bench.facts.oracle import Oracle, Verdict
from bench.harness.machine import REPO
from bench.harness.measure import Process, Span, watch
from bench.harness.progress import calibrate, say


@dataclass(frozen=True)
class TopicSet:
    """Three loaded source topics and what they must fold to."""

    prefix: str
    oracle: Oracle


@dataclass(frozen=True)
class Arena:
    """What all systems of one run share.

    Attributes:
        kafka: bootstrap servers.
        partitions: of each source topic.
        run: a word in every name this run makes, unlike those of other runs.
        full: the topic set of the figures.
        small: its beginning once more, for systems too slow for all of it.
        folder: logs and local state.
        timeout_s: for one system's round.
        tree: the checkout whose Onhand is measured, with a .venv unless it is this one.
    """

    kafka: str
    partitions: int
    run: str
    full: TopicSet
    small: TopicSet
    folder: Path
    timeout_s: float
    tree: Path = REPO

    @property
    def python(self) -> str:
        """What runs the Onhand of `tree`; the command `onhand` lies beside it."""
        return sys.executable if self.tree == REPO else str(self.tree / ".venv/bin/python")

    def kept(self, name: str) -> Path:
        """A folder for local state, with what is in it."""
        return self.folder / "state" / name

    def fresh(self, name: str) -> Path:
        """The same, empty."""
        folder = self.kept(name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def log(self, name: str) -> Path:
        """Where a process writes what it has to say."""
        return self.folder / "log" / f"{name}.log"


@dataclass(frozen=True)
class Checked:
    """What a committed reader found after the end; `verdict` is None where nothing is kept."""

    verdict: Verdict | None = None
    changelog_records: int = 0
    changelog_bytes: int = 0


@dataclass(frozen=True)
class Restored:
    """One rebuild of wiped local state.

    Attributes:
        records: changelog records read.
        restore_s: restoring alone.
        startup_s: from starting the process until it was restored.
        cpu_s: of the process, while it restored; nan where that is not known.
        restarted_s: from its start after `kill -9`, on the disk that it left, until it ran again.
        note: whether the restored rows were right, in words.
    """

    records: int
    restore_s: float
    startup_s: float
    note: str
    cpu_s: float = float("nan")
    restarted_s: float = float("nan")

    @property
    def records_per_s(self) -> float:
        """Changelog records a second."""
        return self.records / self.restore_s if self.restore_s else 0.0


class Contestant(Protocol):
    """A system that can be measured."""

    @property
    def name(self) -> str:
        """As the table shows it."""

    @property
    def topics(self) -> TopicSet:
        """What it folds."""

    def start(self) -> list[Process]:
        """Start it on empty state."""

    def begun(self) -> bool:
        """Whether it has handled anything."""

    def handled(self) -> int:
        """Source records handled and committed."""

    def check(self) -> Checked:
        """Hold what it committed against the oracle."""

    def restore(self) -> Restored | None:
        """Time a start on what it left, then one without; None if that means nothing."""


@dataclass(frozen=True)
class Result:
    """One system's round.

    Attributes:
        records: source records folded.
        span: the clock, from first event to last commit.
        calibration_s: the fixed loop of `calibrate`, before and after.
        extra: further figures, name to words.
    """

    name: str
    records: int
    span: Span
    checked: Checked
    restored: Restored | None
    calibration_s: tuple[float, float]
    extra: dict[str, str] = field(default_factory=dict)

    @property
    def events_per_s(self) -> float:
        """Source records a second of the clock."""
        return self.records / self.span.wall_s

    @property
    def cpu_us_per_event(self) -> float:
        """CPU microseconds of the system's own processes (not the broker's) for each record."""
        return self.span.cpu_s / self.records * 1e6


def play(contestant: Contestant, arena: Arena, *, with_restore: bool = True) -> Result:
    """One round: start, follow, kill at the last commit, check, rebuild."""
    wanted = contestant.topics.oracle.records
    before_s = calibrate()
    say(f"{contestant.name}: {wanted:,} events (calibration {before_s:.3f} s)")
    processes = contestant.start()
    try:
        span = watch(
            processes,
            contestant.begun,
            contestant.handled,
            wanted,
            timeout_s=arena.timeout_s,
            what=contestant.name,
        )
    finally:
        for process in processes:
            process.kill()
    after_s = calibrate()
    checked = contestant.check()
    say(
        f"{contestant.name}: {wanted / span.wall_s:,.0f} events/s, "
        f"{span.cpu_s / wanted * 1e6:.1f} CPU-µs, {span.peak_mb:,.0f} MB, "
        f"{checked.verdict or 'nothing to check'} (calibration {after_s:.3f} s)"
    )
    restored = contestant.restore() if with_restore else None
    if restored:
        say(
            f"{contestant.name}: restored {restored.records:,} records "
            f"in {restored.restore_s:.2f} s, {restored.records_per_s:,.0f}/s; {restored.note}; "
            f"with its disk it ran again {restored.restarted_s:.2f} s after its start"
        )
    return Result(contestant.name, wanted, span, checked, restored, (before_s, after_s))
