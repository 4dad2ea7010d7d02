"""Tables of one run, as Markdown for docs/performance.md and as JSON.

Ratios are between systems of the same run. Where a system ran several rounds,
the one with the median rate stands for it and the range is shown.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.harness.contest import Result
from bench.harness.run import Run
from bench.harness.targets import judge
from bench.onhand.reads import Pulse, Reads
from bench.onhand.takeover import TakeOvers

CLEAN_CALIBRATION_SPREAD = 1.25


def _best_rate(found: dict[str, Result], start: str) -> float | None:
    """Events/s of the fastest of the systems whose name begins so."""
    rates = (result.events_per_s for name, result in found.items() if name.startswith(start))
    return max(rates, default=None)


def _ratio(value: float, other: float | None) -> str:
    return f"{value / other:.2f}×" if other else "–"


def markdown(run: Run) -> str:
    """The whole report."""
    facts = [f"- {name}: {said}" for name, said in {**run.machine, **run.load}.items()]
    parts = ["## Measured", "\n".join(facts), _ingest_table(run), _restore_table(run)]
    parts += [_latency_table(run), _reads_table(run.reads), _pulse_line(run.pulse)]
    parts += [_take_overs_line(run.take_overs), _targets_table(run), _calibration(run)]
    if run.failures:
        parts.append("Not measured:\n\n" + "\n".join(f"- {why}" for why in run.failures))
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) if len(lines) > 2 else ""


def _ingest_table(run: Run) -> str:
    found = run.by_system()
    best = [_best_rate(found, start) for start in ("Kafka Streams", "naive Faust", "raw aiokafka")]
    rows = [
        (
            name,
            f"{result.events_per_s:,.0f}{run.range_of(name)}",
            *(_ratio(result.events_per_s, rate) for rate in best),
            f"{result.cpu_us_per_event:.1f}",
            f"{result.span.peak_mb:,.0f}",
            f"{result.checked.changelog_records:,}",
            f"{result.checked.changelog_bytes / 1e6:.1f}",
            str(result.checked.verdict or "–"),
        )
        for name, result in found.items()
    ]
    columns = "ingest, events/s, of best Kafka Streams, of naive Faust, of raw fetch, CPU-µs/event"
    columns += ", peak MB, changelog records, changelog MB, rows"
    return _table(columns.split(", "), rows)


def _restore_table(run: Run) -> str:
    restored = {
        name: result.restored for name, result in run.by_system().items() if result.restored
    }
    streams = max(
        (each.records_per_s for name, each in restored.items() if name.startswith("Kafka Streams")),
        default=None,
    )
    return _table(
        (
            "restore",
            "records/s",
            "of best Kafka Streams",
            "records",
            "s",
            "s from start",
            "s from start after `kill -9`, disk kept",
            "rows",
        ),
        (
            (
                name,
                f"{each.records_per_s:,.0f}",
                _ratio(each.records_per_s, streams),
                f"{each.records:,}",
                f"{each.restore_s:.2f}",
                f"{each.startup_s:.2f}",
                f"{each.restarted_s:.2f}",
                each.note,
            )
            for name, each in restored.items()
        ),
    )


def _latency_table(run: Run) -> str:
    found = [(f"{each.per_s:,} events/s" if each.per_s else "idle", each) for each in run.latencies]
    if run.own_write:
        words = (
            f"own write, read through the other of two workers, {run.own_write.per_s:,} events/s"
        )
        found.append((words, run.own_write))
    return _table(
        (
            "append → readable",
            "p50 ms",
            "p99 ms",
            "max ms",
            "probes",
            "not yet",
            "lost",
            "forwarded",
            "% of a core",
            "commits/s",
            "ms a commit",
            "model p50, p99 ms",
        ),
        (
            (
                what,
                *(
                    f"{value:.0f}" if each.per_s else "–"
                    for value in (each.p50_ms, each.p99_ms, each.max_ms)
                ),
                f"{each.probes:,}",
                f"{each.misses}",
                f"{each.lost}",
                f"{each.forwarded}",
                f"{each.cpu_percent:.1f}",
                *(
                    (
                        f"{each.commits_per_s:.0f}",
                        f"{each.commit_ms:.0f}",
                        ", ".join(f"{value:.0f}" for value in each.modelled_ms),
                    )
                    if each.per_s
                    else "–––"
                ),
            )
            for what, each in found
        ),
    )


def _reads_table(reads: Sequence[Reads]) -> str:
    head = ("key reads", "client", "connections", "answers/s", "p50 ms", "p99 ms", "max ms")
    return _table(
        (*head, "CPU-µs/answer", "statuses"),
        (
            (
                each.what,
                each.answers.client,
                str(each.answers.connections),
                f"{each.answers.per_s:,.0f}",
                f"{each.answers.p50_ms:.2f}",
                f"{each.answers.p99_ms:.2f}",
                f"{each.answers.max_ms:.1f}",
                f"{each.cpu_us:.0f}",
                ", ".join(
                    f"{status or 'not 2xx'}: {n:,}"
                    for status, n in sorted(each.answers.statuses.items())
                ),
            )
            for each in reads
        ),
    )


def _pulse_line(pulse: Pulse | None) -> str:
    if pulse is None:
        return ""
    return (
        f"Pulse at full speed ({pulse.folded / pulse.seconds:,.0f} events/s): `/live` answered in "
        f"{pulse.p50_ms:.1f} ms at the median, {pulse.p99_ms:.1f} ms at p99, "
        f"{pulse.max_ms:.1f} ms at most, of {pulse.asked:,}: an upper bound of the loop's lag."
    )


def _take_overs_line(found: TakeOvers | None) -> str:
    if found is None:
        return ""
    return (
        f"Take-over, from assignment to delivering, {found.rounds} ends of one of two workers "
        f"({found.killed} by `kill -9`), {len(found.seconds)} partitions: {found.p50_s:.2f} s at "
        f"the median, {found.p99_s:.2f} s at p99; all of a worker's after "
        f"{found.seconds[-1]:.2f} s at most."
    )


def _targets_table(run: Run) -> str:
    return _table(
        ("target", "wanted", "measured", ""),
        ((each.what, each.wanted, each.measured, each.word) for each in judge(run)),
    )


def _calibration(run: Run) -> str:
    loops = [seconds for result in run.results for seconds in result.calibration_s]
    if not loops:
        return ""
    spread = max(loops) / min(loops)
    warning = (
        ": **the machine did not run evenly; do not compare closely**"
        if spread > CLEAN_CALIBRATION_SPREAD
        else ""
    )
    each = ", ".join(
        f"{result.name} {result.calibration_s[0]:.3f}/{result.calibration_s[1]:.3f}"
        for result in run.results
    )
    return (
        f"Calibration (a fixed loop before/after each, s): {each}; slowest to fastest "
        f"{spread:.2f}{warning}."
    )


def save(run: Run, folder: Path) -> tuple[Path, Path]:
    """Write `report.md` and `report.json`; returns where."""
    folder.mkdir(parents=True, exist_ok=True)
    text, data = folder / "report.md", folder / "report.json"
    text.write_text(markdown(run))
    data.write_text(json.dumps(dataclasses.asdict(run), indent=1, ensure_ascii=False) + "\n")
    return text, data
