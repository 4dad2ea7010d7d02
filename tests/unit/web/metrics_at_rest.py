"""What `/metrics` of a worker gives that has just started."""

from collections.abc import Iterable

import msgspec
from prometheus_client.core import Metric

from core.stages import Role, Stage
from domain.checks import Refusal
from tables.partition import TRANSACTION, Hold
from tests.unit.web.fakes import FakeTable, a_status
from web.operations.alerting import AlertMetrics
from web.operations.bridging import BridgeOps, BridgeView, CarriedBody
from web.operations.metrics import Metrics


class _Table(FakeTable):
    def window_seconds(self) -> dict[str, float]:
        return {"sales": float("inf")}


def metrics_at_rest() -> dict[str, dict[str, set[str]]]:
    """Sample names, each with its labels and their values."""
    table = _Table(2)
    standby = a_status(1, Stage.STANDBY, Role.STANDBY, standby_lag_records=0)
    # Something that is held up has a series for as long as it is, and none before.
    held_up = msgspec.structs.replace(a_status(0), holds={"sales": Hold(3, TRANSACTION, 1)})
    table.statuses = [held_up, standby]
    metrics = Metrics(
        table,
        table.stats,
        lambda: {"reads": 0},
        topics=("shipments", "sales"),
        reasons=[reason.value for reason in Refusal],
    )
    return _given(metrics.registry.collect())


def bridge_metrics_at_rest() -> dict[str, dict[str, set[str]]]:
    """The same of a bridge that reads Avro or Protobuf."""
    view = BridgeView(
        topic="orders",
        is_assigned=True,
        partitions=[CarriedBody(0, "active", 0, 0)],
        read=0,
        left=0,
        commits=0,
        commit_seconds=0.0,
        facts={},
        refused={},
        registry_away=False,
    )
    return _given(BridgeOps(lambda: view).collect())


def alert_metrics_at_rest() -> dict[str, dict[str, set[str]]]:
    """The same of a worker that tells alerts."""
    return _given(AlertMetrics(dict, dict).collect())


def _given(families: Iterable[Metric]) -> dict[str, dict[str, set[str]]]:
    given: dict[str, dict[str, set[str]]] = {}
    for family in families:
        for sample in family.samples:
            labels = given.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return given
