"""All of HTTP in one piece: routes, bounds, start and graceful stop. Knows no Faust."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from aiohttp import web
from msgspec.structs import replace
from prometheus_client.registry import Collector

from domain.checks import Refusal
from domain.rules.held import Ruling
from tables.audit.repairs import Repairs
from tables.ports import Fail
from tables.stats import Stats
from tables.stock import StockReading
from web.access.access import OPEN, Access, Demand
from web.access.callers import Scope
from web.cluster.ends import BrokerEnds
from web.cluster.members import Members
from web.cluster.sightings import Sightings
from web.config import Limits, WebConfig
from web.feed.following import Following
from web.feed.owners import ByHop, RowPages
from web.feed.pages import FeedPages
from web.feed.rows import OwnRows
from web.feed.source import FeedSource
from web.history.passing import Passing
from web.http.bodies import BodyLimits, Room
from web.http.browsers import Browsers
from web.http.connections import ConnectionLimits, guard
from web.http.gate import Gate, emptied
from web.http.outbox import Outbox
from web.http.paths import add_routes, answer_the_rest, unknown_path
from web.http.problems import pages
from web.http.raw.shortcuts import Take
from web.openapi import document
from web.operations.auditing import Auditing
from web.operations.metrics import Metrics
from web.operations.ops import Ops
from web.page.files import PageFiles
from web.reads.queries import Queries
from web.records.deadletters import DeadLetters
from web.records.factfinding import FactFinding
from web.records.kept import KeptAnswers
from web.records.logs import Logs
from web.versions.door import Door
from web.versions.neighbours import Neighbours
from web.versions.switch import Switch
from web.versions.view import VersionView
from web.writes.appending import Appender
from web.writes.documents import Documents
from web.writes.facts import FactLimits, Facts
from web.writes.loads import Loader
from web.writes.outcomes import Outcomes
from web.writes.questions import OwnQuestions
from web.writes.quick import QuickPosts

log = logging.getLogger(__name__)


def _with_room(limits: Limits) -> tuple[FactLimits, BodyLimits]:
    """Limits for facts and for lookups, each with memory of its own for unfinished bodies."""
    of_facts, of_lookups = (
        replace(body, room=Room(limits.body_bytes))
        for body in (limits.facts.body, limits.lookup_body)
    )
    return replace(limits.facts, body=of_facts), of_lookups


class Web:
    """One worker's HTTP. Made by app/wiring.py, which calls `attach`, `start`, `stop`."""

    def __init__(
        self,
        config: WebConfig,
        table: StockReading,
        stats: Stats,
        versions: VersionView,
        ruling: Ruling,
        loader: Loader,
        fail: Fail | None = None,
        repairs: Repairs | None = None,
        access: Access = OPEN,
    ) -> None:
        """`ruling`: the rules of its version. `fail`: ends the worker with one sentence.

        `loader`: loads documents. `repairs`: who sets rows right. `access`: who may call what.
        """
        self._config, self._ruling, self._access = config, ruling, access
        self.versions, self._loader = versions, loader
        limits = config.limits
        self._ends = BrokerEnds(config.kafka)
        self._outbox = Outbox(limits.answer_bytes)
        self._fact_limits, self._lookup_body = _with_room(limits)
        self.members = self._made_members(table, fail)
        self._metrics = Metrics(
            table,
            stats,
            self._in_flight,
            self.members.unreadable,
            config.topics.values(),
            map(str, Refusal),
            access.refused,
        )
        self._gates = self._made_gates(limits)
        self._queries = Queries(
            table,
            self.members.roster,
            config.topics.values(),
            config.version,
            self._lookup_body,
            self._metrics.observe_query,
            self._ends,
            limits.peer_connections,
            self._outbox,
            access.signed,
            access.tls.client,
            self._gates["read"],
        )
        table.label = (config.version, 0)
        self._past = Passing(self.members.roster, self._queries.peers)
        # In this order: each takes what those before it have made.
        self._make_records(table)
        self._make_writes(table)
        self._make_versions(table)
        self._make_feed(table)
        self._auditing = Auditing(table, repairs, self._lookup_body)
        registry, workers = self._metrics.registry, self.members.workers
        self._ops = Ops(config.version, table, registry, workers, versions.not_ready)

    def _made_members(self, table: StockReading, fail: Fail | None) -> Members:
        config = self._config
        return Members(
            config.kafka,
            config.members_topic,
            table,
            version=config.version,
            rules=self._ruling.now.number,
            build=config.build,
            url=config.url,
            window=config.window,
            fail=fail,
            epoch=lambda: self._switch.epoch,
            access=self._access,
        )

    def _made_gates(self, limits: Limits) -> dict[str, Gate]:
        sending = self._fact_limits.body.room.reading
        reading = self._lookup_body.room.reading
        return {
            "read": Gate(limits.reads, lambda: self._queries.waiters() + reading()),
            "write": Gate(limits.writes, self._apart_of_writes(sending)),
            "feed": Gate(limits.feed.readers),
            "feed-hop": Gate(limits.feed.hops),
        }

    def _make_records(self, table: StockReading) -> None:
        config, observe = self._config, self._metrics.observe_query
        logs = Logs(config.kafka)
        self._dead_letters = DeadLetters(logs, config.dead_letters, table.count, observe)
        self.kept = KeptAnswers(logs, config.loads, observe)
        self._roles = {topic: role for role, topic in config.topics.items()}
        self._sightings = Sightings(
            table,
            self.members.roster,
            self._queries.peers,
            config.url,
            config.version,
            self._lookup_body,
            self._ruling,
        )
        self._finding = FactFinding(
            self._sightings.ask,
            logs,
            self._roles,
            table.count,
            config.dead_letters,
            self._lookup_body,
            observe,
            self._ruling,
            self._past.facts,
        )

    def _make_writes(self, table: StockReading) -> None:
        config, limits = self._config, self._config.limits
        self._appender = Appender(config.kafka, limits.append_timeout_s, limits.turns)
        outcomes = Outcomes(self._sightings.ask, self._roles, table.count, self._ruling)
        self._facts = Facts(
            self._appender.append,
            config.topics,
            table.count,
            self._fact_limits,
            self._ruling,
            self._metrics.observe_append,
            outcomes.of,
        )
        self._quick_posts = QuickPosts(
            self._facts,
            self._appender.append_one,
            self._gates["write"],
            table,
            self._metrics.observe_append,
        )
        questions = OwnQuestions(self._queries.peers, config.url)
        self._documents = Documents(
            self._loader, questions, self._active_rules, limits.documents, config.origins
        )

    def _make_versions(self, table: StockReading) -> None:
        versions, members, peers = self.versions, self.members, self._queries.peers
        admission, quiet = self._queries.admission, members.roster.is_quiet
        near = Neighbours(versions, members.workers, members.others, quiet, peers)
        self._neighbours = near
        self._switch = Switch(versions, table, admission, near.workers, peers)
        self._switch.listeners.append(self.members.announce)
        self._door = Door(
            versions, self._switch, table, admission, peers, near.others, self._fact_limits.body
        )

    def _make_feed(self, table: StockReading) -> None:
        config, access = self._config, self._access
        own = OwnRows(table, config.version)
        topics = [*config.topics.values()]
        self._rows = RowPages(own, self.members.roster, self._queries.peers, topics)
        source = FeedSource(self._past, self._rows, self._door)
        self._feed = Following(
            FeedPages(source.ask, source.version),
            self._door.guarding(source.here),
            lambda request: access.admits(request, Scope.READ),
            config.limits.feed,
        )
        self._metrics.registry.register(self._feed)

    def judge_by(self, rules: int) -> None:
        """The record says that this worker's version counts by these rules.

        Raises:
            RulesNotHeld: this build does not have them.
        """
        self._ruling.choose(self._config.version, rules)
        self.members.judge_by(rules)

    def measure(self, collector: Collector) -> None:
        """Show in /metrics what another part of the worker counts."""
        self._metrics.registry.register(collector)

    def attach(self, app: web.Application) -> None:
        """Add all routes to an application that does not run yet.

        Call it after others have added theirs: the last route takes every path.
        """
        access, door = self._access, self._door
        limits, tls = self._config.limits.connections, access.tls.server()
        guard(app, limits, self._at_once, self._outbox, tls)
        Browsers(self._config.origins, tls is not None).tell(app)
        reading, writing = access.guarding(Scope.READ), access.guarding(Scope.WRITE)
        reads, writes = self._gates["read"], self._gates["write"]
        any_token = access.guarding(Demand.ANY_TOKEN)
        add_routes(app, self._ops.routes(), guarding=access.of_operations())
        add_routes(app, self._facts.routes(), writes, door, writing)
        # By no door: any worker loads, by the rules of the active version.
        add_routes(app, self._documents.routes(), writes, None, writing)
        add_routes(app, self._past.before(self._queries.routes()), reads, door, reading)
        add_routes(app, self._past.routes(), reads, door, reading)
        of_feed = ByHop(self._gates["feed"], self._gates["feed-hop"])
        add_routes(app, self._feed.routes(), of_feed, None, reading)
        add_routes(app, self._past.audits(), reads, door, access.guarding(Scope.OPERATE))
        add_routes(app, self._finding.routes(), reads, door, reading)
        add_routes(app, self.kept.routes(), reads, None, reading)
        letters = self._dead_letters.routes()
        add_routes(app, letters, reads, door, access.guarding(Scope.DEAD_LETTERS))
        add_routes(app, self._sightings.routes(), reads, None, access.guarding(Demand.WORKER))
        operating = access.guarding(Demand.OPERATOR)
        add_routes(app, self._neighbours.routes(), guarding=operating)
        add_routes(app, self._auditing.routes(), reads, None, access.guarding(Scope.OPERATE))
        add_routes(app, pages(), guarding=any_token)
        about = self._config.build, self._config.url, self._config.asyncapi
        described = document.routes(*about, guarded=access.has_tokens)
        page = PageFiles()
        add_routes(app, described, guarding=page.before(any_token))
        add_routes(app, page.routes())
        # The active version may have calls that this one does not know.
        answer_the_rest(app, any_token("", reads.guarding(door.guarding(unknown_path()))))
        app.on_cleanup.append(self._on_cleanup)

    def _at_once(self, data: bytes, take: Take) -> bytes | None:
        # Not while draining: it does not know how to close connections.
        if self._ops.draining:
            return None
        if data.startswith(b"POST "):
            return self._taken_at_once(data, take)
        if not self._door.is_plain(data):
            return None
        return self._access.at_once(data, take, self._queries.quick)

    def _taken_at_once(self, data: bytes, take: Take) -> bytes | None:
        # Nothing that a body holds says anything to the doors.
        end = data.find(b"\r\n\r\n") + 4
        head, body = data[:end], data[end:]
        if end < 4 or not self._door.is_plain(head):
            return None

        def shortcut(head: bytes, take: Take) -> bytes | None:
            return self._quick_posts.answer(head, body, take)

        return self._access.at_once(head, take, shortcut, Scope.WRITE)

    def _apart_of_writes(self, sending: Callable[[], int]) -> Callable[[], int]:
        """Counts the writes that have bounds of their own; `sending`: whose bodies come."""
        return lambda: self._facts.waiting + sending() + self._documents.inside

    def _active_rules(self) -> int:
        """By which facts are counted for whoever asks without naming a version."""
        last = self.versions.last
        begun = None if last is None else last.versions.get(str(last.active))
        return self._ruling.now.number if begun is None else begun.rules

    def _in_flight(self) -> Mapping[str, int]:
        return {kind: gate.inside for kind, gate in self._gates.items()}

    async def start(self) -> None:
        """Begin to talk to Kafka; returns at once, with or without a broker (P8)."""
        allowed, usual = self._config.limits.connections, ConnectionLimits()
        if allowed.connections < usual.connections:
            log.warning(
                "This process may open few files: at most %d connections of clients at once. For "
                "more, raise its limit (`ulimit -n`, or LimitNOFILE= of systemd).",
                allowed.connections,
            )
        self.versions.start()
        self._switch.start()
        self._neighbours.start()
        await self._appender.start()
        await self.members.start()

    async def stop(self) -> None:
        """Leave gracefully, before the table does.

        1. /ready says 503, every answer closes its connection, other workers ask elsewhere.
        2. Wait `notice_s`, then until the requests under way are answered, at most `drain_s`.

        Requests that still come are served, from other workers once the table is closed,
        until the server closes its socket. Then `close` follows by itself, as part of the
        application's cleanup.
        """
        self._ops.draining = True
        for gate in self._gates.values():
            gate.draining = True
        await self.members.leave()
        limits = self._config.limits
        await asyncio.sleep(limits.notice_s)
        self._feed.end()
        self._rows.end()
        await emptied(self._gates, limits.drain_s)

    async def close(self) -> None:
        """Let go of Kafka and of other workers, after the last request. May be called twice."""
        await self._feed.close()
        await self._loader.stop()
        await self._rows.close()
        await self.versions.stop()
        await self._neighbours.stop()
        await self._switch.stop()
        await self.members.stop()
        await self._appender.stop()
        await self._ends.stop()
        await self._queries.close()

    async def _on_cleanup(self, app: web.Application) -> None:
        await self.close()
