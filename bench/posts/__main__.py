"""Facts by HTTP: `python -m bench.posts [OTHER_TREE] [--rounds 5] [--seconds 3]`.

One worker of this checkout, one of another (a checkout with its .venv), and a bare aiohttp handler
with one aiokafka producer that checks nothing, on one broker, asked in turn: single facts over 32
connections, and arrays of 1,000 over 8. CPU is that of the process asked; a worker's holds the
fold of what it took, until all is committed. Our own client shares the cores.
"""

import argparse
import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.__main__ import BROKER_SETTINGS, OUT
from bench.facts.load import Load
from bench.facts.oracle import Oracle
from bench.harness.contest import Arena, TopicSet
from bench.harness.machine import describe
from bench.harness.measure import DidNotFinish
from bench.harness.progress import say
from bench.onhand.httpload import send_here
from bench.posts.asked import TIMEOUT_S, Asked, Bare, OfOnhand, until
from dev.kafka import start

SKUS = 10_000
#: The first seconds of a process are dearer than those that follow.
WARM_UP_S = 3.0


class Shape(NamedTuple):
    """What one request holds, over how many connections they come, and requests/s at most."""

    name: str
    lines: int
    connections: int
    most_per_s: int


SHAPES = (Shape("single facts", 1, 32, 20_000), Shape("arrays of 1,000", 1_000, 8, 300))
BARE, HERE, THERE = "bare handler", "this checkout", "the other checkout"


class Measured(NamedTuple):
    """Of one process, asked once."""

    facts_per_s: float
    cpu_us: float
    p99_ms: float


class Requests:
    """POSTs of facts that nobody has seen."""

    def __init__(self) -> None:
        self._made = 0

    def make(self, shape: Shape, port: int, seconds: float) -> Iterator[bytes]:
        """As many as can be taken in that time, made at once: making them is not what counts."""
        return iter([self._one(shape, port) for _ in range(int(shape.most_per_s * seconds))])

    def _one(self, shape: Shape, port: int) -> bytes:
        lines = [self._line() for _ in range(shape.lines)]
        body = json.dumps(lines if shape.lines > 1 else lines[0]).encode()
        head = f"POST /v1/sales HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _line(self) -> dict[str, object]:
        self._made += 1
        sku = f"SKU-{self._made * 7919 % SKUS:06d}"
        its = {"source": "till-1", "id": f"s-{self._made}", "sku": sku}
        return {**its, "location": f"store-{self._made % 20:03d}", "quantity": 1}


def measure(asked: Asked, shape: Shape, requests: Requests, seconds: float) -> Measured:
    """Ask one of them, and wait until all that it took is counted."""
    before, cpu_s = asked.handled(), asked.process.cpu_s()
    posts = requests.make(shape, asked.port, seconds)
    answers = asyncio.run(send_here([asked.port], posts, shape.connections, seconds))
    if set(answers.statuses) != {202}:
        raise DidNotFinish(f"not all were taken: {answers.statuses}; see {asked.process.log}")
    facts = answers.statuses[202] * shape.lines
    until(lambda: before is None or asked.handled() == before + facts, asked.process)
    spent_us = (asked.process.cpu_s() - cpu_s) * 1e6
    return Measured(answers.per_s * shape.lines, spent_us / facts, answers.p99_ms)


def table(shape: Shape, found: Mapping[str, list[Measured]]) -> str:
    """Medians, and ratios of the rounds to this checkout's."""
    lines = [f"| {shape.name}, {shape.connections} connections | facts/s | CPU-µs a fact | p99 ms "]
    lines[0] += "| this checkout's rate is | its CPU is |"
    lines.append("|---" * 6 + "|")
    here = found[HERE]
    for name, its in found.items():
        rate = median(
            mine.facts_per_s / one.facts_per_s for mine, one in zip(here, its, strict=True)
        )
        cpu = median(mine.cpu_us / one.cpu_us for mine, one in zip(here, its, strict=True))
        per_s, us, p99 = (median(each) for each in zip(*its, strict=True))
        lines.append(
            f"| {name} | {per_s:,.0f} | {us:.1f} | {p99:,.1f} | {rate:.2f} × | {cpu:.2f} × |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.posts", description=__doc__)
    parser.add_argument("other", type=Path, nargs="?", help="a checkout with its .venv")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="shapes with this word")
    given = parser.parse_args()
    print("; ".join(f"{what} {value}" for what, value in describe().items()))
    with start(settings=BROKER_SETTINGS) as kafka:
        run, nothing = f"posts{int(time.time()):x}", TopicSet("", Oracle())
        arena = Arena(
            kafka.bootstrap, Load.partitions, run, nothing, nothing, OUT.resolve(), TIMEOUT_S
        )
        asked: dict[str, Asked] = {BARE: Bare(arena), HERE: OfOnhand(arena)}
        if given.other:
            there = replace(arena, tree=given.other.resolve(), run=f"{run}other")
            asked[THERE] = OfOnhand(there)
        try:
            requests = Requests()
            for shape in (one for one in SHAPES if given.only in one.name):
                found: dict[str, list[Measured]] = {name: [] for name in asked}
                for each in asked.values():
                    measure(each, shape, requests, WARM_UP_S)
                for number in range(given.rounds):
                    for name in [*asked][:: -1 if number % 2 else 1]:
                        its = measure(asked[name], shape, requests, given.seconds)
                        found[name].append(its)
                        say(f"{shape.name}, {name}: {its.facts_per_s:,.0f} facts/s")
                print(table(shape, found), end="\n\n", flush=True)
        finally:
            for each in asked.values():
                each.process.kill()


if __name__ == "__main__":
    main()
