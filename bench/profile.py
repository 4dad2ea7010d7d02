"""Where the microseconds go: one worker folds a loaded topic set under py-spy.

`python -m bench.profile --events 500000`. py-spy (`pip install py-spy`) samples
from outside, by default 200 times a second; native code counts for the Python
function that called it. Shares are of samples in which a thread held its
interpreter's lock; the worker and the process that decodes for it have one each.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from bench.facts.load import Load, load
from bench.harness.contest import Arena, TopicSet
from bench.harness.machine import REPO
from bench.harness.progress import Ticker, say
from bench.onhand.contestant import Onhand
from dev.kafka import start

SAMPLES_PER_S = 200
TOP = 30
OURS = ("app/", "agents/", "tables/", "web/", "domain/")
OUT = Path(__file__).resolve().parent / "out"


def stacks(collapsed: str) -> Iterator[tuple[list[str], int]]:
    """Read py-spy's `raw` format: frames from outside in, then a count."""
    for line in collapsed.splitlines():
        frames, _, count = line.rpartition(" ")
        yield frames.split(";"), int(count)


def by_process(
    samples: Iterable[tuple[list[str], int]],
) -> dict[str, list[tuple[list[str], int]]]:
    """Samples of the worker, and of the process that decodes for it."""
    found: dict[str, list[tuple[list[str], int]]] = {"worker": [], "decoding process": []}
    for frames, count in samples:
        decodes = any("tables.decoder" in frame for frame in frames[:2])
        found["decoding process" if decodes else "worker"].append((frames, count))
    return found


def _without_line(frame: str) -> str:
    name, _, place = frame.partition(" (")
    file = place.rstrip(")").partition(":")[0]
    for root in (f"{REPO}/", "site-packages/"):
        file = file.rpartition(root)[2] or file
    return f"{name} ({file})"


def by_leaf(samples: Iterable[tuple[list[str], int]]) -> Counter[str]:
    """Samples by the function in which they were taken."""
    found: Counter[str] = Counter()
    for frames, count in samples:
        found[_without_line(frames[-1])] += count
    return found


def by_our_function(samples: Iterable[tuple[list[str], int]]) -> Counter[str]:
    """Samples by the innermost function of this project on the stack."""
    found: Counter[str] = Counter()
    for frames, count in samples:
        ours = [
            name for name in map(_without_line, frames) if name.partition("(")[2].startswith(OURS)
        ]
        found[ours[-1] if ours else "elsewhere: Faust, aiokafka, event loop"] += count
    return found


def table(title: str, found: Counter[str]) -> str:
    """The largest shares, as Markdown."""
    total = sum(found.values()) or 1
    rows = [f"| {name} | {count / total:.1%} |" for name, count in found.most_common(TOP)]
    return "\n".join([f"| {title} | share |", "|---|---|", *rows])


def record(arena: Arena, pyspy: str) -> str:
    """Fold everything once under py-spy; returns its collapsed stacks."""
    installation = Onhand(arena, label=" profiled")
    installation.start()
    [worker] = installation.workers
    output = arena.folder / "profile.raw"
    ticker = Ticker()
    try:
        while not installation.begun():
            worker.process.must_run()
            ticker.say("profile: starting")
            time.sleep(0.01)
        argv = [pyspy, "record", "--pid", str(worker.process.pid), "--format", "raw"]
        argv += ["--rate", str(SAMPLES_PER_S), "--duration", "600", "--nonblocking", "--gil"]
        argv += ["--subprocesses", "--output", str(output)]
        sampler = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while (done := installation.handled()) < arena.full.oracle.records:
            worker.process.must_run()
            ticker.say(f"profile: {done:,} of {arena.full.oracle.records:,}")
            time.sleep(0.1)
    finally:
        installation.stop()
    sampler.wait(30)
    return output.read_text()


def main() -> int:
    """Print two tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--events", type=int, default=500_000)
    parser.add_argument("--kafka", help="use this broker instead of starting one")
    given = parser.parse_args()
    pyspy = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if pyspy is None:
        sys.exit("bench.profile needs py-spy: `.venv/bin/pip install py-spy`, then again")
    kafka = None if given.kafka else start()
    try:
        address = given.kafka or (kafka.bootstrap if kafka else "")
        run = f"profile{int(time.time()):x}"
        plan = Load(events=given.events)
        prefix, oracle = next(iter(load(address, {f"{run}.": plan.events}, plan).items()))
        topics = TopicSet(prefix, oracle)
        arena = Arena(address, plan.partitions, run, topics, topics, OUT.resolve(), 300.0)
        samples = list(stacks(record(arena, pyspy)))
    finally:
        if kafka:
            kafka.stop()
    for name, its in by_process(samples).items():
        say(f"{name}: {sum(count for _, count in its):,} samples")
        print(table(f"{name}, innermost function of ours", by_our_function(its)), end="\n\n")
        print(table(f"{name}, innermost function", by_leaf(its)), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
