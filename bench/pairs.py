"""Two checkouts measured in turn: `python -m bench.pairs OTHER_TREE [--only NAME,…] [--pairs 15]`.

A machine's speed changes within minutes, and by more than what is looked for. So each pair is
measured side by side, now the one first, now the other, and the ratios of the pairs count.
Workers of both fold the same topics of one broker; all else is this checkout's. Reads are
asked of workers of both that live at the same time: of one after the other's end they gave
the same build 0.89 to 1.02 × of itself.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Self

from bench.__main__ import BROKER_SETTINGS, OUT
from bench.facts.load import Load, load
from bench.harness.contest import Arena, TopicSet, play
from bench.harness.machine import REPO, commit_of
from bench.harness.progress import say
from bench.harness.targets import least
from bench.micro import STEPS
from bench.onhand.contestant import Onhand
from bench.onhand.latency import measure_latency
from bench.onhand.lookups import lookups
from bench.onhand.memory import fold_with_full_windows
from bench.onhand.reads import AskForReads, forwarded, idle
from dev.kafka import start

#: Where a process has its memory moves its figures: each stays for so many pairs.
PAIRS_PER_PROCESS = 3
READS_S = 2.0
LATENCY_S = 15.0
#: Of these more is better, of all others less.
RATES = ("events/s", "records/s", "answers/s")

#: Of issue 17: by how much this checkout is to be better than that commit.
AIMED_AGAINST = "244a0e7"
AIMS = {
    "ingest, CPU-µs/event": 1.18,  # 0.85 of it
    "windows full, peak MB": 1.11,  # 0.9
    "1,000 events/s, readable after p50 ms": 1.67,  # 0.6
    "1,000 events/s, readable after p99 ms": 1.43,  # 0.7
    "1,000 events/s, % of a core": 0.67,  # 1.5
}

#: What was measured of one checkout, by name.
Figures = Mapping[str, float]


def _fold(arena: Arena) -> Figures:
    """A backlog and a restore by one worker."""
    result = play(Onhand(arena), arena)
    found = {
        "ingest, events/s": result.events_per_s,
        "ingest, CPU-µs/event": result.cpu_us_per_event,
        "ingest, peak MB": result.span.peak_mb,
    }
    if restored := result.restored:
        found["restore, records/s"] = restored.records_per_s
        found["restore, CPU-µs/record"] = restored.cpu_s / restored.records * 1e6
    return found


def _of_reads(read: AskForReads) -> Figures:
    found: dict[str, float] = {}
    for each in read(READS_S):
        what = f"{each.what} reads, {each.answers.connections} connections"
        found[f"{what}, answers/s"] = each.answers.per_s
        found[f"{what}, CPU-µs"] = each.cpu_us
    return found


def _latency(arena: Arena) -> Figures:
    """From append to readable beside 1,000 events/s, and what that costs."""
    idle, paced = measure_latency(arena, (1_000,), LATENCY_S)
    return {
        "idle, % of a core": idle.cpu_percent,
        "1,000 events/s, readable after p50 ms": paced.p50_ms,
        "1,000 events/s, readable after p99 ms": paced.p99_ms,
        "1,000 events/s, % of a core": paced.cpu_percent,
    }


def _windows(arena: Arena) -> Figures:
    """Memory with every duplicates window full."""
    return {"windows full, peak MB": fold_with_full_windows(arena).span.peak_mb}


QUESTIONS: Mapping[str, Callable[[Arena], Figures]] = {
    "fold": _fold,
    "latency": _latency,
    "windows": _windows,
}

#: Reads of how many workers, on what they have folded.
READS: Mapping[str, tuple[int, Callable[[Onhand, Arena], AbstractContextManager[AskForReads]]]] = {
    "reads": (1, idle),
    "forwarded": (2, forwarded),
    "lookups": (3, lookups),
}


class Answering:
    """`bench.micro` of one checkout, as it is asked."""

    def __init__(self, tree: Path) -> None:
        self._process = subprocess.Popen(
            [str(tree / ".venv/bin/python"), "-m", "bench.micro", "--answer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tree,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def measure(self, name: str) -> float:
        """µs of CPU for each thing of this step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{name}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())


class Pairs:
    """Figures of this checkout and of the other one, pair by pair, kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: dict[str, list[tuple[float, float]]] = {}

    def add(self, here: Figures, there: Figures) -> None:
        """One pair; what only one of them could measure is left out."""
        for name in here:
            if name in there:
                self.found.setdefault(name, []).append((here[name], there[name]))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self.found, indent=1, ensure_ascii=False))

    def table(self, aims: Mapping[str, float]) -> str:
        """Medians, and the ratio of the pairs: above 1 this checkout is better.

        aims: by how much it is to be.
        """
        lines = ["| figure | here | there | here is better by | half of the pairs | pairs | aim |"]
        lines.append("|---" * 7 + "|")
        for name, pairs in self.found.items():
            is_rate = name.endswith(RATES)
            ratios = sorted(here / there if is_rate else there / here for here, there in pairs)
            quarter = len(ratios) // 4
            here, there = (median(each) for each in zip(*pairs, strict=True))
            wanted = least(name, median(ratios), aims[name], " ×") if name in aims else ()
            aim = ", ".join(f"{one.wanted}: {one.word}" for one in wanted)
            lines.append(
                f"| {name} | {here:,.2f} | {there:,.2f} | {median(ratios):.3f} × "
                f"| {ratios[quarter]:.3f}–{ratios[-1 - quarter]:.3f} | {len(ratios)} | {aim} |"
            )
        return "\n".join(lines)


def in_turn(other: Path, number: int, measure: Callable[[Path], Figures]) -> tuple[Figures, ...]:
    """Of this checkout and the other one; who begins changes with the number."""
    trees = (other, REPO) if number % 2 else (REPO, other)
    found = {tree: measure(tree) for tree in trees}
    return found[REPO], found[other]


def _step(asked: Mapping[Path, Answering], name: str, tree: Path) -> Figures:
    return {f"{name}, µs": asked[tree].measure(name)}


def steps(other: Path, names: Sequence[str], pairs: int, kept: Pairs) -> None:
    """CPU time of single steps (`bench/micro.py`)."""
    for first in range(0, pairs, PAIRS_PER_PROCESS):
        with Answering(REPO) as ours, Answering(other) as theirs:
            asked = {REPO: ours, other: theirs}
            for number in range(first, min(pairs, first + PAIRS_PER_PROCESS)):
                for name in names:
                    step = partial(_step, asked, name)
                    kept.add(*in_turn(other, number, step))
        say(f"{number + 1} of {pairs} pairs")


def _its(arena: Arena, tree: Path) -> Arena:
    return replace(arena, tree=tree, run=f"{arena.run}{'here' if tree == REPO else 'there'}")


def _answers(arena: Arena, asked: Sequence[str], tree: Path) -> Figures:
    here = _its(arena, tree)
    return {name: its for each in asked for name, its in QUESTIONS[each](here).items()}


def reads(other: Path, name: str, pairs: int, arena: Arena, kept: Pairs) -> None:
    """Reads of both, whose workers live at the same time; they fold once and start anew often."""
    workers, reading = READS[name]
    arenas = {tree: _its(arena, tree) for tree in (REPO, other)}
    folded = {tree: Onhand(its, workers=workers) for tree, its in arenas.items()}
    for tree, its in arenas.items():
        play(folded[tree], its)
    for first in range(0, pairs, PAIRS_PER_PROCESS):
        with ExitStack() as running:
            ask = {
                tree: running.enter_context(reading(folded[tree], its))
                for tree, its in arenas.items()
            }
            for number in range(first, min(pairs, first + PAIRS_PER_PROCESS)):
                kept.add(*in_turn(other, number, lambda tree: _of_reads(ask[tree])))  # noqa: B023
                say(f"{name}: {number + 1} of {pairs} pairs")


def workers(other: Path, asked: Sequence[str], pairs: int, events: int, kept: Pairs) -> None:
    """Whole workers, on one broker."""
    with start(settings=BROKER_SETTINGS) as kafka:
        run = f"pairs{int(time.time()):x}"
        [(prefix, oracle)] = load(kafka.bootstrap, {f"{run}.": events}, Load()).items()
        topics = TopicSet(prefix, oracle)
        arena = Arena(kafka.bootstrap, Load.partitions, run, topics, topics, OUT.resolve(), 300.0)
        of_each = [name for name in asked if name in QUESTIONS]
        for number in range(pairs if of_each else 0):
            its = replace(arena, run=f"{run}n{number}")
            kept.add(*in_turn(other, number, partial(_answers, its, of_each)))
            say(f"{number + 1} of {pairs} pairs")
        for name in asked:
            if name in READS:
                reads(other, name, pairs, replace(arena, run=f"{run}{name}"), kept)


def main() -> None:
    """Print a table; `bench/out/pairs.json` has each pair."""
    parser = argparse.ArgumentParser(prog="python -m bench.pairs", description=__doc__)
    whole = [*QUESTIONS, *READS]
    parser.add_argument("other", type=Path, help="a checkout with its .venv")
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--events", type=int, default=300_000)
    parser.add_argument(
        "--only",
        default="fold,reads",
        help=f"of {', '.join(whole)}; or steps, or words of steps",
    )
    given = parser.parse_args()
    other, words = given.other.resolve(), given.only.split(",")
    kept = Pairs(OUT / "pairs.json")
    asked = [name for name in whole if name in words]
    names = [name for name in STEPS if "steps" in words or any(word in name for word in words)]
    if asked:
        workers(other, asked, given.pairs, given.events, kept)
    elif names:
        steps(other, names, given.pairs, kept)
    else:
        parser.error(f"unknown: {given.only}; steps are: {', '.join(STEPS)}")
    print(kept.table(AIMS if commit_of(other).startswith(AIMED_AGAINST) else {}))


if __name__ == "__main__":
    main()
