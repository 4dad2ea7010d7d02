"""All of a program's HTTP in one piece: its calls, and those for whoever runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from aiohttp import web
from msgspec import Struct

from tables.ports import Fail
from tables.reading import Reading
from tables.stats import Stats
from web.access.access import OPEN, Access, Demand
from web.access.callers import Scope
from web.cluster.admission import Admission
from web.cluster.ends import BrokerEnds
from web.cluster.members import Members
from web.cluster.peers import Peers
from web.cluster.routing import Router
from web.http.browsers import Browsers
from web.http.connections import ConnectionLimits, guard
from web.http.gate import Gate, emptied
from web.http.pacing import Lane
from web.http.paths import add_routes, answer_the_rest, unknown_path
from web.http.problems import pages
from web.operations.metrics import Metrics
from web.operations.ops import Ops
from web.reads.gathering import Gathering
from web.rows.keys import KeyReads
from web.rows.ranking import TopReads
from web.rows.routes import KeyRoute, TopRoute

Route: TypeAlias = KeyRoute | TopRoute

#: Questions at once; the others are told to come back.
_QUESTIONS = 2048
#: As of `web.config.Limits`: how long `stop` goes on as before, and then waits for questions.
_NOTICE_S = 1.0
_DRAIN_S = 10.0


class ProgramWebConfig(Struct, frozen=True, kw_only=True):
    """What the web of a program needs to know of the settings; as `web.config.WebConfig`.

    topics: full names of what the table counts that is read. rules: of its projection.
    """

    url: str
    version: int
    rules: int
    kafka: Mapping[str, Any]
    topics: Sequence[str]
    members_topic: str
    build: str
    connections: ConnectionLimits = ConnectionLimits()


class ProgramWeb:
    """One worker's HTTP. Made by app/programs/wiring.py, which calls `attach`, `start`, `stop`."""

    def __init__(
        self,
        config: ProgramWebConfig,
        table: Reading,
        stats: Stats,
        routes: Sequence[Route],
        fail: Fail,
        access: Access = OPEN,
    ) -> None:
        """`table`: whose rows `routes` give. `fail`: ends the worker with one sentence.

        `access`: who may call what.
        """
        self._access, self._connections = access, config.connections
        table.label = (config.version, 0)
        self._routes = routes
        self._ends = BrokerEnds(config.kafka)
        self.members = Members(
            config.kafka,
            config.members_topic,
            table,
            version=config.version,
            rules=config.rules,
            build=config.build,
            url=config.url,
            fail=fail,
            access=access,
        )
        self._peers = Peers(signed=access.signed, tls=access.tls.client)
        self._admission = Admission(table, config.topics, self._ends)
        router = Router(table, self.members.roster, self._peers, self._admission)
        self._gate = Gate(_QUESTIONS, lambda: self._admission.waiters)
        metrics = Metrics(
            table,
            stats,
            lambda: {"read": self._gate.inside},
            self.members.unreadable,
            config.topics,
            denials=access.refused,
        )
        self._keys = KeyReads(table, router, config.version, metrics.observe_query)
        self._tops = TopReads(Gathering(table, router, Lane(), config.version))
        self._ops = Ops(config.version, table, metrics.registry, self.members.workers)

    def attach(self, app: web.Application) -> None:
        """Add all routes to an application that does not run yet."""
        access = self._access
        tls = access.tls.server()
        guard(app, self._connections, tls=tls)
        Browsers(is_secured=tls is not None).tell(app)
        any_token, reading = access.guarding(Demand.ANY_TOKEN), access.guarding(Scope.READ)
        add_routes(app, self._ops.routes(), guarding=access.of_operations())
        routes = map(self._route, self._routes)
        add_routes(app, routes, self._gate, guarding=reading)
        add_routes(app, pages(), guarding=any_token)
        answer_the_rest(app, any_token("", unknown_path()))
        app.on_cleanup.append(self._on_cleanup)

    def _route(self, route: Route) -> web.RouteDef:
        return self._keys.route(route) if isinstance(route, KeyRoute) else self._tops.route(route)

    async def start(self) -> None:
        """Begin to talk to Kafka; returns at once, with or without a broker."""
        await self.members.start()

    async def stop(self) -> None:
        """Leave gracefully: say so, wait a moment, then for the questions under way."""
        self._ops.draining = self._gate.draining = True
        await self.members.leave()
        await asyncio.sleep(_NOTICE_S)
        await emptied({"read": self._gate}, _DRAIN_S)

    async def _on_cleanup(self, app: web.Application) -> None:
        await self.members.stop()
        await self._ends.stop()
        await self._peers.close()
        await self._admission.close()
