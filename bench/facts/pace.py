"""A producer at a fixed pace, in a process of its own so that it disturbs no stop-watch.

`python -m bench.facts.pace HOST:PORT PREFIX EVENTS_PER_S SECONDS SEED`
"""

import gc
import sys
import time

from bench.facts.events import facts
from bench.facts.load import fact_producer, send

BEGUN = "the pace begins"
TICK_S = 0.005
LINGER_MS = 5
POPULATION_SKUS = 10_000
BEHIND_TOO_MUCH_S = 0.5


def pace(kafka: str, prefix: str, per_s: int, seconds: float, seed: int) -> None:
    """Send `per_s` facts each second, evenly; complain if the producer itself cannot."""
    producer = fact_producer(kafka, **{"linger.ms": LINGER_MS, "batch.size": 100_000})
    total = int(per_s * seconds)
    # Made beforehand: making them takes as long as folding them, of the same processor.
    stream = iter(list(facts(total, seed=seed, skus=POPULATION_SKUS)))
    gc.freeze()
    print(BEGUN, flush=True)
    started = time.perf_counter()
    worst_behind_s = 0.0
    sent = 0
    while sent < total:
        now_s = time.perf_counter() - started
        due = min(total, int(now_s * per_s))
        worst_behind_s = max(worst_behind_s, (due - sent) / per_s - TICK_S)
        for _ in range(due - sent):
            fact = next(stream)
            send(producer, prefix + fact.topic, fact)
        sent = due
        producer.poll(0)
        time.sleep(max(0.0, TICK_S - (time.perf_counter() - started - now_s)))
    producer.flush(30)
    print(f"sent {total:,} facts, at worst {worst_behind_s * 1000:.0f} ms late", flush=True)
    if worst_behind_s > BEHIND_TOO_MUCH_S:
        sys.exit("the pace was not held: the machine was busy with other things")


if __name__ == "__main__":
    pace(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
