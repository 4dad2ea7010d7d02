"""`onhand plan`: how large a deployment has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from app.commands.console import print_json, span, table
from app.commands.running import as_json, refuse

if TYPE_CHECKING:
    from app.planning.model import ExpectedLoad, Limit, Sizes

_ANY = click.IntRange(1, 10**9)
#: From here on a limit is told of, and beyond 1 as one that is passed.
_NEAR = 0.5
#: A till that was off for some hours sends again what it is not sure of.
_RETRIES_S = 4 * 3_600
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


@click.command("plan", short_help="Say how many partitions, workers, disks a load needs.")
@click.option("--events-per-s", type=_ANY, required=True, help="Facts a second, at the busiest.")
@click.option("--skus", type=_ANY, required=True, help="How many SKUs.")
@click.option("--locations", type=_ANY, required=True, help="How many locations.")
@click.option(
    "--rows",
    type=click.IntRange(1, 10**12),
    help="Pairs of SKU and location that any fact ever names. Default: all of them.",
)
@click.option(
    "--retention-days",
    type=click.IntRange(1, 36_500),
    default=365,
    show_default=True,
    help="Days of facts that the brokers' disks must hold: they are kept for ever.",
)
@click.option(
    "--workers", type=click.IntRange(1, 1_000), help="Default: as many as the load needs."
)
@click.option(
    "--partitions",
    type=click.IntRange(1, 10_000),
    help="Default: room for four times the workers. It never changes.",
)
@click.option(
    "--standbys",
    type=click.IntRange(0, 10),
    default=1,
    show_default=True,
    help="Copies of each partition beside its owner's.",
)
@click.option(
    "--replication",
    type=click.IntRange(1, 10),
    default=3,
    show_default=True,
    help="Brokers that hold each record.",
)
@as_json
def plan_command(
    events_per_s: int,
    skus: int,
    locations: int,
    rows: int | None,
    retention_days: int,
    workers: int | None,
    partitions: int | None,
    standbys: int,
    replication: int,
    as_json: bool,
) -> None:
    """Say what a load needs: partitions, workers, memory, disks, connections.

    By a small model, of figures that were measured; it asks nobody, and reads no settings.
    docs/scale.md says how far to trust it. Exit code 1: some limit would be passed.
    """
    from app.planning.model import ExpectedLoad, limits, plan

    if workers and partitions and workers > partitions:
        refuse(f"{workers} workers cannot share {partitions} partitions: ask for fewer workers.")
    if rows and rows > skus * locations:
        refuse(
            f"{skus:,} SKUs at {locations:,} locations make {skus * locations:,} rows at most, not "
            f"{rows:,}: ask for fewer rows."
        )
    load = ExpectedLoad(
        events_per_s=events_per_s,
        rows=rows or skus * locations,
        days=retention_days,
        partitions=partitions,
        workers=workers,
        standbys=standbys,
        replication=replication,
    )
    planned = plan(load)
    found = limits(load, planned)
    if as_json:
        _print_json(load, planned, found)
    else:
        _print(load, planned, found)
    click.get_current_context().exit(1 if found[0].used > 1 else 0)


def _print_json(load: ExpectedLoad, planned: Sizes, found: list[Limit]) -> None:
    import msgspec

    from app.planning.constants import CONSTANTS

    print_json(
        {
            "load": msgspec.to_builtins(load),
            "plan": msgspec.to_builtins(planned),
            "limits": msgspec.to_builtins(found),
            "constants": msgspec.to_builtins(CONSTANTS),
        }
    )


def _print(load: ExpectedLoad, planned: Sizes, found: list[Limit]) -> None:
    from app.planning.constants import CONSTANTS

    click.echo(f"{load.events_per_s:,} facts a second at the busiest, {load.rows:,} rows.\n")
    click.echo(table(_lines(load, planned)))
    click.echo()
    for limit in found:
        if limit.used >= _NEAR:
            is_passed = "PASSED" if limit.used > 1 else f"{limit.used:.0%} used"
            click.echo(f"{limit.what}: {is_passed}. Beyond it: {limit.then}.")
    if found[0].used < _NEAR:
        nearest = f"{found[0].what} ({found[0].used:.0%})"
        click.echo(f"Nothing is near a limit; the nearest is {nearest}.")
    if planned.retry_s < _RETRIES_S:
        click.echo(
            f"A retry that comes {span(planned.retry_s)} after its fact may count twice, if all "
            "facts are of one topic: for longer, take more partitions, or a larger "
            "ONHAND_DEDUP_WINDOW, from the beginning on."
        )
    click.echo()
    rows = [(c.what, f"{c.value:,g}", c.unit, c.basis, c.where) for c in CONSTANTS]
    click.echo(table([("BY", "", "", "KNOWN", "FROM"), *rows], right=[1]))


def _lines(load: ExpectedLoad, planned: Sizes) -> list[tuple[str, str, str]]:
    p, most = planned, "at most"
    packed, plain = p.sources_bytes
    return [
        ("WHAT", "PLAN", ""),
        ("partitions", str(p.partitions), "of each source; never changes"),
        ("workers", str(p.workers), f"each owns {p.owned} and follows {p.followed}, {most}"),
        (
            "CPU of a worker",
            f"{p.worker_cpu:.2f} cores",
            "give it 2: it uses both when it is behind",
        ),
        ("memory of a worker", size(p.worker_memory_mb * 1e6), "with all caches and windows full"),
        ("disk of a worker", size(p.worker_disk_bytes), "twice what it holds, for compaction"),
        ("open files of a worker", f"{p.worker_files:,}", "and up to 4,096 connections"),
        ("disk of all brokers: facts", f"{size(packed)} to {size(plain)}", _copies(load)),
        ("rows, windows", size(p.changelog_bytes), "compacted, and the last hour"),
        ("heartbeats", size(p.members_bytes), "an hour"),
        ("commits of all workers", f"{p.commits_per_s:,.0f} a second", "transactions of Kafka"),
        ("heartbeats read by each", f"{size(p.beats_bytes_per_s)} a second", ""),
        ("a fact is readable after", _within(p.commit_interval_s), "one commit, and some 75 ms"),
        ("a retry is known for", span(p.retry_s), "if all facts are of one topic"),
        ("start, disk kept", _within(p.start_s), ""),
        ("take-over of a dead worker's", _within(p.take_over_s), "after the session timeout"),
        ("restore of a lost disk", _within(p.restore_s), ""),
        (
            "the log counted anew",
            _within(p.rebuild_s),
            "by all workers, beside the running version",
        ),
    ]


def _copies(load: ExpectedLoad) -> str:
    copies = "1 copy" if load.replication == 1 else f"{load.replication} copies"
    return f"{copies} of {load.days} days; packed well, or not at all"


def _within(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else span(seconds)


def size(count: float) -> str:
    """Bytes, as people say it: `1.2 GB`."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.0f} {_UNITS[-1]}"
