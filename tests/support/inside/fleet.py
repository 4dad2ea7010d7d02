"""Several workers' HTTP in one process, without Kafka: who holds what is set by hand.

Their tables are shelves (tests/support/inside/shelf.py), their rosters hear what `tell` says.
Requests between them go over real sockets.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from aiohttp import web
from yarl import URL

from core.positions import Place
from core.stages import Role
from tests.support.inside.desk import Desk
from tests.support.inside.shelf import Shelf
from web.access.access import OPEN
from web.access.callers import Scope
from web.cluster.heartbeats import Claim, Heartbeat, WorkerState
from web.cluster.members import claim_of
from web.http.connections import ConnectionLimits, guard
from web.http.gate import Gate
from web.http.outbox import Outbox
from web.http.raw.shortcuts import Take

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def a_claim(partition: int, role: Role, handled: int) -> Claim:
    """What a worker says of a partition that it holds."""
    return Claim(partition=partition, state=role, role=role, handled=handled)


class KnownEnds:
    """A broker that knows where some topics end."""

    def __init__(self, ends: Mapping[Place, int]) -> None:
        self._ends = ends

    async def of(self, places: Iterable[Place]) -> Mapping[Place, int]:
        return {place: self._ends[place] for place in places if place in self._ends}


class Worker(Desk):
    """One worker: rows, roster, server."""

    def __init__(self, number: int, count: int, version: int) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.me = Heartbeat(
            version=version,
            rules=1,
            build="test",
            url=self.url,
            instance=f"instance-{number}",
            sequence=0,
        )
        #: Where the topics end, as a broker would say; what is not in here is not known.
        self.ends: dict[Place, int] = {}
        self.outbox = Outbox(32 * 2**20)
        #: Who may ask it; another one takes its place as by a restart.
        self.access = OPEN
        self.gate = Gate(1_000)
        super().__init__(
            self.me,
            Shelf(count, self.url),
            ends=KnownEnds(self.ends),
            outbox=self.outbox,
            signed=lambda url, request: self.access.signed(url, request),
            gate=self.gate,
        )
        #: What it serves; a test may add to it before `start`.
        self.routes: list[web.RouteDef] = list(self.queries.routes())
        #: Requests that reached it, as (method, path with query, whether by a hop).
        self.seen: list[tuple[str, str, bool]] = []
        #: Bytes of those that it answered, or handed on, the short way.
        self.taken: list[bytes] = []
        self._awake = asyncio.Event()
        self._awake.set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        @web.middleware
        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.seen.append((request.method, request.raw_path, "Onhand-Hop" in request.headers))
            await self._awake.wait()
            return await self.access.guarding(Scope.READ)("", handler)(request)

        app = web.Application(middlewares=[watch])
        app.add_routes(self.routes)
        guard(app, ConnectionLimits(), self._at_once, self.outbox)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    def _at_once(self, data: bytes, take: Take) -> bytes | None:
        if not self._awake.is_set():
            return None
        answer = self.access.at_once(data, take, self.queries.quick)
        if answer is not None:
            method, target, _ = data.decode().split(" ", 2)
            self.seen.append((method, target, b"\r\nOnhand-Hop" in data))
            self.taken.append(data)
        return answer

    def freeze(self) -> None:
        """Take requests and answer none, as under SIGSTOP."""
        self._awake.clear()

    def wake(self) -> None:
        """Answer all of them now."""
        self._awake.set()

    async def die(self) -> None:
        """As kill -9 looks from outside: connections are reset, new ones refused."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            self.wake()
            await runner.cleanup()

    async def close(self) -> None:
        await self.die()
        await self.queries.close()


class Fleet:
    """Some workers that know each other."""

    def __init__(self, size: int, count: int = 4, versions: tuple[int, ...] = ()) -> None:
        versions = versions or (1,) * size
        self.workers = [Worker(n, count, version) for n, version in enumerate(versions)]
        self.count = count
        self._sequence = itertools.count(1)
        self._http: aiohttp.ClientSession | None = None

    def __getitem__(self, number: int) -> Worker:
        return self.workers[number]

    async def __aenter__(self) -> Self:
        for worker in self.workers:
            await worker.start()
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(60)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._http is not None
        await self._http.close()
        for worker in self.workers:
            await worker.close()

    def tell(self, *only: int) -> None:
        """All workers (or these) send a heartbeat that says what they hold; all hear it."""
        for number in only or range(len(self.workers)):
            status = self.workers[number].shelf.status()
            self.lie(number, *(claim_of(one) for one in status))

    def lie(self, number: int, *claims: Claim, state: WorkerState = WorkerState.RUNNING) -> None:
        """A heartbeat of worker `number` that says this, true or not."""
        me, sequence = self.workers[number].me, next(self._sequence)
        beat = Heartbeat(
            version=me.version,
            rules=1,
            build="test",
            url=me.url,
            instance=me.instance,
            sequence=sequence,
            state=state,
            claims=claims,
        )
        for hearer in self.workers:
            hearer.roster.hear(beat, int(time.time() * 1000))

    def share(self, rows: int = 0) -> None:
        """Spread the partitions: worker n owns those that are n mod size, the next stands by."""
        for partition in range(self.count):
            size = len(self.workers)
            self.workers[partition % size].shelf.hold([partition], Role.ACTIVE, sales=10)
            if size > 1:
                self.workers[(partition + 1) % size].shelf.hold([partition], Role.STANDBY, sales=10)
        for number in range(rows):
            self.put(f"SKU-{number // 3:04d}", f"store-{number % 3}", received=number)
        self.tell()

    def put(self, sku: str, location: str, **sums: int) -> None:
        """The row at everybody who holds its partition."""
        for worker in self.workers:
            worker.shelf.put(sku, location, **{"events": 1, **sums})

    def owner_of(self, sku: str) -> int:
        """Number of the worker that `share` made the owner."""
        return self.workers[0].shelf.partition_of(sku) % len(self.workers)

    async def get(self, number: int, path: str, **headers: str) -> Answer:
        """GET at one worker; underscores in header names stand for dashes."""
        return await self.request("GET", number, path, **headers)

    async def row(
        self, number: int, sku: str, location: str = "store-0", query: str = ""
    ) -> Answer:
        """One key at one worker."""
        path = f"/v1/inventory/{quote(sku, safe='')}/{quote(location, safe='')}{query}"
        return await self.get(number, path)

    async def request(
        self, method: str, number: int, path: str, body: Any = None, **headers: str
    ) -> Answer:
        """Any request; the path goes out as it is written."""
        assert self._http is not None
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = URL(self.workers[number].url + path, encoded=True)
        async with self._http.request(method, url, headers=named, json=body) as response:
            data = await response.read()
            return Answer(response.status, response.headers, data)


class Answer:
    """Status, headers and body of one response."""

    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self.status = status
        self.headers = headers
        self.data = data

    @property
    def body(self) -> Any:
        return json.loads(self.data)

    @property
    def problem(self) -> str:
        return str(self.body["type"]).rpartition("/")[2]

    @property
    def role(self) -> str:
        return self.headers.get("Onhand-Role", "")


@asynccontextmanager
async def a_fleet(size: int, count: int = 4, rows: int = 0) -> AsyncIterator[Fleet]:
    """A fleet that has shared the partitions out."""
    async with Fleet(size, count) as fleet:
        fleet.share(rows)
        yield fleet


def keys(answer: Answer) -> list[tuple[str, str]]:
    return [(item["sku"], item["location"]) for item in answer.body["items"]]
