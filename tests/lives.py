"""Workers that start, stop and move at the same time, and what must not happen then."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import aiohttp

from dev.answers import owners
from dev.workers import Worker, until
from tests.faults import passes
from tests.workers import Cluster


async def rolled(cluster: Cluster, names: Iterable[str], apart_s: float) -> None:
    """Each is told to stop so long after the one before, and started again when it has ended."""

    async def again(worker: Worker) -> None:
        assert await worker.stop(60) == 0, worker.tail()
        cluster.launch(worker.name)
        await worker.ready()

    rolling = []
    for name in names:
        rolling.append(asyncio.ensure_future(again(cluster.worker(name))))
        await passes(apart_s)
    await asyncio.gather(*rolling)
    await cluster.settled()


@asynccontextmanager
async def a_slow_caller(worker: Worker) -> AsyncIterator[Callable[[], bool]]:
    """A request under way whose body does not end: told to stop, the worker waits for it.

    Gives whether it was answered, or cut off.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
    writer.write(b"POST /v1/sales HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: 1000\r\n\r\n[")
    answer = asyncio.ensure_future(reader.read(1))
    try:
        yield answer.done
    finally:
        answer.cancel()
        writer.close()


async def stopped_together(cluster: Cluster, *names: str) -> None:
    """All of them are told to stop at one moment."""
    codes = await asyncio.gather(*(cluster.worker(name).stop(60) for name in names))
    assert codes == [0] * len(names), cluster.logs()
    await cluster.settled()


async def owns_all(cluster: Cluster, worker: Worker) -> None:
    """Wait until it says of itself that it owns every partition."""

    async def alone() -> bool:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as http:
            found = await owners(http, worker.url, cluster.partitions)
        return found == [worker.url] * cluster.partitions

    await until(alone, f"owned by {worker.name}: all partitions", 30, every_s=0.1)


def said(cluster: Cluster, what: str) -> list[str]:
    """Lines of all workers' logs that hold this."""
    logs = [worker.log.read_text(errors="replace") for worker in cluster.workers.values()]
    return [line for log in logs for line in log.splitlines() if what in line]


def assert_nobody_was_fenced(cluster: Cluster) -> None:
    """Neither by one who left, nor by one who came; and nobody had to be started again."""
    assert said(cluster, "the broker refused a commit") == [], cluster.logs()
    assert said(cluster, "The worker ends") == []
