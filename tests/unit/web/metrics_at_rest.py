"""What `/metrics` of a worker gives that has just started."""

import msgspec

from core.stages import Role, Stage
from domain.checks import Refusal
from tables.partition import TRANSACTION, Hold
from tests.unit.web.fakes import FakeTable, a_status
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
    given: dict[str, dict[str, set[str]]] = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            labels = given.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return given
