"""A client's own write, seen through another worker than the one that took it.

A probe posts one sale to one of two workers and asks the other for the row, at
the position that the first one answered; the clock runs from the begin of the
POST. The workers change roles with every probe.
"""

import json
import time

from bench.facts.load import Load, load
from bench.harness.contest import Arena, TopicSet
from bench.harness.measure import DidNotFinish
from bench.harness.progress import Ticker
from bench.onhand.contestant import Onhand, Worker
from bench.onhand.probes import PROBE_LOCATION, Latency, Probe, probe_at_pace

# Before the clock, to see of every partition that it is served: Zipf's law leaves hundreds of SKUs.
FIRST_EVENTS = 1_000
START_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2
SEED = 200


class PostProbe(Probe):
    """Posts the sale through one worker, asks the next."""

    def __init__(self, installation: Onhand) -> None:
        super().__init__("own-write", installation.workers)

    def asked(self, number: int) -> Worker:
        """See `Probe`."""
        return self.workers[(number + 1) % len(self.workers)]

    def send(self, number: int, sku: str) -> str | None:
        """See `Probe`."""
        sale = {"source": "probe", "id": sku, "sku": sku, "location": PROBE_LOCATION, "quantity": 1}
        worker = self.workers[number % len(self.workers)]
        answer = self.web(worker).post("/v1/sales", json.dumps(sale).encode())
        return str(answer.json()["position"]) if answer and answer.status == 202 else None


def measure_own_write(arena: Arena, per_s: int, seconds: float) -> Latency:
    """Two workers with their defaults on topics of their own.

    Args:
        arena: partitions and Kafka.
        per_s: events a second of other traffic.
        seconds: of the measured stretch, after a few to settle.
    """
    prefixes = {f"{arena.run}.own-write.": FIRST_EVENTS}
    [(prefix, oracle)] = load(arena.kafka, prefixes, Load(partitions=arena.partitions)).items()
    installation = Onhand(arena, 2, topics=TopicSet(prefix, oracle), label=" own write")
    installation.start()
    try:
        _wait_until_both_serve(installation)
        probe = PostProbe(installation)
        for number in range(len(installation.workers)):
            probe.measure(number)  # a worker's first POST is not what is asked for
        return probe_at_pace(arena, installation, probe, per_s, seconds, SEED)
    finally:
        installation.stop()


def _wait_until_both_serve(installation: Onhand) -> None:
    """Return when each worker answers for every partition, and owns some."""
    deadline = time.monotonic() + START_TIMEOUT_S
    ticker = Ticker()
    while time.monotonic() < deadline:
        for worker in installation.workers:
            worker.process.must_run()
        verdict = installation.check().verdict
        if verdict and not verdict.wrong:
            installation.wait_until_serving()
            # A worker that joins late owns nothing at first: the rebalance is still to come.
            if len(installation.owners()) == len(installation.workers):
                return
        ticker.say("own-write: waiting for the workers")
        time.sleep(LOOK_EVERY_S)
    raise DidNotFinish(f"own-write: not both workers own partitions after {START_TIMEOUT_S:.0f} s")
