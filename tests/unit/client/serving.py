"""Workers for the client: the house's own in one process, and small ones that misbehave."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry

from core.positions import Place, format_position
from core.stages import Role
from domain.rules.held import Ruling
from onhand_client import AsyncClient
from onhand_client.pacing import HedgeDelay
from tests.support.http.ending import end
from tests.support.inside.fleet import Fleet
from tests.support.inside.shelf import SALES, TOPICS
from web.operations.ops import Ops
from web.writes.appending import Outgoing, Receipt
from web.writes.facts import FactLimits, Facts

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ShopLog:
    """What all workers of a shop append to. `confirms`: how many records of each POST."""

    def __init__(self) -> None:
        self.records: list[Outgoing] = []
        self.ends: Counter[Place] = Counter()
        self.confirms: int | None = None

    async def append(self, records: Sequence[Outgoing]) -> Receipt:
        offsets: list[int | None] = []
        for index, record in enumerate(records):
            place = (record.topic, record.partition)
            is_in = self.confirms is None or index < self.confirms
            offsets.append(self.ends[place] if is_in else None)
            self.ends[place] += is_in
            self.records.append(record)
        return Receipt(offsets, None if None not in offsets else "Kafka did not confirm.")


class Shop(Fleet):
    """A fleet that takes facts too, and says who owns what."""

    def __init__(self, size: int = 3, count: int = 6) -> None:
        super().__init__(size, count)
        self.log = ShopLog()
        topics = {name: name for name in TOPICS}
        for worker in self.workers:
            ops = Ops(1, worker.shelf, CollectorRegistry(), worker.roster.workers)
            facts = Facts(
                lambda records: self.log.append(records), topics, count, FactLimits(), Ruling()
            )
            worker.routes += [*ops.routes(), *facts.routes()]

    @property
    def urls(self) -> list[str]:
        return [worker.url for worker in self.workers]

    def asked(self, path: str = "/v1/inventory") -> list[int]:
        """How many calls each worker got, of callers and by hops."""
        return [sum(path in seen[1] for seen in worker.seen) for worker in self.workers]

    def hops(self) -> int:
        return sum(hop for worker in self.workers for *_, hop in worker.seen)

    def counts_at_once(self, sku: str, location: str, received: int) -> None:
        """From now on every fact is counted when it is appended; of one row so is what it sold."""
        sold = 0
        append = self.log.append

        async def append_and_count(records: Sequence[Outgoing]) -> Receipt:
            nonlocal sold
            receipt = await append(records)
            sold += sum(record.key == sku.encode() for record in records)
            self.put(sku, location, received=received, sold=sold)
            for worker in self.workers:
                for number, held in worker.shelf.held.items():
                    ends = {t: end for (t, p), end in self.log.ends.items() if p == number}
                    held.advance({SALES: 10} | ends)
            return receipt

        for partition in range(self.count):
            self.log.ends[SALES, partition] = 10
        self.log.append = append_and_count  # type: ignore[method-assign]

    def move(self, partition: int, to: int) -> None:
        """Another worker owns it from now on; heartbeats have not told yet."""
        for worker in self.workers:
            if partition in worker.shelf.held:
                worker.shelf.drop(partition)
        self.workers[to].shelf.hold([partition], Role.ACTIVE, sales=10)

    async def revive(self, number: int) -> None:
        """A worker that died listens again, at the same address."""
        worker = self.workers[number]
        port = int(worker.url.rpartition(":")[2])
        worker._socket = socket.create_server(("127.0.0.1", port))
        await worker.start()


@asynccontextmanager
async def a_shop(size: int = 3, count: int = 6, rows: int = 60) -> AsyncIterator[Shop]:
    async with Shop(size, count) as shop:
        shop.share(rows)
        yield shop


def hedge_after(client: AsyncClient, seconds: float) -> None:
    """Where requests are counted, a slow machine must not make more of them."""
    for kind in client._asking.hedges:
        client._asking.hedges[kind] = HedgeDelay(seconds, seconds)


@asynccontextmanager
async def a_client(*urls: str, **options: Any) -> AsyncIterator[AsyncClient]:
    """Of one worker or some; it knows the cluster already where that can be known."""
    hedge_s = options.pop("hedge_s", 60.0)
    async with AsyncClient(urls, **options) as client:
        hedge_after(client, hedge_s)
        client._asking.cluster_s = 30.0  # a slow machine has a cluster, too
        await client._asking.learned(60.0)
        yield client


@asynccontextmanager
async def a_server(*routes: web.RouteDef, handler: Handler | None = None) -> AsyncIterator[str]:
    """A server that does as the test says; its URL."""
    app = web.Application()
    app.add_routes(routes)

    async def handle(request: web.Request) -> web.StreamResponse:
        assert handler is not None
        return await handler(request)

    if handler is not None:
        app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    await web.SockSite(runner, listening).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await end(runner)


@asynccontextmanager
async def serving(*handlers: Handler, **options: Any) -> AsyncIterator[AsyncClient]:
    """A client of a server for each of these, that knows nothing of a cluster."""
    hedge_s = options.pop("hedge_s", 60.0)
    async with AsyncExitStack() as stack:
        servers = [a_server(handler=handler) for handler in handlers]
        urls = [await stack.enter_async_context(server) for server in servers]
        client = await stack.enter_async_context(AsyncClient(urls, **options))
        hedge_after(client, hedge_s)
        yield client


def a_cluster(owners: dict[int, str], workers: Sequence[str], count: int = 4) -> dict[str, Any]:
    """An answer of /v1/cluster."""
    return {
        "version": 1,
        "workers": [
            {"url": url, "version": 1, "alive": True, "state": "running"} for url in workers
        ],
        "partitions": [
            {
                "partition": number,
                "active": {"worker": owners[number]} if number in owners else None,
                "standbys": [],
            }
            for number in range(count)
        ],
    }


def a_row(sku: str, worker: str, sales: int = 1, partition: int = 0, **more: Any) -> dict[str, Any]:
    """An answer of a row; nothing but its freshness matters here."""
    sums = dict.fromkeys(("received", "dispatched", "sold", "returned", "adjusted"), 0)
    fresh = {
        "role": "active",
        "worker": worker,
        "partition": partition,
        "position": format_position({(SALES, partition): sales}),
        "lag_events": 0,
        "as_of": "2026-11-23T10:00:00.180Z",
    }
    row = {"sku": sku, "location": "store-0", "on_hand": 0, "events": 1, "checksum": "0" * 16}
    return {**row, **sums, "updated_at": "2026-11-23T10:00:00.180Z", "freshness": fresh | more}


def a_problem(name: str, status: int = 503, **more: Any) -> web.Response:
    body = {"type": f"/problems/{name}", "status": status, "title": "No", "detail": "Not now."}
    retry_after = more.pop("retry_after", "0")
    return web.json_response(
        body | more,
        status=status,
        content_type="application/problem+json",
        headers={"Retry-After": retry_after} if status == 503 else None,
    )


class Script:
    """A handler that answers one after the other, the last one for ever; says what it was asked."""

    def __init__(self, *answers: Callable[[web.Request], web.StreamResponse | None]) -> None:
        self._answers = itertools.chain(answers, itertools.repeat(answers[-1]))
        self.seen: list[tuple[str, str, bytes, dict[str, str]]] = []
        self.hanging = asyncio.Event()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v1/cluster":
            return a_problem("unknown-path", 404)
        body = await request.read()
        self.seen.append((request.method, request.raw_path, body, dict(request.headers)))
        answer = next(self._answers)(request)
        if answer is None:  # as under SIGSTOP
            self.hanging.set()
            await asyncio.Event().wait()
            raise AssertionError
        return answer


def cut(request: web.Request) -> web.StreamResponse:
    """As kill -9 looks from outside."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


def hang(request: web.Request) -> None:
    """As SIGSTOP looks from outside."""
