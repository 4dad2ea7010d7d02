"""Questions about the past that come to an inventory worker: passed on to a ledger that lives.

A worker keeps no history. It finds ledgers by their heartbeats and hands the question on as it
came, and the answer as it came back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from aiohttp import web

from web.cluster.exchange import PeerFailed
from web.cluster.peers import Peers, get
from web.cluster.roster import Roster
from web.history.asking import is_about_the_past
from web.http.parameters import target_of
from web.http.problems import Problem, problem
from web.http.replies import Handler
from web.reads.queries import passed_on

#: A question of the past may add up a hundred thousand facts.
_ANSWER_S = 10.0


class _Asked(NamedTuple):
    path: str
    query: str


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

    def _choosing(self, handler: Handler) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            path, query = target_of(request)
            if is_about_the_past(path, query):
                return await self._pass_on(_Asked(path, query))
            return await handler(request)

        return handle

    async def _pass_on(self, asked: _Asked) -> web.Response:
        path = f"{asked.path}?{asked.query}" if asked.query else asked.path
        ledgers = self._roster.ledgers()
        failed = ""
        for url in ledgers:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    return passed_on(await self._peers.ask(url, get(url, path, {}, "")))
            except PeerFailed as error:
                failed = str(error)
            except TimeoutError:
                failed = f"It has not answered within {_ANSWER_S:.0f} s."
        if ledgers:
            return problem(
                Problem.HISTORY_NOT_RUNNING,
                f"The ledger at {ledgers[-1]} does not answer: {failed}",
            )
        return problem(
            Problem.HISTORY_NOT_RUNNING,
            "Nobody keeps history now: start a ledger with `onhand ledger worker`.",
        )
