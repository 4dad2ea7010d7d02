"""Questions about the past that come to an inventory worker: passed on to a ledger that lives.

A worker keeps no history. It finds ledgers by their heartbeats and hands the question on as it
came, and the answer as it came back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from domain.naming import SourceAndId
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.peers import Peers, get, post
from web.cluster.roster import Roster
from web.history.asking import REPORTS_PATH, is_about_the_past
from web.history.spreadsheets import wants_csv
from web.http.parameters import target_of
from web.http.problems import Problem, problem
from web.http.replies import Handler
from web.reads.queries import passed_on
from web.records.factfinding import FACTS_LOOKUP_PATH, FactName, FactsAsked, FactsBody

#: A question of the past may add up a hundred thousand facts.
_ANSWER_S = 10.0


class _Asked(NamedTuple):
    """lines: headers that the ledger has to know."""

    path: str
    query: str
    lines: str


class Passing:
    """Stands before the reads of a worker.

    Args:
        roster: who is there.
        peers: connections.
    """

    def __init__(self, roster: Roster, peers: Peers) -> None:
        self._roster, self._peers = roster, peers

    def before(self, routes: Iterator[web.RouteDef]) -> Iterator[web.RouteDef]:
        """The same routes; what is about the past goes to a ledger instead."""
        for route in routes:
            handler: Handler = route.handler
            if route.method == "GET":
                handler = self._choosing(handler)
            yield web.RouteDef(route.method, route.path, handler, route.kwargs)

    def routes(self) -> Iterator[web.RouteDef]:
        """Those that only a ledger answers."""
        yield web.get(REPORTS_PATH + "{name}", self._report)

    async def _report(self, request: web.Request) -> web.Response:
        return await self._pass_on(_Asked(*target_of(request), _accept(request)))

    def _choosing(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            path, query = target_of(request)
            if is_about_the_past(path, query):
                return await self._pass_on(_Asked(path, query, _accept(request)))
            return await handler(request)

        return handle

    async def _pass_on(self, asked: _Asked) -> web.Response:
        path = f"{asked.path}?{asked.query}" if asked.query else asked.path
        answer = await self._ask_one(lambda url: get(url, path, {}, asked.lines))
        if isinstance(answer, PeerAnswer):
            return passed_on(answer)
        if answer is None:
            detail = "Nobody keeps history now: start a ledger with `onhand ledger worker`."
            return problem(Problem.HISTORY_NOT_RUNNING, detail)
        return problem(Problem.HISTORY_NOT_RUNNING, answer)

    async def facts(self, names: Sequence[SourceAndId]) -> FactsBody | None:
        """What a ledger knows of some facts; None where none answers."""
        body = msgspec.json.encode(FactsAsked([FactName(*name) for name in names]))
        answer = await self._ask_one(lambda url: post(url, FACTS_LOOKUP_PATH, {}, "", body))
        if not isinstance(answer, PeerAnswer) or answer.status != 200:
            return None
        try:
            return msgspec.json.decode(answer.body, type=FactsBody)
        except msgspec.MsgspecError:
            return None  # of a build that says it in other words

    async def _ask_one(self, request: Callable[[str], bytes]) -> PeerAnswer | str | None:
        """A ledger's answer; why there is none, or None where no ledger lives.

        One that cannot say yet (it is built anew, or behind) has the word only if no other can.
        """
        failed, not_yet = None, None
        for url in self._roster.ledgers():
            try:
                async with asyncio.timeout(_ANSWER_S):
                    answer = await self._peers.ask(url, request(url))
                if answer.status == 503:
                    not_yet = not_yet or answer
                elif answer.status == 401:
                    failed = f"The ledger at {url} does not take this worker for one."
                else:
                    return answer
            except PeerFailed as error:
                failed = f"The ledger at {url} does not answer: {error}"
            except TimeoutError:
                failed = f"The ledger at {url} has not answered within {_ANSWER_S:.0f} s."
        return not_yet or failed


def _accept(request: web.Request) -> str:
    return "Accept: text/csv\r\n" if wants_csv(request) else ""
