"""`python -m bench.client`: reads/s through the Python client beside bare aiohttp, ratios.

Two workers, idle. In alternating rounds: GETs of one worker's own rows by a bare aiohttp session
(the local rate), the same rows through the client, all rows by the bare session at one worker (half
of them are passed on), and all rows through the client. Each reads and decodes every answer.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp

from bench.harness.machine import describe
from bench.harness.progress import say
from bench.harness.targets import least
from dev.kafka import free_port, start
from dev.reads.answers import row_url
from dev.workers import Worker, onhand, until
from onhand_client import AsyncClient, Line
from onhand_client.partitioning import partition_of

PARTITIONS, ROWS = 12, 2_000
CONNECTIONS = (1, 32)
LOCAL, CLIENT = "bare aiohttp, own rows of a worker", "client, the same rows"
FORWARDED, ALL = "bare aiohttp, all rows at one worker", "client, all rows"
LEAST = 0.9

Key = tuple[str, str]
Read = Callable[[Key], Awaitable[object]]


async def rate(read: Read, keys: Sequence[Key], connections: int, seconds: float) -> float:
    """Answers a second, one request in flight for each connection."""
    asked, until_s = 0, time.perf_counter() + seconds
    began = time.perf_counter()

    async def ask(number: int) -> None:
        nonlocal asked
        rng = random.Random(number)
        while time.perf_counter() < until_s:
            await read(rng.choice(keys))
            asked += 1

    await asyncio.gather(*map(ask, range(connections)))
    return asked / (time.perf_counter() - began)


async def filled(client: AsyncClient, workers: Sequence[Worker]) -> list[Key]:
    """Rows in every partition, counted, with an owner each; their keys."""
    lines: list[Line] = [
        {"source": "bench", "sku": f"SKU-{n:06d}", "location": "store-1", "quantity": 1}
        for n in range(ROWS)
    ]
    result = await client.post_shipments(lines, timeout_s=60)
    session = client.session(result.position)
    keys = [(line["sku"], line["location"]) for line in lines]

    async def is_shared() -> bool:
        body = await client.get("/v1/cluster")
        owners = {place["active"] and place["active"]["worker"] for place in body["partitions"]}
        return owners == {worker.url for worker in workers}

    await until(is_shared, "owned by both workers", 60)
    found = await session.lookup(keys, timeout_s=60)
    assert len(found.rows) == ROWS
    return keys


async def compared(workers: Sequence[Worker], rounds: int, seconds: float) -> dict[str, float]:
    """Median rates, by what was measured."""
    rates: dict[str, list[float]] = defaultdict(list)
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        AsyncClient([worker.url for worker in workers]) as client,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        keys = await filled(client, workers)
        one = workers[0].url
        body = await client.get("/v1/cluster")
        mine = {p["partition"] for p in body["partitions"] if p["active"]["worker"] == one}
        own = [key for key in keys if partition_of(key[0], PARTITIONS) in mine]
        say(f"{len(own)} of {len(keys)} rows are those of {one}")

        async def bare(key: Key) -> None:
            async with http.get(row_url(one, key)) as response:
                json.loads(await response.read())

        kinds: list[tuple[str, Read, list[Key]]] = [
            (LOCAL, bare, own),
            (CLIENT, lambda key: client.row(*key), own),
            (FORWARDED, bare, keys),
            (ALL, lambda key: client.row(*key), keys),
        ]
        for number in range(rounds):
            for connections in CONNECTIONS:
                for what, read, some in kinds if number % 2 else kinds[::-1]:
                    found = await rate(read, some, connections, seconds)
                    rates[f"{what}, {connections}"].append(found)
                    say(f"{what}, {connections} at once: {found:,.0f}/s")
    return {what: statistics.median(some) for what, some in rates.items()}


async def run(folder: Path, rounds: int, seconds: float) -> None:
    """Start everything, measure, print."""
    with start() as kafka:
        settings = {
            "ONHAND_KAFKA": kafka.bootstrap,
            "ONHAND_NAME": f"bench-{free_port()}",
            "ONHAND_PARTITIONS": str(PARTITIONS),
        }
        code, said = await onhand("topics", "create", settings=settings)
        assert code == 0, said
        workers = [Worker(name, folder, settings) for name in "ab"]
        try:
            for worker in workers:
                worker.start()
            for worker in workers:
                await worker.ready()
            rates = await compared(workers, rounds, seconds)
        finally:
            for worker in workers:
                worker.kill()
    print("; ".join(f"{what} {value}" for what, value in describe().items()))
    for what, found in rates.items():
        print(f"{what} at once: {found:,.0f}/s")
    for connections in CONNECTIONS:
        local = rates[f"{LOCAL}, {connections}"]
        for what, limit in ((CLIENT, LEAST), (ALL, LEAST)):
            name = f"{what} ÷ local, {connections} at once"
            for goal in least(name, rates[f"{what}, {connections}"] / local, limit, " ×"):
                print(f"{goal.what}: {goal.measured} (wanted {goal.wanted}): {goal.word}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), given.rounds, given.seconds))


if __name__ == "__main__":
    main()
