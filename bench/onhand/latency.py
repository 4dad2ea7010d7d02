"""From append to readable, and what a worker burns meanwhile.

A probe appends one sale itself (linger 0, acks all) and asks the one worker;
the clock runs from the call of `produce`.
"""

import threading
import time
from collections.abc import Iterator, Sequence

from confluent_kafka import KafkaError, Message, Producer

from bench.facts.load import create_sources, fact_producer
from bench.facts.oracle import Oracle
from bench.harness.contest import Arena, TopicSet
from bench.harness.measure import DidNotFinish
from bench.harness.progress import Ticker, say
from bench.onhand.contestant import Onhand, Worker
from bench.onhand.probes import (
    PROBE_LOCATION,
    PROBE_TIMEOUT_S,
    SETTLE_S,
    Latency,
    Probe,
    cpu_percent,
    probe_at_pace,
)

START_PROBES = 6  # of PROBE_TIMEOUT_S each: a minute to take over twelve partitions
PROBE_VALUE = (
    '{{"specversion":"1.0","id":"{sku}","source":"probe","type":"inventory.sale.completed.v1",'
    '"time":"2026-11-23T10:00:00Z","data":{{"sku":"{sku}","location":"{location}","quantity":1}}}}'
)


class AppendProbe(Probe):
    """Appends the sale to Kafka, asks the workers in turn."""

    def __init__(self, arena: Arena, installation: Onhand) -> None:
        super().__init__("latency", installation.workers)
        self._producer: Producer = fact_producer(arena.kafka, **{"linger.ms": 0})
        self._topic = f"{installation.topics.prefix}sales"

    def asked(self, number: int) -> Worker:
        """See `Probe`."""
        return self.workers[number % len(self.workers)]

    def send(self, number: int, sku: str) -> str:
        """See `Probe`; raises `DidNotFinish` if Kafka does not take it."""
        landed: list[Message] = []
        acknowledged = threading.Event()

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is None:
                landed.append(message)
            acknowledged.set()

        value = PROBE_VALUE.format(sku=sku, location=PROBE_LOCATION).encode()
        self._producer.produce(self._topic, value, sku.encode(), on_delivery=on_delivery)
        while not acknowledged.is_set():
            self._producer.poll(0.005)
        if not landed:
            raise DidNotFinish("latency: Kafka did not take a probe; see its log")
        message = landed[0]
        return f"{message.topic()}-{message.partition()}@{message.offset()}"


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
    try:
        probe = AppendProbe(arena, installation)
        _wait_until_it_answers(probe)
        yield _idle(installation.workers, seconds)
        for number, per_s in enumerate(paces):
            yield probe_at_pace(arena, installation, probe, per_s, seconds, seed=100 + number)
    finally:
        installation.stop()


def _wait_until_it_answers(probe: Probe) -> None:
    ticker = Ticker()
    for _ in range(START_PROBES):
        ticker.say("latency: waiting for the worker")
        probe.asked(0).process.must_run()
        if probe.measure(0).took_s < PROBE_TIMEOUT_S:
            return
    raise DidNotFinish("latency: the worker never showed a probe")


def _idle(workers: Sequence[Worker], seconds: float) -> Latency:
    say(f"latency: idle for {seconds:.0f} s")
    time.sleep(SETTLE_S)
    percent = cpu_percent(workers, seconds)
    say(f"latency: idle costs {percent:.1f} % of a core")
    nan = float("nan")
    return Latency(0, percent, nan, nan, nan, probes=0, misses=0, lost=0, forwarded=0)
