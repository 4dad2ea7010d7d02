"""`/metrics`: what the data path counted, read when Prometheus asks, and how long queries took."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import time

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from core.stages import Role
from tables.reading import Reading
from tables.stats import Durations, Stats
from web.access.denials import Denial
from web.http.problems import Problem

_MS = 0.001
QUERY_BUCKETS_S = (
    *(0.1 * _MS, 0.25 * _MS, 0.5 * _MS, 1 * _MS, 2.5 * _MS, 5 * _MS, 10 * _MS, 25 * _MS, 50 * _MS),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
#: Problems that an alert asks for. `increase()` sees nothing of a series that begins at 1.
_REFUSALS = (
    *(Problem.NOT_READY, Problem.PARTITIONS_UNAVAILABLE, Problem.NOT_CAUGHT_UP),
    *(Problem.TOO_STALE, Problem.TOO_BUSY),
)
APPEND_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Metrics(Collector):
    """The worker's own registry, never the library's global one."""

    def __init__(
        self,
        table: Reading,
        stats: Stats,
        in_flight: Callable[[], Mapping[str, int]],
        unreadable: Callable[[], int] = lambda: 0,
        topics: Iterable[str] = (),
        reasons: Iterable[str] = (),
        denials: Mapping[str, int] = dict.fromkeys(Denial, 0),
    ) -> None:
        """`unreadable`: how much on the members topic was passed over. `topics`: the sources.

        `reasons`: why the projection may refuse a record. `denials`: who was not let in, by why;
        it goes on to count.
        """
        self._denials = denials
        self._table = table
        self._stats = stats
        self._in_flight = in_flight
        self._unreadable = unreadable
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        #: By role and outcome; by outcome.
        self._queries: dict[tuple[str, ...], Durations] = {}
        self._appends: dict[tuple[str, ...], Durations] = {}
        self.registry.register(self)
        self._none_of_topics = dict.fromkeys(topics, 0)
        self._none_of_reasons = dict.fromkeys(reasons, 0)
        answers = ((str(role), "found") for role in Role)
        for labels in (*answers, *(("none", str(problem)) for problem in _REFUSALS)):
            self._queries[labels] = Durations(QUERY_BUCKETS_S)
        for outcome in ("appended", "unknown"):
            self._appends[(outcome,)] = Durations(APPEND_BUCKETS_S)

    def observe_query(self, role: str, outcome: str, seconds: float) -> None:
        """Count one query. Role `none`: nobody answered."""
        durations = self._queries.get((role, outcome))
        if durations is None:
            durations = self._queries[role, outcome] = Durations(QUERY_BUCKETS_S)
        durations.observe(seconds)

    def observe_append(self, outcome: str, seconds: float) -> None:
        """Count one POST: outcome `appended` or `unknown`."""
        self._appends[(outcome,)].observe(seconds)

    def describe(self) -> list[Metric]:
        """Nothing: so that registering does not collect."""
        return []

    def collect(self) -> Iterator[Metric]:
        """What the table counted, in the order of the documentation."""
        stats, table = self._stats, self._table
        for name, text, label, counts in (
            ("onhand_events_applied", "Events folded into rows.", "topic", stats.applied),
            ("onhand_events_duplicate", "Events seen before.", "topic", stats.repeated),
            ("onhand_dead_letters", "Records refused.", "reason", stats.dead_letters),
        ):
            none = self._none_of_reasons if label == "reason" else self._none_of_topics
            yield _with_values(CounterMetricFamily(name, text, labels=[label]), none | counts)
        yield from self._partitions()
        yield GaugeMetricFamily(
            "onhand_oldest_unapplied_seconds",
            "Age of the oldest event that is not in a committed row.",
            table.oldest_unapplied_s(),
        )
        text = "Seconds of a group commit, from its first send to the rows on disk."
        yield _histogram("onhand_commit_seconds", text, {(): stats.commits})
        text = "Seconds from a query's arrival to its answer, by who answered and how."
        yield _histogram("onhand_query_seconds", text, self._queries, "role", "outcome")
        text = "Seconds that Kafka took to acknowledge the events of one POST."
        yield _histogram("onhand_append_seconds", text, self._appends, "outcome")
        yield CounterMetricFamily(
            "onhand_restore_records", "Changelog records applied to rebuild.", stats.restored
        )
        yield _restores(stats)
        text = "Stores given up since the disk gave back something else than was written."
        yield CounterMetricFamily("onhand_stores_damaged", text, stats.stores_damaged)
        text = "What is wrong with the topics, as last seen: any is a reason to read the log."
        troubles = GaugeMetricFamily("onhand_topic_problems", text, labels=["topic", "kind"])
        # A series from the start, so that an alert sees the first trouble; of no topic.
        found = {("", "settings"): 0}
        found |= Counter((trouble.topic, trouble.kind) for trouble in table.troubles)
        for (topic, kind), count in sorted(found.items()):
            troubles.add_metric([topic, kind], count)
        yield troubles
        text = "Time that the duplicates window spans: a later retry counts twice."
        window = GaugeMetricFamily("onhand_dedup_window_seconds", text, labels=["topic"])
        yield _with_values(window, table.window_seconds())
        text = "Requests being handled."
        handled = GaugeMetricFamily("onhand_requests_in_flight", text, labels=["kind"])
        yield _with_values(handled, self._in_flight())
        yield CounterMetricFamily(
            "onhand_members_unreadable",
            "Records on the members topic that are no heartbeats.",
            self._unreadable(),
        )
        text = "Requests and heartbeats of those who did not show who they are, or may not."
        denials = CounterMetricFamily("onhand_access_denials", text, labels=["reason"])
        yield _with_values(denials, self._denials)

    def _partitions(self) -> Iterator[Metric]:
        """Only the owner reports a partition's lag, or a sum over workers would count it twice."""
        lag = GaugeMetricFamily(
            "onhand_lag_events", "Records not yet in committed rows.", labels=["topic", "partition"]
        )
        standby = GaugeMetricFamily(
            "onhand_standby_lag_records", "Changelog records not yet applied.", labels=["partition"]
        )
        text = "How long nothing of a topic could be counted, and why."
        held_up = GaugeMetricFamily(
            "onhand_held_up_seconds", text, labels=["topic", "partition", "cause"]
        )
        text = "Partitions that this worker answers for."
        answering = GaugeMetricFamily("onhand_partitions", text, labels=["role"])
        roles = dict.fromkeys((str(role) for role in Role), 0)
        for held in self._table.status():
            number = str(held.partition)
            if held.role is not None:
                roles[held.role] += 1
            for topic, hold in sorted(held.holds.items()):
                seconds = max(0.0, time() - hold.since_ms / 1000)
                held_up.add_metric([topic, number, hold.cause], seconds)
            if held.standby_lag_records is not None:
                standby.add_metric([number], held.standby_lag_records)
            else:
                for topic, records in sorted(held.lags.items()):
                    lag.add_metric([topic, number], records)
        yield GaugeMetricFamily(
            "onhand_partition_count", "Partitions of each topic.", self._table.count
        )
        yield lag
        yield held_up
        yield standby
        yield _with_values(answering, roles)


def _with_values(
    family: CounterMetricFamily | GaugeMetricFamily, values: Mapping[str, float]
) -> Metric:
    for label, value in sorted(values.items()):
        family.add_metric([label], value)
    return family


def _restores(stats: Stats) -> Metric:
    text = "Restores begun with an empty store, by what the store is for: a partition that is "
    text += "restored by its owner is not counted meanwhile."
    family = CounterMetricFamily("onhand_restores", text, labels=["partition", "role"])
    for (partition, role), count in sorted(stats.restores.items()):
        family.add_metric([str(partition), role], count)
    return family


def _histogram(
    name: str, text: str, all_: Mapping[tuple[str, ...], Durations], *labels: str
) -> Metric:
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, durations in all_.items():
        family.add_metric(values, list(durations.buckets()), durations.seconds)
        named = dict(zip(labels, values, strict=True))
        family.add_sample(f"{name}_created", named, durations.since)
    return family
