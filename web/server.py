"""All of HTTP in one piece: routes, bounds, start and graceful stop. Knows no Faust."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web
from msgspec import Struct
from msgspec.structs import replace
from prometheus_client.registry import Collector

from domain.checks import Refusal
from domain.rules.held import Ruling
from tables.audit.repairs import Repairs
from tables.ports import Fail
from tables.stats import Stats
from tables.stock import StockReading
from web import openapi
from web.access.access import OPEN, Access, Demand
from web.access.callers import Scope
from web.cluster.ends import BrokerEnds
from web.cluster.members import Members
from web.cluster.sightings import Sightings
from web.feed.following import FeedLimits, Following
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
from web.http.paths import add_routes, go_on, unknown_path
from web.http.problems import pages
from web.http.raw.shortcuts import Take
from web.operations.auditing import Auditing
from web.operations.metrics import Metrics
from web.operations.ops import Ops
from web.page.files import PageFiles
from web.reads.queries import Queries
from web.records.deadletters import DeadLetters
from web.records.factfinding import FactFinding
from web.records.kept import KeptAnswers, KeptLoads
from web.records.logs import Logs
from web.versions.door import Door
from web.versions.neighbours import Neighbours
from web.versions.switch import Switch
from web.versions.view import VersionView
from web.writes.appending import Appender
from web.writes.documents import DocumentLimits, Documents
from web.writes.facts import FactLimits, Facts
from web.writes.loads import Loader
from web.writes.outcomes import Outcomes
from web.writes.questions import OwnQuestions
from web.writes.turns import TurnLimits

log = logging.getLogger(__name__)


class Limits(Struct, frozen=True):
    """Bounds of one worker. What is beyond them gets a clear 4xx or 503, at once.

    reads: queries handled at once, those that wait for another worker too. Those that wait for
        a position have a bound of their own (`web.cluster.admission.MAX_WAITERS`).
    documents: those that are posted, who are among no others.
    writes: POSTs of facts handled at once, those that wait for their turn too. Neither those
        whose bodies have not come nor those that wait for an outcome are among them.
    turns: in which writes go to Kafka.
    feed: readers of changes, who are among no others.
    body_bytes: memory for bodies that are not whole yet, of writes and of lookups each.
    answer_bytes: memory for large answers that wait for their clients to take them.
    append_timeout_s: Kafka's time for one POST; with all the rest, an answer comes within 5 s.
    peer_connections: to all other workers together.
    notice_s: how long `stop` goes on as before, so that clients, load balancers and other
        workers learn of it: whoever asks meanwhile is told to close the connection.
    drain_s: how long it then waits for requests under way.
    """

    connections: ConnectionLimits = ConnectionLimits()
    facts: FactLimits = FactLimits()
    documents: DocumentLimits = DocumentLimits()
    lookup_body: BodyLimits = BodyLimits()
    reads: int = 2048
    writes: int = 2048
    turns: TurnLimits = TurnLimits()
    feed: FeedLimits = FeedLimits()
    body_bytes: int = 32 * 2**20
    answer_bytes: int = 128 * 2**20
    append_timeout_s: float = 4.0
    peer_connections: int = 4096
    notice_s: float = 1.0
    drain_s: float = 10.0


class WebConfig(Struct, frozen=True, kw_only=True):
    """What the web needs to know of the settings.

    url: how others reach this worker. kafka: keyword arguments of an aiokafka client.
    topics: full topic name by role (`shipments`, `sales`, `adjustments`).
    members_topic: where workers tell each other what they hold.
    dead_letters: the topic of what this version refused. loads: where documents are remembered.
    build: what `/v1/cluster` says of the code that runs.
    window: offsets of the duplicates window; workers with another one are not asked.
    origins: of pages that browsers may let ask this worker. asyncapi: what `/asyncapi.json` tells.
    """

    url: str
    version: int
    kafka: Mapping[str, Any]
    topics: Mapping[str, str]
    members_topic: str
    dead_letters: str
    asyncapi: Mapping[str, Any]
    loads: KeptLoads
    build: str = ""
    window: int | None = None
    origins: Sequence[str] = ()
    limits: Limits = Limits()


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
        self.versions = versions
        limits = config.limits
        self._ends = BrokerEnds(config.kafka)
        self._outbox = Outbox(limits.answer_bytes)
        fact_limits, lookup_body = _with_room(limits)
        self.members = Members(
            config.kafka,
            config.members_topic,
            table,
            version=config.version,
            rules=ruling.now.number,
            build=config.build,
            url=config.url,
            window=config.window,
            fail=fail,
            epoch=lambda: self._switch.epoch,
            access=access,
        )
        unreadable = self.members.unreadable
        self._metrics = Metrics(
            table,
            stats,
            self._in_flight,
            unreadable,
            config.topics.values(),
            map(str, Refusal),
            access.refused,
        )
        sending, reading = fact_limits.body.room.reading, lookup_body.room.reading
        self._gates = {
            "read": Gate(limits.reads, lambda: self._queries.waiters() + reading()),
            "write": Gate(limits.writes, self._apart_of_writes(sending)),
            "feed": Gate(limits.feed.readers),
            "feed-hop": Gate(limits.feed.hops),
        }
        self._queries = Queries(
            table,
            self.members.roster,
            config.topics.values(),
            config.version,
            lookup_body,
            self._metrics.observe_query,
            self._ends,
            limits.peer_connections,
            self._outbox,
            access.signed,
            access.tls.client,
            self._gates["read"],
        )
        self._appender = Appender(config.kafka, limits.append_timeout_s, limits.turns)
        observe, observe_query = self._metrics.observe_append, self._metrics.observe_query
        logs = Logs(config.kafka)
        self._dead_letters = DeadLetters(logs, config.dead_letters, table.count, observe_query)
        self.kept = KeptAnswers(logs, config.loads, observe_query)
        self._sightings = Sightings(
            table,
            self.members.roster,
            self._queries.peers,
            config.url,
            config.version,
            lookup_body,
            ruling,
        )
        roles = {topic: role for role, topic in config.topics.items()}
        self._past = Passing(self.members.roster, self._queries.peers)
        self._finding = FactFinding(
            self._sightings.ask,
            logs,
            roles,
            table.count,
            config.dead_letters,
            lookup_body,
            self._metrics.observe_query,
            ruling,
            self._past.facts,
        )
        outcomes = Outcomes(self._sightings.ask, roles, table.count, ruling)
        append = self._appender.append
        self._facts = Facts(
            append, config.topics, table.count, fact_limits, ruling, observe, outcomes.of
        )
        self._loader = loader
        questions = OwnQuestions(self._queries.peers, config.url)
        self._documents = Documents(
            loader, questions, self._active_rules, limits.documents, config.origins
        )
        table.label = (config.version, 0)
        roster, peers = self.members.roster, self._queries.peers
        neighbours = Neighbours(versions, self.members.workers, roster.is_quiet, peers)
        self._neighbours = neighbours
        self._switch = Switch(versions, table, self._queries.admission, neighbours.workers, peers)
        self._switch.listeners.append(self.members.announce)
        self._door = Door(
            versions,
            self._switch,
            table,
            self._queries.admission,
            peers,
            neighbours.workers,
            fact_limits.body,
        )
        own = OwnRows(table, config.version)
        self._rows = RowPages(own, roster, peers, [*config.topics.values()])
        source = FeedSource(self._past, self._rows, self._door)
        self._feed = Following(
            FeedPages(source.ask, source.version),
            self._door.guarding(source.here),
            lambda request: access.admits(request, Scope.READ),
            limits.feed,
        )
        self._metrics.registry.register(self._feed)
        self._auditing = Auditing(table, repairs, lookup_body)
        self._ops = Ops(
            config.version,
            table,
            self._metrics.registry,
            self.members.workers,
            versions.not_ready,
        )

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
        document = openapi.routes(*about, guarded=access.has_tokens)
        page = PageFiles()
        add_routes(app, document, guarding=page.before(any_token))
        add_routes(app, page.routes())
        # A dot would not match an encoded line feed.
        # The active version may have calls that this one does not know.
        unknown = any_token("", reads.guarding(door.guarding(unknown_path())))
        app.router.add_route("*", r"/{path:[\s\S]*}", unknown, expect_handler=go_on)
        app.on_cleanup.append(self._on_cleanup)

    def _at_once(self, data: bytes, take: Take) -> bytes | None:
        # Not while draining: it does not know how to close connections.
        if self._ops.draining or not self._door.is_plain(data):
            return None
        return self._access.at_once(data, take, self._queries.quick)

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
