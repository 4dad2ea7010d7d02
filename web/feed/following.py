"""`/v1/changes` of a worker: one page, or a stream of pages that has no end.

A reader is where its last `id` says; this worker remembers nothing of it. So nothing piles up
for one that is slow: it is cut off, and comes back with its place, to this worker or another.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import Struct
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from web.cluster.exchange import PeerAnswer
from web.feed.asked import CHANGES_PATH, Event, FeedAsked, FeedOf, Form, read_asked
from web.feed.pages import (
    WRITE_BYTES,
    FeedPage,
    FeedPages,
    FeedPiece,
    PageSaid,
    as_it_was_said,
    line_of_stream,
)
from web.feed.writing import Outlet, TakesNothing
from web.history.passing import nobody_tells
from web.http.connections import WHEN_LEFT
from web.http.parameters import BadRequest
from web.http.replies import PRIVATE, SERVER, Handler

#: Of each question behind a stream.
_PAGE_LINES: Final = 1000
#: Of the kernel, for each reader; it takes twice as much.
_SEND_BYTES: Final = 128 * 2**10
#: How a browser is to come back that has lost its connection, in ms.
_RETRY_MS: Final = 1000


class FeedLimits(Struct, frozen=True):
    """Bounds of one worker's feed.

    readers: at once. Each may hold 256 KiB of the kernel's memory, and 160 KiB of this process's
        besides the pages that all share.
    hops: questions of other workers for rows, which hold none of these places.
    take_s: a reader that has not taken a piece by then is cut off.
    beat_s: so often, or nearly, each reader hears something; 10 at most, as a page waits.
    again_s: how soon a ledger is asked again that did not answer.
    begin_s: how long a new reader waits for a position that the ledger has not come to.
    """

    readers: int = 128
    hops: int = 1024
    take_s: float = 10.0
    beat_s: float = 5.0
    again_s: float = 0.5
    begin_s: float = 3.0


class Following(Collector):
    """All readers of one worker.

    Args:
        pages: asks for them.
        here: answers with one page, whichever version it is of.
        admits: whether a request may still be answered.
        limits: see there.
    """

    def __init__(
        self,
        pages: FeedPages,
        here: Handler,
        admits: Callable[[web.Request], bool],
        limits: FeedLimits,
    ) -> None:
        self._pages, self._here, self._admits, self._limits = pages, here, admits, limits
        self._ending = asyncio.Event()
        self._readers: Counter[Form] = Counter()
        self._told: Counter[Form] = Counter()
        self._ended: Counter[str] = Counter({"left": 0, "slow": 0, "refused": 0, "stopping": 0})

    def routes(self) -> Iterator[web.RouteDef]:
        """Of this module."""
        yield web.get(CHANGES_PATH, self.answer)

    def end(self) -> None:
        """This worker stops: readers are to come back, to others."""
        self._ending.set()
        self._pages.end()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/changes."""
        try:
            asked = read_asked(request)
        except BadRequest as bad:
            return bad.reply()
        if asked.form is Form.PAGE:
            return await self._here(request)
        page = await self._first(asked)
        if not isinstance(page, FeedPage):
            return as_it_was_said(page)
        headers = {
            "Content-Type": str(asked.form),
            "X-Accel-Buffering": "no",  # of nginx: it would keep facts back
            **PRIVATE,
            **SERVER,
        }
        if request.method == "HEAD":
            return web.Response(headers=headers)
        response = web.StreamResponse(headers=headers)
        self._readers[asked.form] += 1
        reason = "left"
        try:
            _keep_short(request.transport)
            await response.prepare(request)
            async with _while_there(request):
                reason = await _Stream(self, request, response, asked).tell(page)
        except TakesNothing:
            reason = "slow"
            if request.transport is not None:
                request.transport.abort()
        except (ConnectionError, TimeoutError):
            pass  # it is gone
        finally:
            self._readers[asked.form] -= 1
            self._ended[reason] += 1
        return response

    async def _first(self, asked: FeedAsked) -> FeedPage | PageSaid:
        """With what a stream begins: what is wrong with it is said before it does."""
        until = time.monotonic() + self._limits.begin_s
        while True:
            target = _target(asked, asked.after, 0)
            of_rows = asked.of is FeedOf.ROWS
            page = await (self._pages.first if of_rows else self._pages.get)(target, 0)
            is_behind = isinstance(page, PeerAnswer) and page.status == 503
            if not is_behind or time.monotonic() >= until or self._ending.is_set():
                return page
            await self.pause()

    async def next(self, asked: FeedAsked, after: str, asked_from: float) -> FeedPage | PageSaid:
        """The page behind a position; see `FeedPages.get`."""
        beat_s = self._limits.beat_s
        return await self._pages.get(_target(asked, after, beat_s), beat_s, asked_from)

    def known(self, asked: FeedAsked, after: str) -> FeedPage | None:
        """The page behind a position, where another reader has it already."""
        return self._pages.known(_target(asked, after, self._limits.beat_s))

    async def close(self) -> None:
        """After the last request."""
        await self._pages.close()

    # ---- for its streams

    @property
    def limits(self) -> FeedLimits:
        """Of each stream."""
        return self._limits

    def is_over(self, request: web.Request) -> str | None:
        """Why a stream is to end now; None: it goes on."""
        if self._ending.is_set():
            return "stopping"
        return None if self._admits(request) else "refused"

    def count(self, form: Form, lines: int) -> None:
        """So many lines were handed to a connection."""
        self._told[form] += lines

    async def pause(self) -> None:
        """Before a ledger is asked again."""
        try:
            async with asyncio.timeout(self._limits.again_s):
                await self._ending.wait()
        except TimeoutError:
            return

    # ---- metrics

    def describe(self) -> list[Metric]:
        """Nothing: so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Who reads, what they were told, and why they went."""
        streams = (Form.EVENTS, Form.LINES)
        text = "Streams of changes that are open."
        readers = GaugeMetricFamily("onhand_feed_readers", text, labels=["form"])
        text = "Facts and rows that streams of changes were told, each reader's by itself."
        told = CounterMetricFamily("onhand_feed_deliveries", text, labels=["form"])
        for form in streams:
            readers.add_metric([form], self._readers[form])
            told.add_metric([form], self._told[form])
        text = "Streams of changes that ended; slow: the reader did not take what came."
        ended = CounterMetricFamily("onhand_feed_ended", text, labels=["reason"])
        for reason, count in sorted(self._ended.items()):
            ended.add_metric([reason], count)
        yield from (readers, told, ended)


@asynccontextmanager
async def _while_there(request: web.Request) -> AsyncIterator[None]:
    """Its place is free at once when a reader leaves: it may come back, with a hundred others.

    Raises:
        TimeoutError: it has left.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as there:
        request[WHEN_LEFT] = lambda: there.reschedule(loop.time())
        try:
            yield
        finally:
            del request[WHEN_LEFT]


class _Stream:
    """One reader, for as long as it is connected."""

    def __init__(
        self, feed: Following, request: web.Request, response: web.StreamResponse, asked: FeedAsked
    ) -> None:
        self._feed, self._request, self._asked = feed, request, asked
        self._outlet = Outlet(request, response, feed.limits.take_s)
        self._is_told_to_wait = False
        self._at: str | None = None
        self._next_from = 0.0
        self._heard = time.monotonic()

    async def tell(self, page: FeedPage) -> str:
        """Everything from this page on; returns why it ended.

        Raises:
            TakesNothing: the reader does not take it.
            ConnectionError: it is gone.
        """
        feed, form = self._feed, self._asked.form
        if form is Form.EVENTS:
            await self._write(f"retry: {_RETRY_MS}\n\n".encode())
        await self._give(page)
        while (why := feed.is_over(self._request)) is None:
            said = await feed.next(self._asked, self._at or "", self._next_from)
            if feed.is_over(self._request) is not None:
                continue
            if isinstance(said, FeedPage):
                await self._give(said)
            elif isinstance(said, PeerAnswer) and said.status < 500:
                await self._say(Event.PROBLEM, _body_of(said))
                return "refused"
            else:
                await self._wait(said)
            await self._beat()
        return why

    async def _give(self, page: FeedPage) -> None:
        """It, and in the same write what others were given behind it meanwhile."""
        held: list[FeedPiece] = []
        size, goes_on = 0, True
        while goes_on:
            for piece in self._pieces_of(page):
                if held and size + len(piece.data) > WRITE_BYTES:
                    await self._write_all(held)
                    await asyncio.sleep(0)  # as in `FeedPages.get`
                    held, size, goes_on = [], 0, False
                held.append(piece)
                size += len(piece.data)
            self._at = page.after
            self._is_told_to_wait &= bool(page.missing)
            behind = self._feed.known(self._asked, page.after) if goes_on else None
            goes_on, page = behind is not None, behind or page
        self._next_from = page.next_from
        if held:
            await self._write_all(held)

    def _pieces_of(self, page: FeedPage) -> list[FeedPiece]:
        form = self._asked.form
        if page.is_empty and page.after != self._at:
            return [page.place(form)]
        return page.pieces(form)

    async def _write_all(self, pieces: list[FeedPiece]) -> None:
        only = pieces[0].data if len(pieces) == 1 else b"".join(piece.data for piece in pieces)
        await self._write(only)
        self._feed.count(self._asked.form, sum(piece.lines for piece in pieces))

    async def _wait(self, said: PageSaid) -> None:
        """No ledger answers now."""
        if not self._is_told_to_wait:
            self._is_told_to_wait = True
            await self._say(Event.WAITING, _body_of(said))
        await self._feed.pause()

    async def _beat(self) -> None:
        if time.monotonic() - self._heard < self._feed.limits.beat_s / 2:
            return
        if self._asked.form is Form.EVENTS:
            await self._write(b":\n\n")
        else:
            await self._say(Event.POSITION, b"{}")

    async def _say(self, event: Event, data: bytes) -> None:
        await self._write(line_of_stream(self._asked.form, event, self._at or "", data))

    async def _write(self, data: bytes) -> None:
        await self._outlet.write(data)
        self._heard = time.monotonic()


def _target(asked: FeedAsked, after: str, wait_s: float) -> str:
    """Path and query of the page of a stream behind a position."""
    return _written(tuple(asked.values.items()), after, int(wait_s * 1000))


@lru_cache(256)
def _written(values: tuple[tuple[str, Any], ...], after: str, wait_ms: int) -> str:
    """Once for all readers who are at the same place."""
    asked = FeedAsked(Form.PAGE, dict(values))
    return asked.target(after, limit=_PAGE_LINES, wait_ms=wait_ms)


def _keep_short(transport: asyncio.BaseTransport | None) -> None:
    """Let the kernel hold little for this reader: by itself it takes megabytes for a slow one."""
    found = None if transport is None else transport.get_extra_info("socket")
    if found is not None:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)


def _body_of(said: PageSaid) -> bytes:
    """What was said instead of a page, as one line of JSON."""
    body = as_it_was_said(said).body
    try:
        return msgspec.json.encode(msgspec.json.decode(body if isinstance(body, bytes) else b""))
    except msgspec.MsgspecError:
        sentence = "What answered is no ledger: something stands between it and this worker."
        body = nobody_tells(sentence).body
        assert isinstance(body, bytes)
        return body
