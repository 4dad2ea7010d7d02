"""From append to readable, and what a worker burns meanwhile.

A paced producer makes the traffic. Beside it, twenty times a second, a probe
appends one sale of a SKU of its own (linger 0, acks all) and, as soon as Kafka
has told its offset, asks the worker for that row with `min_position`: one
waiting request instead of many polls, under half a percent of a core. The
clock runs from the call of `produce` to the answer that shows the sale, so it
holds the append and the HTTP request too. A row that is not there yet is asked
for again; such misses are counted.
"""

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaError, Message, Producer

from bench.contest import Arena, TopicSet
from bench.httpload import quantile
from bench.load import create_sources, fact_producer
from bench.measure import DidNotFinish, Process
from bench.onhand import Onhand, Worker
from bench.oracle import Oracle, row_key
from bench.progress import Ticker, say
from bench.web import Web, inventory_path

REPO = Path(__file__).resolve().parent.parent
PROBES_PER_S = 20
PROBE_CONNECTIONS = 16
PROBE_TIMEOUT_S = 10.0
WAIT_MS = 5_000
ASK_AGAIN_AFTER_S = 0.005
SETTLE_S = 3.0
START_PROBES = 6  # of PROBE_TIMEOUT_S each: a minute to take over twelve partitions
PROBE_VALUE = (
    '{{"specversion":"1.0","id":"{sku}","source":"probe","type":"inventory.sale.completed.v1",'
    '"time":"2026-11-23T10:00:00Z","data":{{"sku":"{sku}","location":"store-000","quantity":1}}}}'
)


@dataclass(frozen=True)
class Latency:
    """One pace.

    Attributes:
        per_s: events a second; 0 is idle.
        cpu_percent: of one core, by the worker, over the middle of the time.
        p50_ms, p99_ms, max_ms: append to readable; nan when idle.
        probes: how many were measured.
        misses: answers that did not show the sale yet.
        lost: probes given up after PROBE_TIMEOUT_S; they count with that time.
    """

    per_s: int
    cpu_percent: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    probes: int
    misses: int
    lost: int


class _OfThisThread(threading.local):
    web: Web | None = None


class Probe:
    """Appends one sale and waits until it is readable."""

    def __init__(self, arena: Arena, prefix: str, worker: Worker) -> None:
        self._producer: Producer = fact_producer(arena.kafka, **{"linger.ms": 0})
        self._topic = f"{prefix}sales"
        self._port = worker.web.port
        self._local = _OfThisThread()
        self._number = 0

    def _web(self) -> Web:
        if self._local.web is None:
            self._local.web = Web(self._port)
        return self._local.web

    def measure(self, number: int) -> tuple[float, int]:
        """Returns seconds from append to readable, and how often it was not there yet.

        Gives up after PROBE_TIMEOUT_S and returns that.
        """
        sku = f"PROBE-{time.time_ns():x}-{number}"
        landed: list[Message] = []
        acknowledged = threading.Event()

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                landed.append(message)
            acknowledged.set()

        started = time.perf_counter()
        value = PROBE_VALUE.format(sku=sku).encode()
        self._producer.produce(self._topic, value, sku.encode(), on_delivery=on_delivery)
        while not acknowledged.is_set():
            self._producer.poll(0.005)
        if not landed:
            raise DidNotFinish("latency: Kafka did not take a probe; see its log")
        message = landed[0]
        position = f"{message.topic()}-{message.partition()}@{message.offset()}"
        path = inventory_path(row_key(sku, "store-000"))
        misses = 0
        while time.perf_counter() - started < PROBE_TIMEOUT_S:
            answer = self._web().get(f"{path}?min_position={position}&wait_ms={WAIT_MS}")
            if answer and answer.status == 200 and answer.json().get("sold") == 1:
                return time.perf_counter() - started, misses
            misses += 1
            time.sleep(ASK_AGAIN_AFTER_S)
        return PROBE_TIMEOUT_S, misses


def measure_latency(arena: Arena, paces: Sequence[int], seconds: float) -> Iterator[Latency]:
    """One worker with its defaults on topics of its own: idle first, then each pace.

    Yields what is measured as it is, so that a later failure costs no earlier figure.

    Args:
        arena: partitions and Kafka.
        paces: events a second.
        seconds: of each measured stretch, after a few to settle.
    """
    prefix = f"{arena.run}.latency."
    create_sources(arena.kafka, prefix, arena.partitions)
    installation = Onhand(arena, topics=TopicSet(prefix, Oracle()), label=" latency")
    installation.start()
    [worker] = installation.workers
    try:
        probe = Probe(arena, prefix, worker)
        _wait_until_it_answers(probe, worker)
        yield _idle(worker, seconds)
        for number, per_s in enumerate(paces):
            yield _at_pace(arena, prefix, worker, probe, per_s, seconds, seed=100 + number)
    finally:
        installation.stop()


def _wait_until_it_answers(probe: Probe, worker: Worker) -> None:
    ticker = Ticker()
    for _ in range(START_PROBES):
        ticker.say("latency: waiting for the worker")
        worker.process.must_run()
        took_s, _ = probe.measure(0)
        if took_s < PROBE_TIMEOUT_S:
            return
    raise DidNotFinish("latency: the worker never showed a probe")


def _idle(worker: Worker, seconds: float) -> Latency:
    say(f"latency: idle for {seconds:.0f} s")
    time.sleep(SETTLE_S)
    percent = _cpu_percent(worker, seconds)
    say(f"latency: idle costs {percent:.1f} % of a core")
    nan = float("nan")
    return Latency(0, percent, nan, nan, nan, 0, 0, 0)


def _cpu_percent(worker: Worker, seconds: float) -> float:
    started, before_s = time.perf_counter(), worker.process.cpu_s()
    time.sleep(seconds)
    return (worker.process.cpu_s() - before_s) / (time.perf_counter() - started) * 100


def _at_pace(
    arena: Arena, prefix: str, worker: Worker, probe: Probe, per_s: int, seconds: float, seed: int
) -> Latency:
    say(f"latency: {per_s:,} events/s for {seconds + SETTLE_S:.0f} s")
    length = str(seconds + 2 * SETTLE_S)
    argv = [sys.executable, "-m", "bench.pace", arena.kafka, prefix, str(per_s), length, str(seed)]
    with (
        Process(argv, arena.log(f"pace-{per_s}"), cwd=REPO) as producer,
        ThreadPoolExecutor(PROBE_CONNECTIONS) as probes,
    ):
        time.sleep(SETTLE_S)
        cpu = probes.submit(_cpu_percent, worker, seconds)
        started = time.perf_counter()
        pending = []
        for number in range(int(seconds * PROBES_PER_S)):
            time.sleep(max(0.0, started + number / PROBES_PER_S - time.perf_counter()))
            pending.append(probes.submit(probe.measure, number))
        measured = [each.result() for each in pending]
        percent = cpu.result()
        if producer.wait(timeout_s=60):
            raise DidNotFinish(f"latency: {producer.log_tail()}")
        said = producer.log_tail()
    took_ms = sorted(took_s * 1_000 for took_s, _ in measured)
    latency = Latency(
        per_s=per_s,
        cpu_percent=percent,
        p50_ms=quantile(took_ms, 0.50),
        p99_ms=quantile(took_ms, 0.99),
        max_ms=took_ms[-1],
        probes=len(took_ms),
        misses=sum(misses for _, misses in measured),
        lost=sum(took_s >= PROBE_TIMEOUT_S for took_s, _ in measured),
    )
    say(
        f"latency: {per_s:,} events/s ({said}): append to readable p50 {latency.p50_ms:.0f} ms, "
        f"p99 {latency.p99_ms:.0f} ms, worker {percent:.0f} % of a core"
    )
    return latency
