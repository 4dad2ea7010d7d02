"""What a bridge says over HTTP: /live, /ready, /metrics."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from domain.checks import Refusal
from web.http.problems import Problem, problem
from web.http.replies import json_reply
from web.operations.ops import LiveBody, metrics_reply


class CarriedBody(Struct, frozen=True, omit_defaults=True):
    """One partition of the foreign topic, for /ready.

    state: `active`, `taking over`, `waiting` (it goes on by itself) or `stopped`.
    position: of the next record.
    """

    partition: int
    state: str
    position: int | None = None
    lag: int | None = None
    stopped_because: str | None = None
    waits_because: str | None = None


class BridgeView(Struct, frozen=True):
    """A bridge as it is now.

    is_assigned: the group has given it partitions, or none.
    registry_away: whether a schema was asked for and nobody answered; None: none is needed.
    """

    topic: str
    is_assigned: bool
    partitions: Sequence[CarriedBody]
    read: int
    left: int
    commits: int
    commit_seconds: float
    facts: Mapping[str, int]
    refused: Mapping[str, int]
    registry_away: bool | None = None


class BridgeReadyBody(Struct, frozen=True):
    """/ready of a bridge, when it is."""

    ready: bool
    topic: str
    partitions: Sequence[CarriedBody]


class BridgeOps(Collector):
    """Routes and metrics of a bridge; `view` tells how it is."""

    def __init__(self, view: Callable[[], BridgeView]) -> None:
        self._view = view
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def routes(self) -> Iterator[web.RouteDef]:
        """All that a bridge answers, but for what every small server does."""
        yield web.get("/live", self.live)
        yield web.get("/ready", self.ready)
        yield web.get("/metrics", self.metrics)

    async def live(self, request: web.Request) -> web.Response:
        """GET /live: 200 while the loop turns."""
        return json_reply(LiveBody(True))

    async def ready(self, request: web.Request) -> web.Response:
        """GET /ready: 200 when all that the group gave to this worker is being carried."""
        view = self._view()
        said = [p.stopped_because or p.waits_because for p in view.partitions]
        stopped = next(filter(None, said), None)
        waiting = [partition for partition in view.partitions if partition.state != "active"]
        if stopped is not None:
            return problem(Problem.NOT_READY, stopped, partitions=view.partitions)
        if waiting or not view.is_assigned:
            detail = f"This worker takes over {len(waiting)} partitions of {view.topic}."
            return problem(Problem.NOT_READY, detail, partitions=view.partitions)
        return json_reply(BridgeReadyBody(True, view.topic, view.partitions))

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        return metrics_reply(self._registry, request)

    def describe(self) -> list[Metric]:
        """Nothing: so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """In the order of docs/bridge.md."""
        view = self._view()
        yield CounterMetricFamily("onhand_bridge_records", "Records committed.", view.read)
        text = "Records that the map leaves out."
        yield CounterMetricFamily("onhand_bridge_left_out", text, view.left)
        facts = CounterMetricFamily("onhand_bridge_facts", "Facts written.", labels=["topic"])
        for role, count in sorted(view.facts.items()):
            facts.add_metric([role], count)
        yield facts
        text = "Records in the dead letters."
        refused = CounterMetricFamily("onhand_bridge_dead_letters", text, labels=["reason"])
        # A series from the start, so that an alert sees the first one.
        for reason, count in sorted((dict.fromkeys(Refusal, 0) | dict(view.refused)).items()):
            refused.add_metric([reason], count)
        yield refused
        yield CounterMetricFamily("onhand_bridge_commits", "Transactions.", view.commits)
        text = "Seconds that these took, together."
        yield CounterMetricFamily("onhand_bridge_commit_seconds", text, view.commit_seconds)
        lag = GaugeMetricFamily(
            "onhand_bridge_lag_records", "Offsets not committed yet.", labels=["partition"]
        )
        for partition in view.partitions:
            if partition.lag is not None:
                lag.add_metric([str(partition.partition)], partition.lag)
        yield lag
        text = "Partitions that wait for a person."
        stopped = sum(partition.state == "stopped" for partition in view.partitions)
        yield GaugeMetricFamily("onhand_bridge_stopped_partitions", text, stopped)
        if view.registry_away is not None:
            text = "Whether a schema was asked for, and the registry does not answer."
            yield GaugeMetricFamily("onhand_bridge_registry_away", text, view.registry_away)
