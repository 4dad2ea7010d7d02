"""Onhand as a contestant: everything the bench knows about the service is in this file.

It uses what the contract fixes: the worker's command line, its ONHAND_…
variables, `/metrics`, `/v1/inventory` and the changelog's rows.
"""

import json
import os
import random
import subprocess
import time
from collections import Counter
from pathlib import Path

from bench.facts.oracle import CHECKSUM, FIELDS, Values, compare
from bench.harness.broker import Changelog, read_changelog, wait_until_empty
from bench.harness.contest import Arena, Checked, Restored, TopicSet
from bench.harness.measure import DidNotFinish, Process, Sample, look
from bench.harness.progress import Ticker, say
from bench.onhand.web import Answer, Web, inventory_path, metric_sum
from dev.kafka import free_port

HANDLED_METRICS = (
    "onhand_events_applied_total",
    "onhand_events_duplicate_total",
    "onhand_dead_letters_total",
)
RESTORED_METRIC = "onhand_restore_records_total"
READ_BACK_ROWS = 500
LOOK_EVERY_S = 0.01


class Worker:
    """One `faust -A app worker` and its HTTP side."""

    def __init__(self, process: Process, web: Web) -> None:
        self.process = process
        self.web = web

    @property
    def url(self) -> str:
        """As it calls itself in its answers."""
        return f"http://127.0.0.1:{self.web.port}"

    def metric(self, *names: str) -> int:
        """Sum of these metrics; 0 while it does not listen yet."""
        return int(self.measured(*names))

    def measured(self, *names: str) -> float:
        """The same, with its fraction."""
        page = self.web.get("/metrics")
        return metric_sum(page.body, *names) if page and page.status == 200 else 0.0

    def handled(self) -> int:
        """Records whose effect it has committed."""
        return self.metric(*HANDLED_METRICS)


class Onhand:
    """A named installation: `workers` processes on one topic set."""

    def __init__(
        self,
        arena: Arena,
        workers: int = 1,
        *,
        topics: TopicSet | None = None,
        label: str = "",
        settings: dict[str, str] | None = None,
    ) -> None:
        self.name = f"Onhand, {'one worker' if workers == 1 else f'{workers} workers'}{label}"
        self.topics = topics or arena.full
        self.onhand_name = f"{arena.run}-onhand-{workers}{label.replace(' ', '-').replace(',', '')}"
        self.workers: list[Worker] = []
        #: How often each was started: each life has a log of its own.
        self._lives: Counter[int] = Counter()
        #: Settings of each worker.
        self.environments: list[dict[str, str]] = []
        self._arena = arena
        self._count = workers
        self._settings = settings or {}
        self._changelog: Changelog | None = None

    @property
    def group(self) -> str:
        """Faust's app id: consumer group and prefix of topics, for version 1."""
        return f"{self.onhand_name}-v1"

    def _environment(self, number: int, port: int) -> dict[str, str]:
        return {
            "ONHAND_KAFKA": self._arena.kafka,
            "ONHAND_NAME": self.onhand_name,
            "ONHAND_TOPIC_PREFIX": self.topics.prefix,
            "ONHAND_PARTITIONS": str(self._arena.partitions),
            "ONHAND_DATA_DIR": str(self._arena.fresh(f"{self.onhand_name}-{number}")),
            "ONHAND_WEB_PORT": str(port),
            **self._settings,
        }

    def create_topics(self) -> None:
        """`onhand topics create`: before the clock."""
        onhand = Path(self._arena.python).parent / "onhand"
        subprocess.run(
            [str(onhand), "topics", "create"],
            cwd=self._arena.tree,
            env={**os.environ, **self._environment(0, free_port())},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def launch(self) -> list[Worker]:
        """Start its workers on empty state folders; its topics are there."""
        ports = [free_port() for _ in range(self._count)]
        self.environments = [
            self._environment(number, port) for number, port in enumerate(ports, 1)
        ]
        self.workers = [self._worker(index) for index in range(self._count)]
        return self.workers

    def start_again(self, index: int) -> None:
        """Start a worker that has ended, on what it left on its disk."""
        self.workers[index].web.close()
        self.workers[index] = self._worker(index)

    def _worker(self, index: int) -> Worker:
        environment = self.environments[index]
        argv = [self._arena.python, "-m", "faust", "-A", "app", "worker", "-l", "info"]
        self._lives[index] += 1
        life = f"-again-{self._lives[index] - 1}" if self._lives[index] > 1 else ""
        log = self._arena.log(f"{self.onhand_name}-{index + 1}{life}")
        process = Process(argv, log, env=environment, cwd=self._arena.tree)
        return Worker(process, Web(int(environment["ONHAND_WEB_PORT"])))

    def start(self) -> list[Process]:
        """See `Contestant`."""
        self.create_topics()
        return [worker.process for worker in self.launch()]

    def begun(self) -> bool:
        """See `Contestant`."""
        return any(worker.handled() for worker in self.workers)

    def handled(self) -> int:
        """See `Contestant`; the check after the kill shows that they were committed."""
        return sum(worker.handled() for worker in self.workers)

    def check(self) -> Checked:
        """Rows of its changelog: JSON by `sku` NUL `location`; keys of its own begin with NUL."""
        self._changelog = read_changelog(self._arena.kafka, f"{self.group}-inventory-changelog")
        found = {
            key.decode(): _values(value)
            for key, value in self._changelog.latest.items()
            if not key.startswith(b"\x00")
        }
        verdict = compare(self.topics.oracle, found)
        return Checked(verdict, self._changelog.records, self._changelog.size_bytes)

    def wait_until_serving(self, timeout_s: float = 60.0) -> None:
        """Return when every worker has an answer of every partition's owner."""
        deadline = time.monotonic() + timeout_s
        ticker = Ticker()
        for worker in self.workers:
            for key in self.a_key_of_each_partition():
                while not _by_the_owner(answer := worker.web.get(inventory_path(key))):
                    worker.process.must_run()
                    if time.monotonic() > deadline:
                        said = answer.body.decode() if answer else "nothing"
                        raise DidNotFinish(
                            f"{self.name}: not serving after {timeout_s:.0f} s: {said}"
                        )
                    ticker.say(f"{self.name}: waiting until it serves")
                    time.sleep(LOOK_EVERY_S)

    def a_key_of_each_partition(self) -> list[str]:
        """Row keys, one for each partition that has rows; known after `check`."""
        assert self._changelog is not None
        one = {
            partition: key.decode()
            for key, partition in self._changelog.partition_of.items()
            if not key.startswith(b"\x00")
        }
        return [one[partition] for partition in sorted(one)]

    def owners(self) -> set[str]:
        """URLs of the workers that own partitions, as the first one says; after `check`."""
        paths = [inventory_path(key) for key in self.a_key_of_each_partition()]
        answers = [self.workers[0].web.get(path) for path in paths]
        return {
            answer.headers["onhand-worker"].rstrip("/")
            for answer in answers
            if answer and _by_the_owner(answer)
        }

    def restore(self) -> Restored | None:
        """Start on what it left, then on empty folders; done when every partition answers.

        One worker only.

        The clock starts at the last look at which no record was restored, so
        that it holds more than Kafka Streams' own, which is restoring alone.
        """
        if self._count > 1:
            return None
        restarted_s = self._restart()
        say(f"{self.name}: restoring")
        wait_until_empty(self._arena.kafka, self.group)
        started = time.monotonic()
        [worker] = self.launch()
        with worker.process as process:
            first = now = look([process])
            while not worker.metric(RESTORED_METRIC):
                first = now
                process.must_run()
                time.sleep(LOOK_EVERY_S)
                now = look([process])
            self.wait_until_serving()
            done: Sample = look([process])
            records = worker.metric(RESTORED_METRIC)
            note = self._read_back(worker)
        spent_s, cpu_s = done.at_s - first.at_s, done.cpu_s - first.cpu_s
        return Restored(records, spent_s, done.at_s - started, note, cpu_s, restarted_s)

    def _restart(self) -> float:
        """Start the one that was killed; seconds until every partition answers."""
        say(f"{self.name}: starting it again")
        wait_until_empty(self._arena.kafka, self.group)
        started = time.monotonic()
        self.start_again(0)
        with self.workers[0].process:
            self.wait_until_serving()
            return time.monotonic() - started

    def _read_back(self, worker: Worker) -> str:
        rows = self.topics.oracle.rows
        keys = random.Random(1).sample(sorted(rows), min(READ_BACK_ROWS, len(rows)))
        answers = [(key, worker.web.get(inventory_path(key))) for key in keys]
        wrong = sum(
            answer is None or answer.status != 200 or _values(answer.body) != tuple(rows[key])
            for key, answer in answers
        )
        return (
            f"{wrong} OF {len(keys)} ROWS WRONG" if wrong else f"{len(keys)} rows read back right"
        )

    def stop(self) -> None:
        """End its workers as an operator does."""
        for worker in self.workers:
            worker.process.stop()
            worker.web.close()


def _by_the_owner(answer: Answer | None) -> bool:
    return (
        answer is not None
        and answer.status == 200
        and answer.headers.get("onhand-role") == "active"
    )


def _values(value: bytes) -> Values:
    row = json.loads(value)
    numbers = [row.get(name, 0) for name in FIELDS]
    if isinstance(numbers[CHECKSUM], str):
        numbers[CHECKSUM] = int(numbers[CHECKSUM], 16)
    return tuple(numbers)
