"""`onhand report`: stock-outs, oversold rows, movers, shrink, totals, late facts."""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import quote, urlencode

import click

from app.commands.console import Cell, print_json, table
from app.commands.running import as_json, refuse, url_option, waiting_options, workers_of

#: As `ledger.questions.reporting.REPORTS`, which is not loaded for a word.
NAMES = ("stock-outs", "oversold", "movers", "shrink", "location-totals", "late-facts")


@click.command(short_help="Reports over all rows or facts, as of any time.")
@click.argument("name", type=click.Choice(NAMES))
@click.option("--as-of", metavar="TIME", help="As it was then: 2026-11-23T10:00:00Z.")
@click.option("--from", "since", metavar="TIME", help="Facts from then on; a week without it.")
@click.option("--location", help="Only this one.")
@click.option("--late-s", type=click.IntRange(1), help="late-facts: after how many seconds.")
@click.option(
    "--limit",
    type=click.IntRange(1, 10_000),
    default=100,
    show_default=True,
    help="How many lines to show.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated, for spreadsheets.")
@waiting_options
@url_option
@as_json
def report(
    name: str,
    as_of: str | None,
    since: str | None,
    location: str | None,
    late_s: int | None,
    limit: int,
    as_csv: bool,
    url: tuple[str, ...],
    as_json: bool,
    **waiting: str | int | None,
) -> None:
    """Show one report, made from the ledger at one position of the log.

    stock-outs: nothing left. oversold: less than nothing. movers: what sold best. shrink: lost
    and found by reason. location-totals: sums. late-facts: recorded long after they happened.
    """
    from app.commands import ask

    given = {"as_of": as_of, "from": since, "location": location, "late_s": late_s, "limit": limit}
    given |= waiting
    query = urlencode({key: value for key, value in given.items() if value is not None})
    try:
        answer = ask.ask(workers_of(url), f"/v1/reports/{quote(name)}?{query}")
    except ask.NoAnswer as error:
        refuse(str(error))
    if answer.status != 200:
        if as_json:
            click.echo(answer.body.decode(errors="replace"))
        else:
            click.echo(ask.refusal(answer.status, answer.body), err=True)
        sys.exit(1)
    found: dict[str, Any] = json.loads(answer.body)
    if as_json:
        print_json(found)
    elif as_csv:
        _write_csv(found["rows"])
    else:
        click.echo(_shown(found))


def _write_csv(rows: list[dict[str, Any]]) -> None:
    import csv

    if rows:
        lines = csv.DictWriter(sys.stdout, list(rows[0]))
        lines.writeheader()
        lines.writerows(rows)


def _shown(found: dict[str, Any]) -> str:
    rows, past = found["rows"], found["history"]
    of = past["as_of"] or past["position"] or "the beginning of the log"
    since = f", from {found['from']} on" if found["from"] else ""
    if not rows:
        return f"Nothing, as of {of}{since}."
    names = list(rows[0])
    numbers = [at for at, name in enumerate(names) if isinstance(rows[0][name], int)]
    cells = [[_cell(row[name]) for name in names] for row in rows]
    header = [name.replace("_", " ").upper() for name in names]
    return f"{table([header, *cells], right=numbers)}\nAs of {of}{since}."


def _cell(value: Any) -> Cell:
    if isinstance(value, int):
        return Cell(f"{value:,}", "red" if value < 0 else None)
    return Cell("-" if value is None else str(value))
