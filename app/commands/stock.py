"""`onhand stock` and `onhand list`: what is on hand, asked of a worker."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

import click

from app.commands.console import Cell, ago, print_json, table
from app.commands.running import as_json, refuse, url_option, waiting_options, workers_of

FIELDS = ("on_hand", "received", "dispatched", "sold", "returned", "adjusted", "events")
#: Rows in one page of a list; the service takes no more.
PAGE = 1_000
_F = TypeVar("_F", bound=Callable[..., Any])
#: What may be demanded of any answer, as the service calls it.
_DEMANDS = (
    waiting_options,
    click.option(
        "--max-lag",
        "max_lag_events",
        type=click.IntRange(0),
        metavar="EVENTS",
        help="Refuse an answer that is further behind.",
    ),
    click.option(
        "--version", type=click.IntRange(1, 999_999), help="Of this version: also a staged one."
    ),
    click.option("--as-of", metavar="TIME", help="As it was then: 2026-11-23T10:00:00Z."),
    click.option(
        "--clock",
        type=click.Choice(["recorded", "occurred"]),
        help="With --as-of: by when the log took the facts (as without it), or when they happened.",
    ),
    click.option("--at-position", help="As it was when exactly this had been counted."),
)


def _demands(command: _F) -> _F:
    for option in reversed(_DEMANDS):
        command = option(command)
    return command


def _query(demands: Mapping[str, Any]) -> dict[str, Any]:
    """Those that were given."""
    return {name: value for name, value in demands.items() if value is not None}


@click.command(short_help="How many of a SKU are on hand.")
@click.argument("sku")
@click.argument("location", required=False)
@url_option
@_demands
@as_json
def stock(
    sku: str, location: str | None, url: tuple[str, ...], as_json: bool, **demands: Any
) -> None:
    """Show how many of SKU are on hand, at LOCATION or everywhere.

    The last line says which worker answered, for which partition, and how far behind it is. With
    --as-of or --at-position a ledger answers, for the past.
    """
    from app.commands import ask

    path = ask.inventory_path(sku, location, _query(demands))
    try:
        answer = ask.ask(workers_of(url), path)
    except ask.NoAnswer as error:
        refuse(str(error))
    if as_json:
        click.echo(answer.body.decode(errors="replace"))
    elif answer.status == 200:
        found = json.loads(answer.body)
        items = found.get("items", [found])
        rows = [(row["location"], *cells_of(row), ago(row["updated_at"])) for row in items]
        if len(items) > 1:
            rows.append(("all", *cells_of(found), ago(found["updated_at"])))
        click.echo(table([[found["sku"]]]))
        click.echo(table([heading("LOCATION"), *rows], right=range(1, len(FIELDS) + 1)))
        if past := found.get("history"):  # a ledger has answered
            click.echo(_as_of(past))
        else:
            click.echo(ask.freshness_line(found["freshness"]))
    else:
        click.echo(ask.refusal(answer.status, answer.body), err=True)
    sys.exit(0 if answer.status == 200 else 1)


@click.command("list", short_help="Rows of many SKUs, filtered.")
@click.option("--location", help="Only this location.")
@click.option("--sku-prefix", help="Only SKUs that begin so.")
@click.option("--below", "on_hand_below", type=int, help="Only rows with less than this on hand.")
@click.option("--above", "on_hand_above", type=int, help="Only rows with more than this on hand.")
@click.option(
    "--limit",
    default=100,
    show_default=True,
    type=click.IntRange(1, 1_000_000),
    help="How many rows to show.",
)
@url_option
@_demands
@as_json
def list_command(limit: int, url: tuple[str, ...], as_json: bool, **filters: Any) -> None:
    """Show the rows of many SKUs, in the order of SKU and location.

    What is short everywhere: onhand list --below 1.
    """
    from app.commands import ask

    named = _query(filters)
    workers = workers_of(url)
    items: list[dict[str, Any]] = []
    found: dict[str, Any] = {"next_cursor": None}
    while True:
        query = {**named, "limit": min(PAGE, limit - len(items))}
        if found["next_cursor"]:
            query["cursor"] = found["next_cursor"]
        try:
            answer = ask.ask(workers, f"/v1/inventory?{urlencode(query)}")
        except ask.NoAnswer as error:
            refuse(str(error))
        if answer.status != 200:
            click.echo(ask.refusal(answer.status, answer.body), err=True)
            sys.exit(1)
        found = json.loads(answer.body)
        items += found["items"]
        if not found["next_cursor"] or len(items) >= limit:
            break
    if as_json:
        print_json({**found, "items": items})
        return
    if not items:
        click.echo("No row matches.")
        return
    rows = [(row["sku"], row["location"], *cells_of(row), ago(row["updated_at"])) for row in items]
    click.echo(table([("SKU", *heading("LOCATION")), *rows], right=range(2, len(FIELDS) + 2)))
    if found["next_cursor"]:
        click.echo(f"There are more: these are the first {len(items):,} (--limit).")
    if past := found.get("history"):
        click.echo(_as_of(past))


def _as_of(past: dict[str, Any]) -> str:
    """Of which moment an answer by a ledger is."""
    when = f"{past['as_of']} ({past['position']})" if past.get("as_of") else past["position"]
    return f"as of {when}, by the ledger {past['ledger']}"


def heading(first: str) -> tuple[str, ...]:
    """Of a table of rows."""
    return (first, *(field.upper().replace("_", " ") for field in FIELDS), "UPDATED")


def cells_of(row: dict[str, Any]) -> list[Cell]:
    """Of one row; a stock below zero is red."""
    cells = [Cell(f"{row[field]:,}") for field in FIELDS]
    if row["on_hand"] < 0:
        cells[0] = Cell(cells[0].text, "red")
    return cells
