"""What a worker's HTTP needs to know of the settings, and its bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from web.feed.following import FeedLimits
from web.http.bodies import BodyLimits
from web.http.connections import ConnectionLimits
from web.records.kept import KeptLoads
from web.writes.documents import DocumentLimits
from web.writes.facts import FactLimits
from web.writes.turns import TurnLimits


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
