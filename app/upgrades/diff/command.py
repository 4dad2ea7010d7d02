"""The command: what it is asked, and how its findings are told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from msgspec import structs

from app.commands.console import Ticker, moment, plain, print_json, table
from app.commands.running import (
    as_json,
    authorities_of_command,
    kafka_option,
    settings_from,
    token_of_command,
    url_option,
    workers_of,
)
from app.upgrades.ends import REFUSED_CODE, ended

if TYPE_CHECKING:
    from app.upgrades.diff.comparing import Difference
    from app.upgrades.diff.diffing import CauseGroup, Report
    from app.upgrades.diff.explaining import JudgedRow
    from app.upgrades.diff.sides import Doors
    from domain.rows import Row


@click.command("diff", short_help="Show which rows change with the other version, and why.")
@click.option(
    "--explain",
    "key",
    nargs=2,
    metavar="SKU LOCATION",
    help="One row, event by event; reads its partition from the beginning.",
)
@kafka_option
@url_option
@as_json
def upgrade_diff(
    key: tuple[str, str] | None, url: tuple[str, ...], as_json: bool, **options: Any
) -> None:
    """Compare every row of the active version with the staged one, or with the previous one.

    Nothing is stopped for it. A row that differs has either counted the same events by other
    rules, or other events; both are held against what the release declares and what only one
    of the versions refused. The exit code is 1 if some row differs without such a reason, 3 if
    a partition has nobody who answers.

    Asked are the owners of the rows, as their heartbeats tell. Where a worker is named by --url,
    or a token is given, only that worker is: it passes on what is asked of the other version.
    """
    from app.upgrades.diff import diffing

    settings, doors = settings_from(**options), doors_of(url)
    if key is not None:
        work = diffing.explained(settings, doors, key, Ticker("records read"))
        old, new, row = ended(work, as_json)
        if as_json:
            print_json(_row_document(old, new, key, row))
        else:
            click.echo(plain(_explained(old, new, key, row), keep="\n"))
        sys.exit(REFUSED_CODE if row.strange else 0)
    report = ended(diffing.compared(settings, doors, Ticker("rows compared")), as_json)
    if as_json:
        print_json(report_document(report))
    else:
        click.echo(shown_report(report))
    sys.exit(REFUSED_CODE if report.unexplained else 0)


def doors_of(urls: tuple[str, ...]) -> Doors:
    """Whom to ask, by the options of this command: a token is shown to those alone that are named.

    Heartbeats name others, and anybody may have written them who may write to Kafka.
    """
    from app.upgrades.diff.sides import Doors

    token = token_of_command()
    named = workers_of(urls) if urls or token else []
    there = [url if "://" in url else f"http://{url}" for url in named]
    return Doors(there, token, authorities_of_command())


def shown_report(report: Report) -> str:
    """For people."""
    per_s = report.rows / max(report.seconds, 0.001)
    lines = [
        f"{report.rows:,} rows of version {report.old} (rules {report.old_rules}) and "
        f"{report.new} (rules {report.new_rules}) in {report.seconds:,.1f} s ({per_s:,.0f}/s): "
        f"{report.equal:,} equal, {report.moving:,} moving, {report.differ:,} differ"
    ]
    rows: list[tuple[object, ...]] = [
        (f"{group.rows:,}", group.label, _example(group)) for group in report.groups
    ]
    if not report.unexplained:
        rows.append(("0", "unexplained", ""))
    lines.append(table([("ROWS", "CAUSE", "SUCH AS"), *rows], right=(0,)))
    if report.reasons:
        lines.append(f"To promote: --accept {','.join(report.reasons)}")
    return "\n".join(lines)


def _example(group: CauseGroup) -> str:
    found, says = group.examples[0]
    shown = f"{found.sku} {found.location}: {_changed(found)}"
    return f"{shown} ({says})" if says else shown


def _changed(found: Difference) -> str:
    """The fields that are others, on_hand first."""
    if found.old is None or found.new is None:
        return "only in the new one" if found.old is None else "only in the old one"
    pairs = [("on_hand", found.old.on_hand, found.new.on_hand)]
    old, new = structs.asdict(found.old), structs.asdict(found.new)
    pairs += [
        (name, old[name], new[name]) for name in old if name not in ("checksum", "updated_at")
    ]
    told = [f"{name} {before:,} → {after:,}" for name, before, after in pairs if before != after]
    return ", ".join(told) or "its checksum or its time"


def report_document(report: Report) -> dict[str, Any]:
    """For programs."""
    return {
        "old": {"version": report.old, "rules": report.old_rules},
        "new": {"version": report.new, "rules": report.new_rules},
        "epoch": report.epoch,
        "rows": report.rows,
        "equal": report.equal,
        "moving": report.moving,
        "differ": report.differ,
        "unexplained": report.unexplained,
        "reasons": report.reasons,
        "seconds": round(report.seconds, 3),
        "causes": [
            {
                "names": list(group.names),
                "rows": group.rows,
                "examples": [_difference(*one) for one in group.examples],
            }
            for group in report.groups
        ],
    }


def _difference(found: Difference, says: str) -> dict[str, Any]:
    return {
        "sku": found.sku,
        "location": found.location,
        "events": "other" if found.position else "same",
        "position": found.position,
        "old": _fields(found.old),
        "new": _fields(found.new),
        "says": says,
    }


def _fields(row: Row | None) -> dict[str, Any] | None:
    if row is None:
        return None
    fields = structs.asdict(row)
    return {"on_hand": row.on_hand, **fields, "checksum": f"{row.checksum:016x}"}


def _explained(old: int, new: int, key: tuple[str, str], row: JudgedRow) -> str:
    lines = [f"{key[0]} at {key[1]}: {row.counted:,} events, {len(row.events):,} judged otherwise."]
    if row.events:
        head = ("POSITION", "RECORDED", "TYPE", "QUANTITY", f"VERSION {old}", f"VERSION {new}")
        rows = [
            (e.position, moment(e.recorded_ms), e.kind, e.quantity, e.old or "-", e.new or "-")
            for e in row.events
        ]
        lines.append(table([head, *rows], right=(3,)))
    for side, version in enumerate((old, new)):
        by_log, served = row.by_log[side], row.served[side]
        lines.append(f"Version {version} has {_told(served)}.")
        if side in row.strange:
            lines.append(
                f"That is not what its log gives: {_told(by_log)}. Its store or its changelog is "
                "damaged, or the log was cut after it was counted."
            )
    return "\n".join(lines)


def _told(row: Row | None) -> str:
    if row is None:
        return "no such row"
    sums = {name: value for name, value in structs.asdict(row).items() if value}
    sums.pop("checksum", None)
    sums.pop("updated_at", None)
    return f"on_hand {row.on_hand:,} ({', '.join(f'{n} {v:,}' for n, v in sums.items())})"


def _row_document(old: int, new: int, key: tuple[str, str], row: JudgedRow) -> dict[str, Any]:
    return {
        "sku": key[0],
        "location": key[1],
        "counted": row.counted,
        "events": [structs.asdict(event) for event in row.events],
        "versions": {
            str(version): {
                "by_log": _fields(row.by_log[side]),
                "served": _fields(row.served[side]),
                "is_by_log": side not in row.strange,
            }
            for side, version in enumerate((old, new))
        },
    }
