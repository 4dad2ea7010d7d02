"""All of a ledger's HTTP in one piece: routes, heartbeats, start and graceful stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web
from msgspec import Struct

from ledger.history import History
from ledger.keeping import Keeper
from tables.ports import Fail
from web.access.access import OPEN, Access, Demand
from web.access.callers import Scope
from web.cluster.heartbeats import LEDGER
from web.cluster.members import Members, NothingHeld
from web.feed.answering import ChangesAnswers
from web.history.answers import Answers
from web.history.probes import Probes
from web.http.browsers import Browsers
from web.http.connections import ConnectionLimits, guard
from web.http.gate import Gate, emptied
from web.http.paths import add_routes, answer_the_rest, unknown_path
from web.http.problems import pages

#: Questions at once; the others are told to come back.
_QUESTIONS = 256
#: How long `stop` goes on as before, so that workers learn of it, and then waits for questions.
_NOTICE_S = 1.0
_DRAIN_S = 10.0
_ELSEWHERE = (
    "This is a ledger, which answers for the past: ask a worker, which passes questions about the "
    "past on to it."
)


class LedgerWebConfig(Struct, frozen=True, kw_only=True):
    """What the web of a ledger needs to know of the settings; as `web.config.WebConfig`."""

    url: str
    version: int
    rules: int
    kafka: Mapping[str, Any]
    topics: Sequence[str]
    members_topic: str
    build: str
    window: int
    connections: ConnectionLimits = ConnectionLimits()


class LedgerWeb:
    """One ledger's HTTP. Made by app/ledger.py, which calls `attach`, `start`, `stop`."""

    def __init__(
        self,
        config: LedgerWebConfig,
        history: History,
        keeper: Keeper,
        fail: Fail,
        access: Access = OPEN,
    ) -> None:
        self._access, self._connections = access, config.connections
        self._answers = Answers(history, config.topics, config.url)
        self._probes = Probes(keeper)
        self._changes = ChangesAnswers(history, config.topics, history.partitions)
        keeper.when_written = self._changes.look
        # Workers wait here for the next facts, and must keep no question out.
        self._gate, self._feed_gate = Gate(_QUESTIONS), Gate(_QUESTIONS)
        self._members = Members(
            config.kafka,
            config.members_topic,
            NothingHeld(),  # it answers for all partitions that are in its database
            version=config.version,
            rules=config.rules,
            build=config.build,
            url=config.url,
            window=config.window,
            kind=LEDGER,
            fail=fail,
            access=access,
            behind=lambda: keeper.is_behind,
        )

    def attach(self, app: web.Application) -> None:
        """Add all routes to an application that does not run yet."""
        access = self._access
        tls = access.tls.server()
        guard(app, self._connections, tls=tls)
        Browsers(is_secured=tls is not None).tell(app)
        any_token = access.guarding(Demand.ANY_TOKEN)
        add_routes(app, self._probes.routes(), guarding=access.of_operations())
        reading = access.guarding(Scope.READ)
        add_routes(app, self._answers.routes(), self._gate, guarding=reading)
        add_routes(app, self._changes.routes(), self._feed_gate, guarding=reading)
        add_routes(app, pages(), guarding=any_token)
        answer_the_rest(app, any_token("", unknown_path(_ELSEWHERE)))
        app.on_cleanup.append(self._on_cleanup)

    def judge_by(self, rules: int) -> None:
        """Its version counts by these; before `start`."""
        self._members.judge_by(rules)

    async def start(self) -> None:
        """Begin to tell others that this ledger is there."""
        await self._members.start()

    async def stop(self) -> None:
        """Leave gracefully: say so, wait a moment, then for the questions under way."""
        self._probes.draining = self._gate.draining = self._feed_gate.draining = True
        await self._members.leave()
        await asyncio.sleep(_NOTICE_S)
        self._changes.end()
        await emptied({"read": self._gate, "feed": self._feed_gate}, _DRAIN_S)

    async def _on_cleanup(self, app: web.Application) -> None:
        await self._members.stop()
        self._answers.close()
        self._changes.close()
