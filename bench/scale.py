"""`python -m bench.scale`: what partitions cost a worker that has nothing to do, and placing them.

Empty partitions, after they have settled: memory (what processes share counted once), open files,
connections to the one broker, CPU over ten seconds, and how long the workers took to be ready.
docs/scale.md says what the model of `onhand plan` takes from it. With `--paced` the model is held
against many workers beside traffic instead (`bench/onhand/paced.py`).
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import aiohttp
import psutil

from app.group.placement import Holdings, place
from app.planning.constants import PLACING_S
from bench.__main__ import BROKER_SETTINGS
from bench.facts.oracle import Oracle
from bench.harness.contest import Arena, TopicSet
from bench.harness.machine import describe
from bench.harness.progress import say
from bench.onhand.paced import beside_traffic
from dev.kafka import free_port, start
from dev.workers import Worker, onhand, until

#: Workers and partitions.
GROUPS = ((1, 12), (1, 120), (2, 120), (1, 360))
PLACED = ((3, 192), (12, 192), (3, 1000), (12, 1000), (48, 1000))
REST_S, MEASURED_S = 5.0, 10.0


def family(worker: Worker) -> list[psutil.Process]:
    """The worker and its decoding process."""
    process = psutil.Process(worker.pid)
    return [process, *process.children(recursive=True)]


def cpu_s(worker: Worker) -> float:
    """Used so far."""
    return sum(sum(one.cpu_times()[:2]) for one in family(worker))


async def at_rest(kafka: str, folder: Path, count: int, partitions: int) -> Iterator[str]:
    """Start so many workers on empty topics; a line of the table for each."""
    name = f"bench-{free_port()}"
    settings = {
        "ONHAND_KAFKA": kafka,
        "ONHAND_NAME": name,
        "ONHAND_TOPIC_PREFIX": f"{name}.",
        "ONHAND_PARTITIONS": str(partitions),
    }
    code, said = await onhand("topics", "create", settings=settings)
    assert code == 0, said
    workers = [Worker(f"{partitions}-{name}", folder, settings) for name in "ab"[:count]]
    try:
        began = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            await worker.ready(300)
        await until(lambda: is_settled(workers, partitions), "settled", 300)
        took_s = time.monotonic() - began
        await asyncio.sleep(REST_S)
        before = [cpu_s(worker) for worker in workers]
        await asyncio.sleep(MEASURED_S)
        used = [cpu_s(w) - then for w, then in zip(workers, before, strict=True)]
        port = int(kafka.rpartition(":")[2])
        return iter([
            line(worker, port, count, partitions, cpu, took_s)
            for worker, cpu in zip(workers, used, strict=True)
        ])  # fmt: skip
    finally:
        for worker in workers:
            worker.kill()


async def is_settled(workers: list[Worker], partitions: int) -> bool:
    """Whether each partition has an owner, and a standby where there can be one."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{workers[0].url}/v1/cluster") as response,
    ):
        found = (await response.json())["partitions"]
    owners = {one["active"] and one["active"]["worker"] for one in found}
    standbys = len(workers) == 1 or all(one["standbys"] for one in found)
    return (
        len(found) == partitions and None not in owners and len(owners) == len(workers) and standbys
    )


def line(worker: Worker, port: int, count: int, partitions: int, cpu: float, took_s: float) -> str:
    """Of the table."""
    processes = family(worker)
    memory_mb = sum(one.memory_full_info().pss for one in processes) / 1e6
    connections = [
        each for each in processes[0].net_connections("tcp")
        if each.raddr and each.raddr.port == port
    ]  # fmt: skip
    held = partitions // count
    return (
        f"| {count} | {held} | {held * (count - 1)} | {memory_mb:.0f} | {processes[0].num_fds()} "
        f"| {len(connections)} | {100 * cpu / MEASURED_S:.1f} % | {took_s:.1f} |"
    )


def placing() -> Iterator[str]:
    """CPU seconds to place a group from nothing, and when one of its workers is gone."""
    for count, partitions in PLACED:
        holding: Mapping[str, Holdings] = {
            f"http://10.0.0.{n}:6066": Holdings(frozenset(), frozenset()) for n in range(count)
        }
        began = time.process_time()
        placed = place(holding, partitions, 1)
        first_s = time.process_time() - began
        left = {
            name: Holdings(
                duty.actives, duty.standbys, dict.fromkeys(duty.actives | duty.standbys, 1)
            )
            for name, duty in placed.items()
        }
        left.pop(max(left))
        began = time.process_time()
        place(left, partitions, 1)
        again_s = time.process_time() - began
        model_s = PLACING_S.value * partitions**2 * count**0.5
        yield f"| {count} | {partitions} | {first_s:.2f} | {again_s:.2f} | {model_s:.2f} |"


async def run(folder: Path) -> None:
    """Measure and print."""
    lines: list[str] = []
    with start() as kafka:
        for count, partitions in GROUPS:
            say(f"{count} workers, {partitions} partitions")
            lines += await at_rest(kafka.bootstrap, folder, count, partitions)
    print("; ".join(f"{what} {value}" for what, value in describe().items()))
    print("\n| workers | owned | followed | MB | files | connections | CPU | settled after s |")
    print("|---|---|---|---|---|---|---|---|", *lines, sep="\n")
    print("\n| workers | partitions | from nothing, CPU-s | one gone, CPU-s | the model, at most |")
    print("|---|---|---|---|---|", *placing(), sep="\n")


def paced(folder: Path, given: argparse.Namespace) -> None:
    """Hold the plan against workers beside traffic, and print both."""
    with start(settings=BROKER_SETTINGS) as kafka:
        nothing = TopicSet("", Oracle())
        word = f"scale{int(time.time()):x}"
        arena = Arena(kafka.bootstrap, given.partitions, word, nothing, nothing, folder, 600.0)
        found = list(beside_traffic(arena, given.workers, given.per_s, given.seconds))
    print("; ".join(f"{what} {value}" for what, value in describe().items()))
    what = f"{given.workers} workers, {given.partitions} partitions, {given.per_s:,} facts/s"
    print(f"\n| {what} | planned | seen |\n|---|---|---|")
    print(*(f"| {' | '.join(one)} |" for one in found), sep="\n")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--paced", action="store_true", help="workers beside traffic, and the plan")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--partitions", type=int, default=48, help="as many for each worker")
    parser.add_argument("--per-s", type=int, default=1_000, help="facts a second, of all")
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    if given.partitions % given.workers:
        parser.error("each worker must own as many partitions as every other")
    with tempfile.TemporaryDirectory() as folder:
        if given.paced:
            paced(Path(folder), given)
        else:
            asyncio.run(run(Path(folder)))


if __name__ == "__main__":
    main()
