"""For those who run a ledger: is it alive, is it ready, how far is it, how much does it do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiohttp import web
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ledger.keeping import Keeper
from web.http.problems import Problem, problem
from web.http.replies import json_reply
from web.operations.ops import LiveBody, metrics_reply


class LedgerReadyBody(Struct, frozen=True):
    """/ready of a ledger. lag_events: records that are in the log and not in the ledger."""

    ready: bool
    partitions: list[int]
    lag_events: int
    warnings: list[str]


class Probes:
    """Answers however busy the ledger is."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self.draining = False
        self.registry = CollectorRegistry()
        self.registry.register(_Collected(keeper))

    def routes(self) -> Iterator[web.RouteDef]:
        """Of this module."""
        yield web.get("/live", self.live)
        yield web.get("/ready", self.ready)
        yield web.get("/metrics", self.metrics)

    async def live(self, request: web.Request) -> web.Response:
        """GET /live: 200 while the loop turns."""
        return json_reply(LiveBody(True))

    async def ready(self, request: web.Request) -> web.Response:
        """GET /ready: 200 once the books of its partitions are open, or it has none to open."""
        keeper = self._keeper
        if self.draining:
            return problem(Problem.NOT_READY, "This ledger is stopping.")
        if keeper.is_waiting or not keeper.joined:
            return problem(Problem.NOT_READY, "This ledger has not opened its partitions yet.")
        if keeper.is_building:
            said = "This ledger is being built: its questions say how far it is."
            return problem(Problem.NOT_READY, said)
        lag, stopped = sum(keeper.kept.lag.values()), keeper.kept.stopped
        warnings = [f"Partition {part}: {why}" for part, why in sorted(stopped.items())]
        return json_reply(LedgerReadyBody(True, keeper.partitions, lag, warnings))

    async def metrics(self, request: web.Request) -> web.Response:
        """GET /metrics."""
        return metrics_reply(self.registry, request)


class _Collected(Collector):
    """Reads the keeper's numbers when it is asked."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    def collect(self) -> Iterable[Metric]:
        kept = self._keeper.kept
        lines = CounterMetricFamily(
            "onhand_ledger_lines", "Records written, by what became of them.", labels=["outcome"]
        )
        for outcome in ("applied", "repeated", "refused"):
            lines.add_metric([outcome], getattr(kept, outcome))
        yield lines
        yield CounterMetricFamily("onhand_ledger_commits", "Transactions.", value=kept.commits)
        yield CounterMetricFamily(
            "onhand_ledger_commit_seconds", "Time of judging and writing.", value=kept.commit_s
        )
        yield CounterMetricFamily(
            "onhand_ledger_fenced", "Transactions that another ledger was quicker with.",
            value=kept.fenced,
        )  # fmt: skip
        lag = GaugeMetricFamily(
            "onhand_ledger_lag_events", "Records not written yet.", labels=["topic", "partition"]
        )
        for (topic, partition), count in sorted(kept.lag.items()):
            lag.add_metric([topic, str(partition)], count)
        yield lag
