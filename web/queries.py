"""GET: parse, ask the right worker, answer. Any worker answers any key."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from urllib.parse import quote

from aiohttp import web
from multidict import CIMultiDict

from domain.lookup import Found, Freshness, Lookup, NotFound, NotReady
from web import hops
from web.admission import ANYTHING, Admission, Asked, Refusal
from web.bodies import BodyLimits
from web.gathering import Gathering
from web.lists import Lists
from web.local import LocalRows
from web.lookups import PATH as LOOKUP
from web.lookups import Lookups
from web.pacing import Lane
from web.parameters import ROOT, BadRequest, key_of, read_parameters, target_of
from web.peers import PeerAnswer, Peers, get
from web.problems import Problem, problem
from web.quick import QuickReads
from web.replies import reply
from web.roster import Roster
from web.routing import Router, problem_of
from web.totals import SkuRows, sku_reply

Observe = Callable[[str, str, float], None]
#: Rows of a SKU read at once; all of them for nearly every SKU, so that rows and
#: position belong together exactly. Under a millisecond.
SKU_CHUNK = 1000


class Queries:
    """All reads of one worker.

    Args:
        table: this worker's rows.
        roster: what the other workers say of themselves (`Members.roster`).
        topics: full names of the source topics.
        version: `ONHAND_VERSION`.
        limits: bounds on a lookup's body.
        observe: told role, outcome and seconds of each query.
    """

    def __init__(
        self,
        table: LocalRows,
        roster: Roster,
        topics: Collection[str],
        version: int,
        limits: BodyLimits,
        observe: Observe = lambda role, outcome, seconds: None,
    ) -> None:
        self._table = table
        self._version = version
        self._observe = observe
        self._peers = Peers()
        self._admission = Admission(table, topics)
        self._router = Router(table, roster, self._peers, self._admission)
        self._lane = Lane()
        gathering = Gathering(table, self._router, self._admission, self._lane, version)
        self._lists = Lists(gathering)
        self._lookups = Lookups(gathering, limits)
        self._hop_lines = hops.headers(version)
        #: For the server, to be asked before aiohttp is: `QuickReads.answer`.
        self.quick = QuickReads(table, self._router, self._admission, version, observe).answer

    def routes(self) -> Iterator[web.RouteDef]:
        """Reads. Under `ROOT` one route takes every path: see `target_of`."""
        yield web.get(ROOT, self.inventory)
        # A dot would not match an encoded line feed, which is a 400, not a 404.
        yield web.get(ROOT + r"/{tail:[\s\S]*}", self.inventory)
        yield web.post(LOOKUP, self.lookup)

    async def close(self) -> None:
        """Close the connections to other workers, after the last request."""
        await self._peers.close()

    async def inventory(self, request: web.Request) -> web.StreamResponse:
        """GET /v1/inventory, /v1/inventory/{sku}, /v1/inventory/{sku}/{location}."""
        started = time.perf_counter()
        response = self._wrong_version(request) or await self._inventory(request)
        self._note(response, time.perf_counter() - started)
        return response

    async def lookup(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/lookup."""
        started = time.perf_counter()
        try:
            response = self._wrong_version(request) or await self._lookups.post(request)
        except BadRequest as bad:
            response = bad.reply()
        self._note(response, time.perf_counter() - started)
        return response

    def _wrong_version(self, request: web.Request) -> web.Response | None:
        if not hops.is_for_another_version(request.headers, self._version):
            return None
        return problem(Problem.NOT_READY, f"This worker is of version {self._version}.")

    async def _inventory(self, request: web.Request) -> web.Response:
        path, query = target_of(request)
        try:
            if path == ROOT:
                return await self._lists.get(query, request.headers)
            key = key_of(path)
            if key is None:
                detail = f"There is nothing at {path}. A / inside an id is written %2F."
                return problem(Problem.UNKNOWN_PATH, detail)
            asked = read_parameters(query, request.headers)
        except BadRequest as bad:
            return bad.reply()
        if_none_match = request.headers.get("If-None-Match")
        partition = self._table.partition_of(key[0])
        if len(key) == 2:
            return await self._key(partition, key, asked, if_none_match)
        return await self._sku(partition, key, asked, if_none_match)

    async def _key(
        self, partition: int, key: tuple[str, ...], asked: Asked, if_none_match: str | None
    ) -> web.Response:
        sku, location = key

        def read(fresh: Freshness) -> Found | NotFound:
            row = self._table.get(partition, sku, location)
            if row is None:
                return NotFound(sku, location, fresh)
            return Found(sku, location, row, fresh)

        async def here(fresh: Freshness) -> Lookup:
            return read(fresh)

        if asked is ANYTHING and self._router.is_first(partition):
            fresh = self._admission.at_once(partition)
            if fresh is not None:
                return reply(read(fresh), self._version, if_none_match)
        answer: Lookup | PeerAnswer = await self._router.ask(
            partition, asked, here, self._request_for(partition, asked, key, if_none_match)
        )
        if isinstance(answer, PeerAnswer):
            return passed_on(answer)
        return reply(answer, self._version, if_none_match)

    async def _sku(
        self, partition: int, key: tuple[str, ...], asked: Asked, if_none_match: str | None
    ) -> web.Response:
        (sku,) = key

        async def here(fresh: Freshness) -> SkuRows | Refusal:
            rows = self._table.rows_of(partition, sku, None, SKU_CHUNK)
            some = rows
            while len(some) == SKU_CHUNK:
                async with self._lane.turn():
                    if self._table.freshness(partition) is None:
                        return NotReady(f"Partition {partition} left this worker meanwhile.", 1)
                    some = self._table.rows_of(partition, sku, some[-1][0], SKU_CHUNK)
                    rows += some
                await asyncio.sleep(0)
            return SkuRows(sku, rows, fresh)

        answer = await self._router.ask(
            partition, asked, here, self._request_for(partition, asked, key, if_none_match)
        )
        if isinstance(answer, PeerAnswer):
            return passed_on(answer)
        if isinstance(answer, SkuRows):
            async with self._lane.turn() as pacer:
                return await sku_reply(answer, self._version, if_none_match, pacer)
        return reply(answer, self._version)

    def _request_for(
        self, partition: int, asked: Asked, key: tuple[str, ...], if_none_match: str | None
    ) -> Callable[[str, float], bytes]:
        """Makes the same GET for another worker."""
        path = "/".join((ROOT, *(quote(part, safe="") for part in key)))

        def request(url: str, wait_s: float) -> bytes:
            token = self._admission.floor_token([partition], asked)
            target = hops.target_at_least(path, token, wait_s)
            if asked.max_lag_events is not None:
                joint = "&" if token else "?"
                target += f"{joint}max_lag_events={asked.max_lag_events}"
            lines = self._hop_lines
            if if_none_match is not None:
                lines += f"If-None-Match: {if_none_match}\r\n"
            return get(url, target, lines)

        return request

    def _note(self, response: web.Response, seconds: float) -> None:
        role = response.headers.get("Onhand-Role", "none")
        self._observe(role, outcome_of(response), seconds)


def passed_on(answer: PeerAnswer) -> web.Response:
    """Another worker's answer as it is: status, headers, body."""
    return web.Response(status=answer.status, headers=CIMultiDict(answer.headers), body=answer.body)


def outcome_of(response: web.Response) -> str:
    """For the metrics: `found`, `list`, `not-modified` or the name of a problem."""
    match response.status:
        case 200:
            return "found" if "ETag" in response.headers else "list"
        case 304:
            return "not-modified"
        case _:
            body = response.body if isinstance(response.body, bytes) else b""
            name = problem_of(PeerAnswer(response.status, (), body))
            return "unknown" if name is None else str(name)
