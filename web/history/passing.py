"""Questions that an inventory worker passes on: about the past to a ledger, of drift to an audit.

A worker keeps no history and audits nothing. It finds those who do by their heartbeats and hands
the question on as it came, and the answer as it came back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import msgspec
from aiohttp import web

from domain.naming import SourceAndId
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.heartbeats import AUDIT, LEDGER
from web.cluster.peers import Peers, get, post
from web.cluster.roster import Roster
from web.history.asking import REPORTS_PATH
from web.history.spreadsheets import wants_csv
from web.http.parameters import BadRequest, parameters, target_of
from web.http.problems import Problem, problem
from web.http.replies import Handler
from web.reads.parameters import READ
from web.reads.queries import passed_on
from web.records.factfinding import FACTS_LOOKUP_PATH, FactName, FactsAsked, FactsBody
from web.versions.asked import is_about_the_past, without_version
from web.versions.door import waited_s

AUDIT_PATH = "/v1/audit"
#: Of what a version is asked for by name; the door reads it.
OF_A_VERSION = {"version": READ["version"]}
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

    def audits(self) -> Iterator[web.RouteDef]:
        """What only an audit that never ends can say."""
        yield web.get(AUDIT_PATH, self._audit)

    async def _report(self, request: web.Request) -> web.Response:
        return await self._pass_on(_Asked(*target_of(request), _accept(request)))

    async def _audit(self, request: web.Request) -> web.Response:
        try:
            parameters(target_of(request)[1], OF_A_VERSION)
        except BadRequest as bad:
            return bad.reply()
        audits = self._roster.audits()
        answer = await self._ask_one(AUDIT, audits, lambda url: get(url, AUDIT_PATH, {}, ""))
        if isinstance(answer, PeerAnswer):
            return passed_on(answer)
        detail = "No audit goes on now: start one with `onhand audit --watch`."
        return problem(Problem.AUDIT_NOT_RUNNING, answer or detail)

    def _choosing(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            path, query = target_of(request)
            if is_about_the_past(path, query):
                return await self._pass_on(_Asked(path, query, _accept(request)))
            return await handler(request)

        return handle

    async def _pass_on(self, asked: _Asked) -> web.Response:
        # Which version it is of is settled: this worker's, and so that of any ledger asked.
        query = without_version(asked.query)
        path = f"{asked.path}?{query}" if query else asked.path
        answer = await self.ask(path, waited_s(query), asked.lines)
        return passed_on(answer) if isinstance(answer, PeerAnswer) else nobody_tells(answer)

    async def facts(self, names: Sequence[SourceAndId]) -> FactsBody | None:
        """What a ledger knows of some facts; None where none answers."""
        body = msgspec.json.encode(FactsAsked([FactName(*name) for name in names]))
        answer = await self._ask_one(
            LEDGER, self._roster.ledgers(), lambda url: post(url, FACTS_LOOKUP_PATH, {}, "", body)
        )
        if not isinstance(answer, PeerAnswer) or answer.status != 200:
            return None
        try:
            return msgspec.json.decode(answer.body, type=FactsBody)
        except msgspec.MsgspecError:
            return None  # of a build that says it in other words

    async def ask(self, target: str, wait_s: float, lines: str = "") -> PeerAnswer | str | None:
        """What a ledger says at a path and query; why none does, or None where none lives.

        Args:
            target: percent-encoded.
            wait_s: how long the ledger may wait itself before it answers.
            lines: headers that it has to know.
        """
        ledgers = self._roster.ledgers()
        return await self._ask_one(
            LEDGER, ledgers, lambda url: get(url, target, {}, lines), waits_s=wait_s
        )

    async def _ask_one(
        self,
        what: str,
        urls: Sequence[str],
        request: Callable[[str], bytes],
        *,
        waits_s: float = 0.0,
    ) -> PeerAnswer | str | None:
        """The answer of one of them; why there is none, or None where none lives.

        One that cannot say yet (it is built anew, or behind) has the word only if no other can.
        """
        failed, not_yet = None, None
        for url in urls:
            try:
                async with asyncio.timeout(_ANSWER_S + waits_s):
                    answer = await self._peers.ask(url, request(url), waits=waits_s > 0)
                if answer.status == 503:
                    not_yet = not_yet or answer
                elif answer.status == 401:
                    failed = f"The {what} at {url} does not take this worker for one."
                else:
                    return answer
            except PeerFailed as error:
                failed = f"The {what} at {url} does not answer: {error}"
            except TimeoutError:
                failed = f"The {what} at {url} has not answered within {_ANSWER_S + waits_s:.0f} s."
        return not_yet or failed


def nobody_tells(why: str | None) -> web.Response:
    """503: no ledger answers, and why; None: there is none."""
    detail = "Nobody keeps history now: start a ledger with `onhand ledger worker`."
    return problem(Problem.HISTORY_NOT_RUNNING, why or detail)


def _accept(request: web.Request) -> str:
    return "Accept: text/csv\r\n" if wants_csv(request) else ""
