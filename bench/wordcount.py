"""`python -m bench.wordcount`: words/s of WordCount here and in Kafka Streams, both exactly once.

The same lines on one broker, in turn, in one run. The clock starts when the first word is in the
topic between the two steps, and stops when a committed reader of the output topic has seen every
word counted: for all in the same way. Then every count is compared.
"""

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import accumulate
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from bench.harness.broker import READ_AT_ONCE, partitions_of, reader
from bench.harness.machine import REPO, describe
from bench.harness.measure import DidNotFinish, Process
from bench.harness.progress import say
from bench.peers.streams.contestant import JVM_OPTIONS, PROJECT, build
from dev.kafka import free_port, start
from dev.wordcount import counted_by_the_rule

PARTITIONS = 12
WORDS, WORDS_A_LINE, ACCENTED = 50_000, 10, 0.1
TIMEOUT_S, LOOK_EVERY_S = 600.0, 0.1
#: The time between two commits that the peer is tuned to, for both.
COMMIT_MS = 1_000
STREAMS = "Kafka Streams, exactly once"
SUMMED, EACH = "Onhand, words of a group added up", "Onhand, each word a record"
FOREVER = {"retention.ms": "-1", "retention.bytes": "-1", "message.timestamp.type": "LogAppendTime"}


def a_text(lines: int, seed: int = 1) -> Iterator[str]:
    """Words by Zipf's law; in some lines one has an accent in two characters."""
    rng = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgkqjxz"
    words = sorted(
        {"".join(rng.choices(letters, k=rng.randint(2, 9))) for _ in range(WORDS)}, key=len
    )
    weights = list(accumulate(1 / rank for rank in range(1, len(words) + 1)))
    for _ in range(lines):
        said = rng.choices(words, cum_weights=weights, k=WORDS_A_LINE)
        if rng.random() < ACCENTED:
            said[0] += "e\u0301"
        yield " ".join(said).capitalize() + "."


def load(kafka: str, topic: str, lines: int) -> Counter[str]:
    """Write the lines; what must be counted."""
    text = list(a_text(lines))
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 20, "compression.type": "lz4"})
    for n, line in enumerate(text):
        while True:
            try:
                producer.produce(topic, line.encode(), partition=n % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush(60)
    return counted_by_the_rule(text)


def make(kafka: str, *topics: str) -> None:
    """Topics as wide as all others."""
    admin = AdminClient({"bootstrap.servers": kafka})  # lives until the answers are there
    made = admin.create_topics([NewTopic(topic, PARTITIONS, 1, config=FOREVER) for topic in topics])
    for answer in made.values():
        answer.result(30)


@contextmanager
def streams(kafka: str, run: str, folder: Path) -> Iterator[tuple[Process, str, str]]:
    """Process, the topic between, the output topic."""
    counts = f"{run}-counts"
    make(kafka, counts)
    classpath = f"{PROJECT / 'target' / 'classes'}:{PROJECT / 'target' / 'lib'}/*"
    argv = ["java", *JVM_OPTIONS, "-cp", classpath, "bench.WordCount", kafka, "lines", counts]
    argv += [run, str(folder / run), "1"]
    with Process(argv, folder / f"{run}.log") as process:
        yield process, f"{run}-words-repartition", counts


@contextmanager
def onhand(kafka: str, run: str, folder: Path, module: str) -> Iterator[tuple[Process, str, str]]:
    """Process, the topic between, the output topic."""
    settings = {
        "ONHAND_KAFKA": kafka,
        "ONHAND_NAME": run,
        "ONHAND_PARTITIONS": str(PARTITIONS),
        "ONHAND_DATA_DIR": str(folder / run),
        "ONHAND_WEB_PORT": str(free_port()),
        "ONHAND_COMMIT_INTERVAL_MS": str(COMMIT_MS),
    }
    argv = [sys.executable, "-m", module]
    subprocess.run(
        [*argv, "topics"],
        env={**os.environ, **settings},
        cwd=REPO,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    with Process([*argv, "worker"], folder / f"{run}.log", env=settings, cwd=REPO) as process:
        yield process, f"{run}-v1-words", f"{run}-v1-counts"


def written(consumer: Consumer, topic: str) -> int:
    """Offsets of a topic, marks of transactions too; 0 while it is not there."""
    with suppress(KafkaException):  # a partition just created has no leader for a moment
        return sum(
            consumer.get_watermark_offsets(place, timeout=10)[1]
            for place in partitions_of(consumer, topic)
        )
    return 0


def measured(
    process: Process, kafka: str, between: str, output: str, words: int
) -> tuple[float, float]:
    """Seconds from the first word to the commit of the last count, and CPU seconds in them."""
    consumer = reader(kafka)
    began, cpu_began, last = time.monotonic(), 0.0, dict[bytes, int]()
    deadline = began + TIMEOUT_S
    try:
        while not written(consumer, between):
            began, cpu_began = time.monotonic(), process.cpu_s()
            process.must_run()
            if began > deadline:
                raise DidNotFinish(f"no word within {TIMEOUT_S:.0f} s:\n{process.log_tail()}")
            time.sleep(0.01)
        # Not until it falls silent: a step may wait for the one before for longer than that.
        consumer.assign(partitions_of(consumer, output))
        while sum(last.values()) < words:
            for message in consumer.consume(READ_AT_ONCE, LOOK_EVERY_S):
                if message.error() is None:
                    last[message.key() or b""] = int.from_bytes(message.value() or b"", "big")
            process.must_run()
            if time.monotonic() > deadline:
                raise DidNotFinish(f"{sum(last.values()):,} of {words:,} words are counted")
        return time.monotonic() - began, process.cpu_s() - cpu_began
    finally:
        consumer.close()


def check(kafka: str, output: str, wanted: Counter[str]) -> str:
    """How the committed counts compare."""
    consumer, last, records = reader(kafka), dict[str, int](), 0
    open_ = {place.partition for place in partitions_of(consumer, output)}
    consumer.assign(partitions_of(consumer, output))
    while open_:
        for message in consumer.consume(READ_AT_ONCE, 1.0):
            if message.error() is None:
                value = int.from_bytes(message.value() or b"", "big")
                last[(message.key() or b"").decode()] = value
                records += 1
            else:
                open_.discard(message.partition())
    consumer.close()
    wrong = sum(last.get(word) != count for word, count in wanted.items())
    wrong += len(last.keys() - wanted.keys())
    return f"{wrong:,} of {len(wanted):,} counts WRONG" if wrong else f"equal, {records:,} records"


def main() -> int:
    """Load, measure in turn, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.wordcount", description=__doc__)
    parser.add_argument("--lines", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    build()
    rates: dict[str, list[float]] = {STREAMS: [], SUMMED: [], EACH: []}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    said: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as temporary, start() as kafka:
        folder = Path(temporary)
        make(kafka.bootstrap, "lines")
        say(f"loading {given.lines:,} lines")
        wanted = load(kafka.bootstrap, "lines", given.lines)
        for number in range(given.rounds):
            for index, name in enumerate(rates if number % 2 == 0 else reversed(rates)):
                run = f"r{number}-{index}"
                stage = (
                    streams(kafka.bootstrap, run, folder)
                    if name == STREAMS
                    else onhand(
                        kafka.bootstrap,
                        run,
                        folder,
                        "examples.wordcount" if name == SUMMED else "bench.onhand.every_word",
                    )
                )
                with stage as (process, between, output):
                    seconds, cpu_s = measured(
                        process, kafka.bootstrap, between, output, wanted.total()
                    )
                said[name] = check(kafka.bootstrap, output, wanted)
                rates[name].append(wanted.total() / seconds)
                costs[name].append(1e6 * cpu_s / wanted.total())
                say(f"{name}: {rates[name][-1]:,.0f} words/s; {said[name]}")
    for key, value in describe().items():
        print(f"- {key}: {value}")
    print(f"\n{wanted.total():,} words, {len(wanted):,} different; medians of {given.rounds}:\n")
    print("| | words/s | against Kafka Streams | CPU, µs a word | counts |\n|---|---|---|---|---|")
    base = statistics.median(rates[STREAMS])
    for name, found in rates.items():
        rate, cost = statistics.median(found), statistics.median(costs[name])
        print(f"| {name} | {rate:,.0f} | {rate / base:.2f} | {cost:.2f} | {said[name]} |")
    return 1 if any("WRONG" in each for each in said.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
