"""`onhand stock`: what is on hand, asked of a worker."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from app.commands.console import table
from app.commands.running import as_json, refuse, settings_from

FIELDS = ("on_hand", "received", "dispatched", "sold", "returned", "adjusted", "events")


@click.command()
@click.argument("sku")
@click.argument("location", required=False)
@click.option("--url", help="A worker; any one will do. Beats ONHAND_URL.")
@click.option("--min-position", help="Wait until this event is counted (from a POST's answer).")
@as_json
def stock(
    sku: str, location: str | None, url: str | None, min_position: str | None, as_json: bool
) -> None:
    """How many of SKU are on hand, at LOCATION or everywhere."""
    from app.commands import ask

    base = url or settings_from().url
    path = ask.inventory_path(sku, location, min_position)
    try:
        status, body = ask.get(base, path)
    except ask.NoAnswer as error:
        refuse(str(error))
    if as_json:
        click.echo(body.decode(errors="replace"))
    elif status == 200:
        answer = json.loads(body)
        click.echo(_stock_table(answer))
        click.echo(ask.freshness_line(answer["freshness"]))
    else:
        click.echo(ask.refusal(status, body), err=True)
    sys.exit(0 if status == 200 else 1)


def _stock_table(answer: dict[str, Any]) -> str:
    """One row of the API, or those of a SKU under their sums."""
    header = ("LOCATION", *(field.upper().replace("_", " ") for field in FIELDS), "UPDATED")
    items = answer.get("items", [answer])
    rows = [(row["location"], *_numbers(row), row["updated_at"]) for row in items]
    if len(items) > 1:
        rows.append(("all", *_numbers(answer), answer["updated_at"]))
    return f"{answer['sku']}\n" + table([header, *rows], right=range(1, len(FIELDS) + 1))


def _numbers(row: dict[str, Any]) -> Iterable[str]:
    return (f"{row[field]:,}" for field in FIELDS)
