"""What one run of the benchmark has measured, before anybody tells or judges it."""

from dataclasses import dataclass, field
from statistics import median_low

from bench.harness.contest import Result
from bench.onhand.probes import Latency
from bench.onhand.reads import Pulse, Reads
from bench.onhand.takeover import TakeOvers


@dataclass
class Run:
    """All that was measured.

    Attributes:
        machine: as `machine.describe` says.
        load: events, partitions and so on, name to words.
        results: one for each system and round.
        failures: what could not be measured, and why.
    """

    machine: dict[str, str]
    load: dict[str, str]
    results: list[Result] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    own_write: Latency | None = None
    take_overs: TakeOvers | None = None
    reads: list[Reads] = field(default_factory=list)
    pulse: Pulse | None = None
    failures: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> list[str]:
        """Systems whose rows were not the oracle's."""
        return [
            result.name
            for result in self.results
            if (result.checked.verdict and result.checked.verdict.wrong)
            or (result.restored and "WRONG" in result.restored.note)
        ]

    def by_system(self) -> dict[str, Result]:
        """The median round of each system, in the order in which they ran."""
        rounds: dict[str, list[Result]] = {}
        for result in self.results:
            rounds.setdefault(result.name, []).append(result)
        return {
            name: next(
                each
                for each in results
                if each.events_per_s == median_low(other.events_per_s for other in results)
            )
            for name, results in rounds.items()
        }

    def range_of(self, name: str) -> str:
        """Lowest and highest rate of its rounds; empty for one."""
        rates = [result.events_per_s for result in self.results if result.name == name]
        return f" ({min(rates):,.0f}–{max(rates):,.0f})" if len(rates) > 1 else ""
