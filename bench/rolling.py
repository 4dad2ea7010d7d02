"""`python -m bench.rolling`: three workers with millions of rows are started anew, one by one.

Beside traffic and readers. How long a partition had nobody who folds it is read from the changelog:
facts come to each partition many times a second, so between two of its commits lies the commit
interval, or the time from the last commit of one owner to the first of the next. Readers ask as the
clients of a plain load balancer do (`dev/reads/answers.py`): no request is tried twice.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from signal import SIGTERM
from statistics import median
from typing import NamedTuple

from bench.__main__ import BROKER_SETTINGS
from bench.facts.events import facts
from bench.facts.load import create_sources, fact_producer, send
from bench.facts.oracle import Oracle
from bench.harness.broker import ends_of, records_of
from bench.harness.contest import Arena, TopicSet
from bench.harness.machine import describe
from bench.harness.measure import DidNotFinish
from bench.harness.progress import Ticker, say
from bench.harness.targets import Judged, most
from bench.onhand.contestant import Onhand
from bench.onhand.probes import traffic
from bench.onhand.takeover import wait_until_settled
from dev.kafka import start
from dev.reads.answers import Answer
from dev.workers import start_process

WORKERS = 3
#: So many pairs of SKU and location for each row that is wanted: nearly every fact makes another.
PAIRS_A_ROW, LOCATIONS = 20, 1_000
ASKED_ROWS = 2_000
READS_PER_S = 500
#: Before the first worker ends, and after the last one has come back.
QUIET_S = 5.0
SETTLE_TIMEOUT_S = 300.0
#: For so long there is traffic: longer than all of it takes.
TRAFFIC_S = 300.0
LOOK_EVERY_S = 0.2
SEED = 500

Key = tuple[str, str]
#: Milliseconds of the commits of each partition, in their order.
Commits = Mapping[int, Sequence[int]]


def fill(kafka: str, prefix: str, partitions: int, rows: int) -> list[Key]:
    """Write so many facts, nearly each of a row of its own; some of the rows' keys."""
    create_sources(kafka, prefix, partitions)
    producer, ticker, keys = fact_producer(kafka), Ticker(), list[Key]()
    skus = max(1, rows * PAIRS_A_ROW // LOCATIONS)
    stream = facts(rows, seed=SEED, skus=skus, locations=LOCATIONS, zipf=0)
    for number, fact in enumerate(stream):
        send(producer, prefix + fact.topic, fact)
        if number % max(1, rows // ASKED_ROWS) == 0:
            keys.append((fact.sku, fact.location))
        if number % 5_000 == 0:
            producer.poll(0)
            ticker.say(f"loaded {number:,} of {rows:,} rows")
    if producer.flush(60):
        raise DidNotFinish("Kafka did not take all facts: see its log")
    return keys


@contextmanager
def reading(folder: Path, urls: Sequence[str], keys: Sequence[Key]) -> Iterator[list[Answer]]:
    """A process that reads through all workers; its answers are there at the end."""
    asked, out = folder / "keys.json", folder / "answers.jsonl"
    asked.write_text(json.dumps(keys))
    argv = ["-m", "dev.reads.answers", "--urls", ",".join(urls), "--keys", str(asked)]
    argv += ["--out", str(out), "--rate", str(READS_PER_S)]
    process = start_process(argv, {}, folder / "answers.log")
    answers: list[Answer] = []
    try:
        yield answers
    finally:
        process.send_signal(SIGTERM)
        code = process.wait(60)
    if code:
        raise DidNotFinish(f"the readers ended: {(folder / 'answers.log').read_text()}")
    answers += map(Answer.from_json, out.read_text().splitlines())


def roll(installation: Onhand) -> float:
    """Start each worker anew, the next one once all is shared again; seconds that it took."""
    began = time.monotonic()
    for number, worker in enumerate(installation.workers):
        worker.process.stop()
        installation.start_again(number)
        wait_until_settled(installation, SETTLE_TIMEOUT_S)
        say(f"worker {number + 1} of {WORKERS} is back, {time.monotonic() - began:.0f} s in all")
    return time.monotonic() - began


def commits_since(kafka: str, changelog: str, since: Mapping[int, int]) -> Commits:
    """When each partition was committed, as its changelog's records say."""
    found: dict[int, list[int]] = {partition: [] for partition in since}
    for message in records_of(kafka, changelog, since):
        found[message.partition() or 0].append(message.timestamp()[1])
    return found


class Gap(NamedTuple):
    """Between two commits of a partition.

    seconds: how long. at_s: from the begin of the stretch to the first of the two commits.
    """

    seconds: float
    at_s: float
    partition: int


def gaps(commits: Commits, from_ms: float, until_ms: float) -> list[Gap]:
    """The longest one of each partition in this stretch, ascending."""
    found = []
    for partition, moments in commits.items():
        there = [from_ms, *(ms for ms in moments if from_ms < ms < until_ms), until_ms]
        each = ((b - a, a) for a, b in pairwise(there))
        longest_ms, at_ms = max(each)
        found.append(Gap(longest_ms / 1000, (at_ms - from_ms) / 1000, partition))
    return sorted(found)


def measure(folder: Path, given: argparse.Namespace) -> Iterator[Judged]:
    """Load, fold, roll, read what was seen."""
    with start(settings=BROKER_SETTINGS) as kafka:
        word = f"rolling{int(time.time()):x}"
        topics = TopicSet(f"{word}.", Oracle())
        arena = Arena(kafka.bootstrap, given.partitions, word, topics, topics, folder, 600.0)
        keys = fill(kafka.bootstrap, topics.prefix, given.partitions, given.rows)
        installation = Onhand(arena, WORKERS, label=" rolling")
        installation.start()
        try:
            _wait_until_folded(installation, given.rows)
            changelog = f"{installation.group}-inventory-changelog"
            since = ends_of(kafka.bootstrap, changelog)
            urls = [worker.url for worker in installation.workers]
            with (
                traffic(
                    arena, "rolling", topics.prefix, given.per_s, TRAFFIC_S, SEED + 1
                ) as producer,
                reading(folder, urls, keys) as answers,
            ):
                time.sleep(QUIET_S)
                first_ms = time.time() * 1000
                time.sleep(QUIET_S)
                roll_ms = time.time() * 1000
                took_s = roll(installation)
                time.sleep(QUIET_S)
                end_ms = time.time() * 1000
                producer.must_run()
            commits = commits_since(kafka.bootstrap, changelog, since)
        finally:
            installation.stop()
    before, rolled = gaps(commits, first_ms, roll_ms), gaps(commits, roll_ms, end_ms)
    failed = [one for one in answers if one.status != 200]
    say(
        f"between two commits of a partition at most {before[-1].seconds:.2f} s before; while "
        f"rolling, in {took_s:.0f} s, {rolled[-1].seconds:.2f} s, "
        f"{median(one.seconds for one in rolled):.2f} s at the median of partitions"
    )
    for one in rolled[-3:]:
        say(f"partition {one.partition}: {one.seconds:.2f} s, {one.at_s:.1f} s after the begin")
    say(f"{len(answers):,} reads, of which failed {len(failed):,}")
    for answer in failed[:5]:
        at_s = answer.began - roll_ms / 1000
        say(f"at {at_s:.1f} s, of {answer.asked}: {answer.status} {answer.problem}")
    yield from most("longest without a commit of a partition", rolled[-1].seconds, 1.5, " s")
    yield from most("reads that failed", float(len(failed)), 0, f" of {len(answers):,}")


def _wait_until_folded(installation: Onhand, rows: int) -> None:
    ticker, deadline = Ticker(), time.monotonic() + SETTLE_TIMEOUT_S
    while (handled := installation.handled()) < rows:
        if time.monotonic() > deadline:
            raise DidNotFinish(f"{installation.name}: {handled:,} of {rows:,} facts folded")
        ticker.say(f"{installation.name}: folded {handled:,} of {rows:,}")
        time.sleep(LOOK_EVERY_S)
    wait_until_settled(installation, SETTLE_TIMEOUT_S)


def main() -> None:
    """Print what was aimed for, and what was seen."""
    parser = argparse.ArgumentParser(prog="python -m bench.rolling", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--partitions", type=int, default=12, help="as many for each worker")
    parser.add_argument("--per-s", type=int, default=1_000, help="facts a second meanwhile")
    parser.add_argument("--folder", type=Path, help="keep all logs there")
    given = parser.parse_args()
    if given.partitions % WORKERS:
        parser.error(f"{WORKERS} workers must own as many partitions each")
    with tempfile.TemporaryDirectory() as passing:
        judged = list(measure(given.folder or Path(passing), given))
    print("; ".join(f"{what} {value}" for what, value in describe().items()))
    print(f"\n| {given.rows:,} rows, {WORKERS} workers started anew | wanted | measured | |")
    print("|---|---|---|---|")
    print(
        *(f"| {one.what} | {one.wanted} | {one.measured} | {one.word} |" for one in judged),
        sep="\n",
    )


if __name__ == "__main__":
    main()
