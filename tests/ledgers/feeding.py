"""A worker's feed over a ledger in a database, without Kafka: both as they are in a process."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestServer

from ledger.lines import TOPICS
from tests.ledgers.kept import Kept
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.peers import Peers, get
from web.feed.answering import ChangesAnswers
from web.feed.following import FeedLimits, Following
from web.feed.pages import FeedPages, PageSaid
from web.http.connections import ConnectionLimits, guard
from web.http.gate import Gate
from web.http.paths import add_routes
from web.http.replies import Handler

#: As of a worker, with less patience.
LIMITS = FeedLimits(readers=4, take_s=0.5, beat_s=0.3, again_s=0.05, begin_s=0.3)
EVENTS = {"Accept": "text/event-stream"}
LINES = {"Accept": "application/x-ndjson"}
Json = dict[str, Any]


class FedLedger:
    """A ledger's address. `dies` and `starts` are those of its process."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._server: TestServer | None = None
        self.asked = 0

    async def starts(self) -> None:
        answers = ChangesAnswers(self._kept.history, TOPICS, self._kept.partitions)
        app = web.Application(middlewares=[self._counting()])
        add_routes(app, answers.routes())

        async def end(app: web.Application) -> None:
            answers.end()

        async def close(app: web.Application) -> None:
            answers.close()

        app.on_shutdown.append(end)
        app.on_cleanup.append(close)
        self._server = TestServer(app)
        await self._server.start_server()

    def _counting(self) -> Any:
        @web.middleware
        async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
            self.asked += 1
            return await handler(request)

        return count

    async def dies(self) -> None:
        if self._server is not None:
            await self._server.close()
            self._server = None

    @property
    def url(self) -> str | None:
        """None while nobody lives there."""
        return None if self._server is None else str(self._server.make_url("")).rstrip("/")


class FedWorker:
    """A worker's feed at an address of its own.

    `is_waited_for_ever`: its ledger has no news, and does not say so either.
    """

    def __init__(self, ledger: FedLedger, limits: FeedLimits = LIMITS) -> None:
        self._ledger, self._peers = ledger, Peers()
        self.pages = FeedPages(self._ask, lambda: 1)
        self.admitted, self.is_waited_for_ever = True, False
        self.feed = Following(self.pages, self._here, lambda request: self.admitted, limits)
        app = web.Application()
        guard(app, ConnectionLimits())
        add_routes(app, self.feed.routes(), Gate(limits.readers))
        self.server = TestServer(app)

    async def _ask(self, target: str, wait_s: float) -> PageSaid:
        if self._ledger.url is None:
            return None
        if wait_s and self.is_waited_for_ever:
            await asyncio.Event().wait()
        try:
            url = self._ledger.url
            return await self._peers.ask(url, get(url, target, {}, ""))
        except PeerFailed as failed:
            return str(failed)

    async def _here(self, request: web.Request) -> web.Response:
        said = await self._ask(request.raw_path, 0)
        assert isinstance(said, PeerAnswer)
        return web.Response(status=said.status, body=said.body, content_type="application/json")

    @property
    def url(self) -> str:
        return str(self.server.make_url("/v1/changes"))

    def counted(self) -> dict[str, float]:
        """Its metrics."""
        return {
            ".".join((sample.name, *sample.labels.values())): sample.value
            for family in self.feed.collect()
            for sample in family.samples
        }

    async def close(self) -> None:
        self.feed.end()
        await self.feed.close()
        await self.server.close()
        await self._peers.close()


@asynccontextmanager
async def fed(
    kept: Kept, limits: FeedLimits = LIMITS
) -> AsyncIterator[tuple[FedLedger, FedWorker]]:
    """Both, started."""
    async with AsyncExitStack() as stack:
        ledger = FedLedger(kept)
        await ledger.starts()
        stack.push_async_callback(ledger.dies)
        worker = FedWorker(ledger, limits)
        await worker.server.start_server()
        stack.push_async_callback(worker.close)
        yield ledger, worker


async def lines_of(
    response: ClientResponse,
    is_enough: Callable[[list[Json]], bool],
    into: list[Json] | None = None,
) -> list[Json]:
    """What a stream of lines tells, until it is enough or ends; a deadline is the test's.

    `into`: where each line stands as soon as it has come.
    """
    told = [] if into is None else into
    async with asyncio.timeout(120):
        async for line in response.content:
            told.append(json.loads(line))
            if is_enough(told):
                break
    return told


def facts(told: list[Json]) -> list[Json]:
    """The data of those that are facts."""
    return [line["data"] for line in told if line["event"] == "fact"]
