"""What alerts say in `/metrics`: how many were told, and how many wait or are dead now."""

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_OUTCOMES = ("raised", "cleared", "sent", "failed", "dead")
_STATES = ("pending", "sent", "dead")


class AlertMetrics(Collector):
    """Of one worker, for the partitions that it owns.

    Args:
        counts: what was done since its start, by outcome.
        states: how many messages stand how.
    """

    def __init__(
        self, counts: Callable[[], Mapping[str, int]], states: Callable[[], Mapping[str, int]]
    ) -> None:
        self._counts, self._states = counts, states

    def describe(self) -> list[Metric]:
        """Nothing: so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Each series is there from the start, so that `increase()` sees its first step."""
        text = "Alerts: raised and cleared by rules, and what became of posts."
        done = CounterMetricFamily("onhand_alerts", text, labels=["outcome"])
        counts, states = self._counts(), self._states()
        for outcome in _OUTCOMES:
            done.add_metric([outcome], counts.get(outcome, 0))
        yield done
        text = "What was told last of rows: messages by where they stand."
        standing = GaugeMetricFamily("onhand_alerts_told", text, labels=["state"])
        for state in _STATES:
            standing.add_metric([state], states.get(state, 0))
        yield standing
