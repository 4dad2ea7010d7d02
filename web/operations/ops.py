"""For those who run it: is it alive, is it ready, who holds what, how much."""

import math
from collections.abc import Callable, Iterator, Sequence

from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics

from core.stages import Role
from tables.reading import PartitionStatus, Reading
from web.cluster.heartbeats import Claim
from web.cluster.roster import WorkerView
from web.http.problems import Problem, problem
from web.http.replies import PRIVATE, SERVER, json_reply
from web.http.times import rfc3339

_OPENMETRICS = "application/openmetrics-text"
_openmetrics: Callable[[CollectorRegistry], bytes] = openmetrics.generate_latest


class Restore(Struct, frozen=True):
    """Progress of one partition's restore; `eta_s` is None where nobody can say."""

    done: int
    total: int
    eta_s: float | None = None


class HeldBody(Struct, frozen=True, omit_defaults=True):
    """One partition that this worker holds, for /ready."""

    partition: int
    state: str
    role: str | None
    lag_events: int
    restore: Restore | None = None
    stopped_because: str | None = None


class LiveBody(Struct, frozen=True):
    """/live."""

    live: bool


class ReadyBody(Struct, frozen=True):
    """/ready, when it is; `warnings` say what is wrong with the topics."""

    ready: bool
    partitions: list[HeldBody]
    warnings: list[str]


class WorkerBody(Struct, frozen=True):
    """One worker, for /v1/cluster; `silent_s` since its last heartbeat."""

    url: str
    version: int
    build: str
    state: str
    alive: bool
    this: bool
    silent_s: float
    active: int
    standby: int


class HeldUpBody(Struct, frozen=True):
    """Why nothing of a topic is counted from a position on, and since when that is known.

    cause: `transaction` (somebody's is open there) or `unreadable`.
    """

    position: str
    cause: str
    since: str


class HolderBody(Struct, frozen=True, omit_defaults=True):
    """A worker that can answer for a partition; the owner says what holds it up."""

    worker: str
    role: str
    position: str
    lag_events: int
    as_of: str
    held_up: tuple[HeldUpBody, ...] = ()
    stopped_because: str | None = None


class LoaderBody(Struct, frozen=True, omit_defaults=True):
    """A worker that holds a partition and cannot answer for it yet."""

    worker: str
    state: str
    restore: Restore | None = None
    stopped_because: str | None = None


class PartitionBody(Struct, frozen=True):
    """One partition, for /v1/cluster; `standbys` also holds former owners."""

    partition: int
    active: HolderBody | None
    standbys: list[HolderBody]
    loading: list[LoaderBody]


class ClusterBody(Struct, frozen=True):
    """/v1/cluster: what this worker has heard from all workers, itself too."""

    version: int
    workers: list[WorkerBody]
    partitions: list[PartitionBody]


class Ops(Struct):
    """Liveness, readiness, metrics, cluster.

    workers: all that were heard of. not_ready: why nobody should send this worker anything.
    """

    version: int
    table: Reading
    registry: CollectorRegistry
    workers: Callable[[], Sequence[WorkerView]]
    not_ready: Callable[[], str | None] = lambda: None
    draining: bool = False

    def routes(self) -> Iterator[web.RouteDef]:
        """These answer however busy the worker is."""
        yield web.get("/live", self.live)
        yield web.get("/ready", self.ready)
        yield web.get("/metrics", self.metrics)
        yield web.get("/v1/cluster", self.cluster)

    async def live(self, request: web.Request) -> web.Response:
        """GET /live: 200 while the loop turns.

        A data path that cannot go on ends the process (app/service.py): no probe waits for it.
        """
        return json_reply(LiveBody(True))

    async def ready(self, request: web.Request) -> web.Response:
        """GET /ready: 200 as soon as this worker can answer for something from its own rows.

        Also during a rebalance, as former owner. Not because another worker could answer:
        a rolling restart goes on to the next worker when this one says it is ready.
        """
        held = self.table.status()
        body = [held_body(status) for status in held]
        if self.draining:
            detail = "This worker is stopping; it finishes what it has begun."
            return problem(Problem.NOT_READY, detail, partitions=body)
        if (why := self.not_ready()) is not None:
            return problem(Problem.NOT_READY, why, retry_after_s=5, partitions=body)
        if not any(status.role is not None for status in held):
            wait_s = min((s.restore.eta_s for s in held if s.restore is not None), default=1.0)
            detail = _not_ready(held)
            return problem(
                Problem.NOT_READY, detail, retry_after_s=min(wait_s, 60.0), partitions=body
            )
        return json_reply(ReadyBody(True, body, [trouble.text for trouble in self.table.troubles]))

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics: Prometheus text, or OpenMetrics to who asks for it."""
        return metrics_reply(self.registry, request)

    async def cluster(self, request: web.Request) -> web.Response:
        """GET /v1/cluster."""
        body = cluster_body(self.version, self.table.count, self.workers())
        return json_reply(body, headers=PRIVATE)


def metrics_reply(registry: CollectorRegistry, request: web.Request) -> web.Response:
    """Prometheus text, or OpenMetrics to who asks for it."""
    # Not prometheus_client's `choose_encoder`: it fails on a version that is none, and
    # repeats in Content-Type what it was sent.
    if _OPENMETRICS in request.headers.get("Accept", "").lower():
        body, kind = _openmetrics(registry), openmetrics.CONTENT_TYPE_LATEST
    else:
        body, kind = generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4
    return web.Response(body=body, headers={"Content-Type": kind, **PRIVATE, **SERVER})


def held_body(status: PartitionStatus) -> HeldBody:
    """One partition of /ready."""
    progress, restore = status.restore, None
    if progress is not None:
        # Without a rate yet, nobody can say how long it takes.
        eta_s = round(progress.eta_s, 1) if math.isfinite(progress.eta_s) else None
        restore = Restore(progress.done, progress.total, eta_s)
    return HeldBody(
        status.partition,
        status.state,
        status.role,
        status.lag_events,
        restore,
        status.stopped_because,
    )


def _not_ready(held: Sequence[PartitionStatus]) -> str:
    if not held:
        return "This worker holds no partition yet."
    stopped = next((s.stopped_because for s in held if s.stopped_because is not None), None)
    if stopped is not None:
        return stopped
    restoring = [s.restore for s in held if s.restore is not None]
    if not restoring:
        return f"This worker takes over {len(held)} partitions."
    done, total = (
        sum(partition.done for partition in restoring),
        sum(partition.total for partition in restoring),
    )
    left_s = max(partition.eta_s for partition in restoring)
    left = f", about {left_s:,.0f} s left" if math.isfinite(left_s) else ""
    return (
        f"This worker restores {len(restoring)} partitions: {done:,} of about {total:,} changelog "
        f"records{left}."
    )


def cluster_body(version: int, partitions: int, views: Sequence[WorkerView]) -> ClusterBody:
    """Who holds what, from the heartbeats. Of two that call themselves active, the further."""
    answering: list[list[tuple[int, int, HolderBody]]] = [[] for _ in range(partitions)]
    loading: list[list[LoaderBody]] = [[] for _ in range(partitions)]
    for view in views:
        url = view.beat.url
        for claim in view.beat.claims if view.routed else ():
            number = claim.partition
            if not 0 <= number < partitions:
                continue
            if claim.role is not None:
                holder = _holder(url, claim.role, claim)
                answering[number].append((-claim.handled, -claim.epoch, holder))
            else:
                loading[number].append(_loader(url, claim))
    bodies = []
    for number, found in enumerate(answering):
        ranked = [holder for *_, holder in sorted(found, key=lambda one: one[:2])]
        active = next((holder for holder in ranked if holder.role == Role.ACTIVE), None)
        standbys = [holder for holder in ranked if holder is not active]
        bodies.append(PartitionBody(number, active, standbys, loading[number]))
    return ClusterBody(version, [_worker(view) for view in views], bodies)


def _holder(url: str, role: str, claim: Claim) -> HolderBody:
    held_up = tuple(
        HeldUpBody(f"{up.topic}-{claim.partition}@{up.offset}", up.cause, rfc3339(up.since_ms))
        for up in claim.held_up
    )
    as_of = rfc3339(claim.as_of_ms)
    return HolderBody(
        url, role, claim.position, claim.lag_events, as_of, held_up, claim.stopped_because
    )


def _loader(url: str, claim: Claim) -> LoaderBody:
    restore = None
    if claim.restore_total is not None:
        restore = Restore(claim.restore_done or 0, claim.restore_total)
    return LoaderBody(url, claim.state, restore, claim.stopped_because)


def _worker(view: WorkerView) -> WorkerBody:
    beat, roles = view.beat, [claim.role for claim in view.beat.claims]
    return WorkerBody(
        url=beat.url,
        version=beat.version,
        build=beat.build,
        state=beat.state,
        alive=view.alive,
        this=view.this,
        silent_s=round(view.silent_s, 1),
        active=roles.count(Role.ACTIVE),
        standby=roles.count(Role.STANDBY),
    )
