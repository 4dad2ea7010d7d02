"""`POST /v1/lookup` of a thousand keys at each of three workers: two thirds belong to others.

All three are asked at once, as a load balancer would have it, and nothing else is done meanwhile.
"""

import asyncio
import itertools
import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.harness.contest import Arena
from bench.harness.measure import DidNotFinish
from bench.harness.progress import say
from bench.onhand.contestant import Onhand, Worker
from bench.onhand.httpload import send_here
from bench.onhand.reads import WARM_UP_S, AskForReads, Reads

LOOKUPS = "lookups of 1,000 keys"
PATH = "/v1/lookup"
KEYS, CONNECTIONS = 1_000, 12
#: So many lookups of other keys, in turn.
DIFFERENT = 50
_REQUEST = (
    f"POST {PATH} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    "Content-Length: %d\r\n\r\n"
).encode()


@contextmanager
def lookups(folded: Onhand, arena: Arena) -> Iterator[AskForReads]:
    """CPU is that of all workers, for each lookup.

    Args:
        folded: of three workers; they have folded all.
    """
    workers = folded.launch()
    try:
        folded.wait_until_serving()
        if (owning := len(folded.owners())) < len(workers):
            raise DidNotFinish(f"lookups: {owning} of {len(workers)} workers own partitions")
        bodies = list(_bodies(arena))
        _check(workers[0], bodies[0])
        yield lambda seconds: [_measure(workers, bodies, seconds)]
    finally:
        folded.stop()


def _bodies(arena: Arena) -> Iterator[bytes]:
    rows, rng = sorted(arena.full.oracle.rows), random.Random(3)
    for _ in range(DIFFERENT):
        keys = (key.split("\0") for key in rng.sample(rows, KEYS))
        yield json.dumps(
            {"keys": [{"sku": sku, "location": location} for sku, location in keys]}
        ).encode()


def _check(worker: Worker, body: bytes) -> None:
    """Raise unless every row comes, in the order of the keys."""
    answer = worker.web.post(PATH, body)
    found = answer.json().get("items", []) if answer else []
    keys = [{"sku": item["sku"], "location": item["location"]} for item in found]
    if keys != json.loads(body)["keys"]:
        raise DidNotFinish(f"lookups: {len(keys):,} of {KEYS:,} rows came, or in another order")


def _measure(workers: Sequence[Worker], bodies: Sequence[bytes], seconds: float) -> Reads:
    ports = [worker.web.port for worker in workers]
    requests = itertools.cycle([_REQUEST % len(body) + body for body in bodies])
    asyncio.run(send_here(ports, requests, CONNECTIONS, WARM_UP_S))
    cpu_before_s = sum(worker.process.cpu_s() for worker in workers)
    answers = asyncio.run(send_here(ports, requests, CONNECTIONS, seconds))
    cpu_s = sum(worker.process.cpu_s() for worker in workers) - cpu_before_s
    asked = sum(answers.statuses.values())
    cpu_us = cpu_s / asked * 1e6 if asked else float("nan")
    say(
        f"{LOOKUPS}, {CONNECTIONS} connections: {answers.per_s * KEYS:,.0f} keys/s, "
        f"{cpu_us / KEYS:.1f} CPU-µs a key, p99 {answers.p99_ms:.1f} ms, {answers.statuses}"
    )
    return Reads(LOOKUPS, answers, cpu_us)
