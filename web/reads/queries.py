"""GET: parse, ask the right worker, answer. Any worker answers any key."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping
from functools import partial
from urllib.parse import quote

from aiohttp import web

from core.stages import Freshness
from domain.lookup import Found, NotFound
from tables.reading import Reading
from web.cluster.admission import Admission, Asked, Unanswered, unsure
from web.cluster.ends import Ends
from web.cluster.exchange import LargeAnswer, PeerAnswer, PeerFailed
from web.cluster.peers import (
    IN_PIECES,
    MAX_OPEN,
    Peers,
    get,
    hop_headers,
    is_for_another_version,
    waiting,
)
from web.cluster.roster import Roster
from web.cluster.routing import Router, problem_of
from web.http.bodies import BodyLimits
from web.http.conditions import NONE_MATCH, refusal_of
from web.http.large import BrokenOff, Large, announce, send
from web.http.outbox import Outbox
from web.http.pacing import Lane
from web.http.parameters import BadRequest, parameters, target_of
from web.http.problems import Problem, problem
from web.http.replies import SERVER, Observe
from web.reads.gathering import Gathering
from web.reads.lists import list_rows
from web.reads.lookups import LOOKUP_PATH, look_up
from web.reads.parameters import READ, ROOT, asked_of, key_of
from web.reads.quick import QuickReads
from web.reads.replies import reply
from web.reads.skus import SkuRows, Skus

KeyAnswer = Found | NotFound | SkuRows | Unanswered
# What of another worker's answer is for the client; the rest belongs to that connection.
_PASSED_ON = ("content-type", "cache-control", "server", "etag", "retry-after", "onhand-")


class Queries:
    """All reads of one worker. `observe` is told role, outcome and seconds of each."""

    def __init__(
        self,
        table: Reading,
        roster: Roster,
        topics: Collection[str],
        version: int,
        limits: BodyLimits,
        observe: Observe = lambda role, outcome, seconds: None,
        ends: Ends | None = None,
        peer_connections: int = MAX_OPEN,
        outbox: Outbox | None = None,
    ) -> None:
        self._table = table
        self._version = version
        self._limits = limits
        self._observe = observe
        self.peers = Peers(peer_connections)
        self._admission = Admission(table, topics, ends)
        self._router = Router(table, roster, self.peers, self._admission)
        self._lane = Lane()
        self._skus = Skus(table, self._admission, self._lane, version, outbox or Outbox())
        self._gathering = Gathering(table, self._router, self._admission, self._lane, version)
        #: For the server, to be asked before aiohttp is: `QuickReads.answer`.
        self.quick = QuickReads(table, self._router, self._admission, version, observe).answer

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
        if is_for_another_version(request.headers, self._version):
            response = problem(Problem.NOT_READY, f"This worker is of version {self._version}.")
        else:
            try:
                response = await self._answer(request)
            except BadRequest as bad:
                response = bad.reply()
        role = response.headers.get("Onhand-Role", "none")
        self._observe(role, _outcome_of(response), time.perf_counter() - started)
        return await send(request, response) if isinstance(response, Large) else response

    async def _answer(self, request: web.Request) -> web.Response | Large:
        path, query = target_of(request)
        if request.method == "POST":
            return await look_up(self._gathering, self._limits, request, query)
        kept = () if path == ROOT else (NONE_MATCH,)
        if (refused := refusal_of(request.headers, kept)) is not None:
            return refused
        if path == ROOT:
            return await list_rows(self._gathering, query, request.headers)
        key = key_of(path)
        if key is None:
            detail = f"There is nothing at {path}. A / inside an id is written %2F."
            return problem(Problem.UNKNOWN_PATH, detail)
        return await self._read(key, asked_of(parameters(query, READ), request.headers), request)

    async def _read(
        self, key: tuple[str, ...], asked: Asked, request: web.Request
    ) -> web.Response | Large:
        """A row, or those of a SKU."""
        if_none_match = request.headers.get(NONE_MATCH)
        partition = self._table.partition_of(key[0])
        read: Callable[..., Awaitable[KeyAnswer]] = self._row if len(key) == 2 else self._rows
        there = self._request_for(partition, key, asked, if_none_match)
        answer: KeyAnswer | PeerAnswer | LargeAnswer = await self._router.ask(
            partition, asked, partial(read, *key), there
        )
        match answer:
            case PeerAnswer():
                return passed_on(answer)
            case LargeAnswer():
                return passed_on_in_pieces(answer)
            case SkuRows():
                takes = IN_PIECES in request.headers
                news = partial(announce, request) if takes else _say_nothing
                return await self._skus.reply(answer, if_none_match, news)
            case _:
                return reply(answer, self._version, if_none_match)

    async def _row(self, sku: str, location: str, fresh: Freshness) -> KeyAnswer:
        row = self._table.get(fresh.partition, sku, location)
        if row is None:
            return unsure(fresh) or NotFound(sku, location, fresh)
        return Found(sku, location, row, fresh)

    async def _rows(self, sku: str, fresh: Freshness) -> KeyAnswer:
        found = self._skus.first(sku, fresh)
        return found if found.rows else unsure(fresh) or NotFound(sku, "any location", fresh)

    def _request_for(
        self, partition: int, key: tuple[str, ...], asked: Asked, if_none_match: str | None
    ) -> Callable[[str, float], bytes]:
        """Makes the same GET for another worker."""
        path = "/".join((ROOT, *(quote(part, safe="") for part in key)))

        def request(url: str, wait_s: float) -> bytes:
            query = waiting(self._admission.floor_token([partition], asked), wait_s)
            if asked.max_lag_events is not None:
                query["max_lag_events"] = str(asked.max_lag_events)
            lines = hop_headers(self._version)
            if len(key) == 1:
                lines += f"{IN_PIECES}: 1\r\n"
            if if_none_match is not None:
                lines += f"If-None-Match: {if_none_match}\r\n"
            return get(url, path, query, lines)

        return request


def passed_on(answer: PeerAnswer) -> web.Response:
    """Another worker's answer: status, body, and the headers that are for the client."""
    headers = _for_client(answer.headers)
    return web.Response(status=answer.status, headers=headers, body=answer.body)


def passed_on_in_pieces(answer: LargeAnswer) -> Large:
    """The same for one that has begun; its connection is let go in the end."""
    assert answer.head is not None
    status, headers, length = answer.head

    async def pieces() -> AsyncGenerator[bytes]:
        try:
            async for piece in answer.pieces():
                yield piece
        except PeerFailed as failed:
            raise BrokenOff(str(failed)) from failed

    return Large(status, _for_client(headers), length, pieces(), answer.close)


def _for_client(given: Mapping[str, str]) -> dict[str, str]:
    headers = {k: v for k, v in given.items() if k.lower().startswith(_PASSED_ON)}
    # `Server` stays in its place, but is ours, whatever stands between the two workers.
    return headers | SERVER


async def _say_nothing() -> None:
    pass


def _outcome_of(response: web.Response | Large) -> str:
    """For the metrics: `found`, `list`, `not-modified` or the name of a problem."""
    if response.status == 200:
        return "found" if "ETag" in response.headers else "list"
    if response.status == 304:
        return "not-modified"
    return str(problem_of(response) or "unknown")
