"""All reads: the question is read from the request, the right worker asked, the answer given.

Any worker answers any key.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from functools import partial
from ssl import SSLContext

from aiohttp import web

from core.stages import Freshness
from domain.lookup import Found, NotFound
from tables.stock import StockReading
from web.cluster.admission import Admission, Unanswered, unsure
from web.cluster.answers import for_client, problem_of, unanswered_reply
from web.cluster.asking import Asking
from web.cluster.ends import Ends
from web.cluster.exchange import FromPeer, LargeAnswer, PeerAnswer, PeerFailed
from web.cluster.peers import MAX_OPEN, Peers
from web.cluster.roster import Roster
from web.cluster.routing import Router
from web.http.bodies import BodyLimits
from web.http.gate import Gate
from web.http.large import BrokenOff, Large, announce, send
from web.http.outbox import Outbox
from web.http.pacing import Lane
from web.http.parameters import BadRequest
from web.http.replies import Observe
from web.reads.gathering import Gathering
from web.reads.lists import list_rows
from web.reads.lookups import look_up
from web.reads.parameters import ROOT
from web.reads.questions import (
    LOOKUP_PATH,
    Hop,
    KeyQuestion,
    ListQuestion,
    LookupQuestion,
    Question,
    Questions,
)
from web.reads.quick import QuickReads
from web.reads.relay import RowRelay
from web.reads.replies import reply
from web.reads.skus import SkuRows, Skus
from web.reads.stored import StoredRows, wanted_as_stored

OwnAnswer = Found | NotFound | SkuRows


class Queries:
    """All reads of one worker. `observe` is told role, outcome and seconds of each."""

    def __init__(
        self,
        table: StockReading,
        roster: Roster,
        topics: Collection[str],
        version: int,
        limits: BodyLimits,
        observe: Observe = lambda role, outcome, seconds: None,
        ends: Ends | None = None,
        peer_connections: int = MAX_OPEN,
        outbox: Outbox | None = None,
        signed: Callable[[str, bytes], bytes] | None = None,
        tls: Callable[[], SSLContext] | None = None,
        gate: Gate | None = None,
    ) -> None:
        """`gate`: has places for reads that are handed on the short way; None: none is."""
        self._table = table
        self._version = version
        self._observe = observe
        self.peers = Peers(peer_connections, signed, tls)
        self.admission = self._admission = Admission(table, topics, ends)
        self._router = Router(table, roster, self.peers, self._admission)
        self._lane = Lane()
        self._skus = Skus(table, self._admission, self._lane, version, outbox or Outbox())
        self._gathering = Gathering(table, self._router, self._lane, version)
        self._stored = StoredRows(table, self._router, self._lane, version)
        self._questions = Questions(table.count, version, limits)
        relay = None if gate is None else RowRelay(self._router, table, version, gate, observe)
        quick = QuickReads(self._questions, table, self._router, version, observe, relay)
        #: For the server, to be asked before aiohttp is: `QuickReads.answer`.
        self.quick = quick.answer

    def waiters(self) -> int:
        """Requests that wait for a position."""
        return self._admission.waiters

    def routes(self) -> Iterator[web.RouteDef]:
        """Reads. Under `ROOT` one route takes every path: see `target_of`."""
        yield web.get(ROOT, self.answer)
        # A dot would not match an encoded line feed, which is a 400, not a 404.
        yield web.get(ROOT + r"/{tail:[\s\S]*}", self.answer)
        yield web.post(LOOKUP_PATH, self.answer)

    async def close(self) -> None:
        """Close the connections to other workers, after the last request."""
        await self.peers.close()
        await self._admission.close()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any of the routes."""
        started = time.perf_counter()
        response: web.Response | Large
        try:
            question = await self._questions.of(request)
            if isinstance(question, web.Response):
                response = question
            else:
                response = await self._answer(question, request)
        except BadRequest as bad:
            response = bad.reply()
        role = response.headers.get("Onhand-Role", "none")
        self._observe(role, _outcome_of(response), time.perf_counter() - started)
        return await send(request, response) if isinstance(response, Large) else response

    async def _answer(self, question: Question, request: web.Request) -> web.Response | Large:
        match question:
            case KeyQuestion():
                return await self._read(question, request)
            case ListQuestion():
                return await self._list(question)
            case LookupQuestion():
                return await look_up(self._gathering, question)

    async def _read(self, question: KeyQuestion, request: web.Request) -> web.Response | Large:
        """A row, or those of a SKU. `request`: to announce a large answer on."""
        partition = self._table.partition_of(question.sku)
        read: Callable[[KeyQuestion, Freshness], Awaitable[OwnAnswer | Unanswered]]
        read = self._rows if question.location is None else self._row

        def there(url: str, floor: str, wait_s: float) -> bytes:
            return question.request(Hop(url, self._version, self._table.label[1], floor, wait_s))

        asking: Asking[OwnAnswer] = Asking(
            self._router, partition, question.asked, partial(read, question), there
        )
        answer = await asking.answer()
        match answer:
            case PeerAnswer() | LargeAnswer():
                return handed_on(answer)
            case SkuRows():
                news = partial(announce, request) if question.in_pieces else _say_nothing
                return await self._skus.reply(answer, question.if_none_match, news)
            case _:
                return reply(answer, self._version, question.if_none_match)

    async def _list(self, question: ListQuestion) -> web.Response | Large:
        wanted = wanted_as_stored(question)
        if wanted is None:
            return await list_rows(self._gathering, question)
        answer = await self._stored.answer(question, *wanted)
        match answer:
            case web.Response():
                return answer
            case PeerAnswer() | LargeAnswer():
                return handed_on(answer)
            case _:
                return unanswered_reply(answer)

    async def _row(self, question: KeyQuestion, fresh: Freshness) -> OwnAnswer | Unanswered:
        sku, location = question.sku, question.location
        assert location is not None
        row = self._table.get(fresh.partition, sku, location)
        if row is None:
            return unsure(fresh) or NotFound(sku, location, fresh)
        return Found(sku, location, row, fresh)

    async def _rows(self, question: KeyQuestion, fresh: Freshness) -> OwnAnswer | Unanswered:
        found = self._skus.first(question.sku, fresh)
        return (
            found if found.rows else unsure(fresh) or NotFound(question.sku, "any location", fresh)
        )


def passed_on(answer: PeerAnswer) -> web.Response:
    """Another worker's answer: status, body, and the headers that are for the client."""
    headers = for_client(answer.headers)
    return web.Response(status=answer.status, headers=headers, body=answer.body)


def handed_on(answer: FromPeer) -> web.Response | Large:
    """The same for one that may be large, and have only begun."""
    return passed_on(answer) if isinstance(answer, PeerAnswer) else _in_pieces(answer)


def _in_pieces(answer: LargeAnswer) -> Large:
    """Its connection is let go in the end."""
    assert answer.head is not None
    status, headers, length = answer.head

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            async for piece in answer.pieces():
                yield piece
        except PeerFailed as failed:
            raise BrokenOff(str(failed)) from failed

    return Large(status, for_client(headers), length, pieces(), answer.close)


async def _say_nothing() -> None:
    pass


def _outcome_of(response: web.Response | Large) -> str:
    """For the metrics: `found`, `list`, `not-modified` or the name of a problem."""
    if response.status == 200:
        return "found" if "ETag" in response.headers else "list"
    if response.status == 304:
        return "not-modified"
    return str(problem_of(response) or "unknown")
