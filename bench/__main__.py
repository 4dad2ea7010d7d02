"""`python -m bench`: every system on one loaded topic set, in one run, each result checked."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from bench.facts.load import Load, load
from bench.harness import machine, report
from bench.harness.contest import Arena, Contestant, TopicSet, play
from bench.harness.measure import DidNotFinish
from bench.harness.progress import say
from bench.harness.run import Run
from bench.onhand.contestant import Onhand
from bench.onhand.latency import measure_latency
from bench.onhand.lookups import lookups
from bench.onhand.memory import WINDOW_OFFSETS, fold_with_full_windows
from bench.onhand.own_write import measure_own_write
from bench.onhand.reads import (
    forwarded,
    idle,
    pulse_beside_folding,
    reads_beside_folding,
)
from bench.onhand.takeover import measure_take_overs
from bench.peers.naive.contestant import NaiveFaust
from bench.peers.quix.contestant import QuixStreams
from bench.peers.raw.contestant import RawFetch
from bench.peers.streams import contestant as streams
from bench.peers.streams.contestant import KafkaStreams
from dev.kafka import start

CONTESTANTS: dict[str, Callable[[Arena], Contestant]] = {
    "raw": RawFetch,
    "naive": NaiveFaust,
    "streams-alo": lambda arena: KafkaStreams(arena, "alo"),
    "streams-eos": lambda arena: KafkaStreams(arena, "eos"),
    "streams-eos-tx": lambda arena: KafkaStreams(arena, "eos-tx"),
    "streams-alo-2": lambda arena: KafkaStreams(arena, "alo", threads=2),
    "quix": QuixStreams,
    "onhand": Onhand,
    "onhand-2": lambda arena: Onhand(arena, workers=2),
    "onhand-3": lambda arena: Onhand(arena, workers=3),
}
#: Reads of what a contestant has folded.
READS = {
    "reads": ("onhand", idle),
    "forwarded": ("onhand-2", forwarded),
    "lookups": ("onhand-3", lookups),
}
QUESTIONS = ("latency", "own-write", "take-over", *READS, "beside", "windows")
NAIVE_EVENTS = 60_000
QUICK_EVENTS = 100_000
QUICK_NAIVE_EVENTS = 10_000
QUICK_WINDOW_OFFSETS = 5_000
PACES_PER_S = (1_000, 20_000)
OWN_WRITE_PER_S = 1_000
TAKE_OVER_PER_S = 1_000
TAKE_OVER_ROUNDS = 12
# Kafka's own default: two workers started together are in one generation from the first event.
BROKER_SETTINGS = {"group.initial.rebalance.delay.ms": 3_000}
OUT = Path(__file__).resolve().parent / "out"


def options() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--events", type=int, help=f"in the topic set ({Load.events:,})")
    parser.add_argument("--partitions", type=int, default=Load.partitions)
    parser.add_argument("--rounds", type=int, default=1, help="of all systems in turn (1)")
    parser.add_argument(
        "--only", help="comma-separated, of: " + ", ".join((*CONTESTANTS, *QUESTIONS))
    )
    parser.add_argument("--quix", action="store_true", help="Quix Streams too: installs it")
    parser.add_argument("--quick", action="store_true", help="little of everything, to try it out")
    parser.add_argument("--repeats", type=float, default=0.0, help="percent of events said twice")
    parser.add_argument("--kafka", help="use this broker instead of starting one")
    parser.add_argument("--timeout", type=float, default=300.0, help="s, for one round (300)")
    parser.add_argument("--out", type=Path, default=OUT, help="report, logs, state (bench/out)")
    given = parser.parse_args()
    given.events = given.events or (QUICK_EVENTS if given.quick else Load.events)
    known = [*CONTESTANTS, *QUESTIONS]
    given.wanted = given.only.split(",") if given.only else known
    if not given.quix and not given.only:
        given.wanted.remove("quix")
    unknown = set(given.wanted) - set(known)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return given


def main() -> int:
    """Load, play, ask, report; 1 if a row was wrong or something could not be measured."""
    given = options()
    run = Run(machine.describe(), {})
    if any(name.startswith("streams") for name in given.wanted):
        streams.build()
    with ExitStack() as stack:
        address = given.kafka
        if not address:
            say("starting Kafka")
            address = stack.enter_context(start(settings=BROKER_SETTINGS)).bootstrap
        arena = _loaded(given, address, run)
        folded: dict[str, Onhand] = {}
        for number in range(1, given.rounds + 1):
            _play_all(given.wanted, _in_round(arena, number), run, folded)
        _ask_all(given, arena, run, folded)
    text, data = report.save(run, given.out)
    print(report.markdown(run))
    say(f"written: {text.name} and {data.name} in {given.out}")
    for name in run.wrong:
        say(f"WRONG ROWS: {name}")
    return 1 if run.wrong or run.failures else 0


def _loaded(given: argparse.Namespace, address: str, run: Run) -> Arena:
    word = f"bench{int(time.time()):x}"
    plan = Load(events=given.events, partitions=given.partitions, repeats_percent=given.repeats)
    few = min(given.events, QUICK_NAIVE_EVENTS if given.quick else NAIVE_EVENTS)
    say(f"loading {given.events:,} events into {given.partitions} partitions of each topic")
    prefixes = {f"{word}.full.": given.events, f"{word}.small.": few}
    full, small = load(address, prefixes, plan).items()
    run.load = {
        "events": f"{given.events:,}, naive Faust: the first {few:,}",
        "repeats": f"{full[1].repeats:,}",
        "rows": f"{len(full[1].rows):,}",
        "partitions": f"{given.partitions} of each of three topics",
        "rounds": str(given.rounds),
    }
    for name, (_, oracle) in (("full", full), ("small", small)):
        oracle.save(given.out / f"oracle-{name}.json")
    return Arena(
        kafka=address,
        partitions=given.partitions,
        run=word,
        full=TopicSet(*full),
        small=TopicSet(*small),
        folder=given.out.resolve(),
        timeout_s=given.timeout,
    )


def _in_round(arena: Arena, number: int) -> Arena:
    return replace(arena, run=f"{arena.run}r{number}")


@contextmanager
def _noting_failures(run: Run, what: str) -> Iterator[None]:
    """One system that cannot be measured does not cost the figures of the others."""
    try:
        yield
    except (DidNotFinish, LookupError, OSError, RuntimeError, ValueError) as error:
        run.failures.append(f"{what}: {error}")
        say(f"{what} FAILED: {error}")


def _play_all(wanted: list[str], arena: Arena, run: Run, folded: dict[str, Onhand]) -> None:
    for key, make in CONTESTANTS.items():
        if key in wanted:
            with _noting_failures(run, key):
                contestant = make(arena)
                run.results.append(play(contestant, arena))
                if isinstance(contestant, Onhand):
                    folded[key] = contestant


def _ask_all(given: argparse.Namespace, arena: Arena, run: Run, folded: dict[str, Onhand]) -> None:
    seconds = 2.0 if given.quick else 5.0
    probed_s = 8.0 if given.quick else 30.0
    for question, (contestant, reading) in READS.items():
        if question in given.wanted and contestant in folded:
            with _noting_failures(run, question), reading(folded[contestant], arena) as read:
                run.reads += read(seconds)
    if "beside" in given.wanted:
        with _noting_failures(run, "reads beside folding"):
            run.reads += reads_beside_folding(arena, min(seconds, 3.0))
            run.pulse = pulse_beside_folding(arena)
    if "windows" in given.wanted:
        with _noting_failures(run, "windows full"):
            window = QUICK_WINDOW_OFFSETS if given.quick else WINDOW_OFFSETS
            run.results.append(fold_with_full_windows(arena, window))
    if "latency" in given.wanted:
        with _noting_failures(run, "latency"):
            for latency in measure_latency(arena, PACES_PER_S, probed_s):
                run.latencies.append(latency)
    if "own-write" in given.wanted:
        with _noting_failures(run, "own write"):
            run.own_write = measure_own_write(arena, OWN_WRITE_PER_S, probed_s)
    if "take-over" in given.wanted:
        with _noting_failures(run, "take-over"):
            rounds = 4 if given.quick else TAKE_OVER_ROUNDS
            run.take_overs = measure_take_overs(arena, TAKE_OVER_PER_S, rounds)


if __name__ == "__main__":
    sys.exit(main())
