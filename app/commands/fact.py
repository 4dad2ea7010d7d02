"""`onhand fact`: what became of a fact, asked of a worker."""

from __future__ import annotations

import json
import sys
from typing import Any
from urllib.parse import urlencode

import click

from app.commands.console import table
from app.commands.running import as_json, refuse, url_option, workers_of


@click.command(short_help="What became of a fact.")
@click.argument("source")
@click.argument("id")
@url_option
@as_json
def fact(source: str, id: str, url: tuple[str, ...], as_json: bool) -> None:
    """Show what became of the fact ID of SOURCE, each time that it came.

    The last line says how far back the answer can see. Exit code 1: nothing was found.
    """
    from app.commands import ask

    path = f"/v1/facts?{urlencode({'source': source, 'id': id})}"
    try:
        answer = ask.ask(workers_of(url), path)
    except ask.NoAnswer as error:
        refuse(str(error))
    found = json.loads(answer.body) if answer.status == 200 else {}
    times = [time for item in found.get("items", ()) for time in item["times"]]
    if as_json:
        click.echo(answer.body.decode(errors="replace"))
    elif answer.status != 200:
        click.echo(ask.refusal(answer.status, answer.body), err=True)
    else:
        if times:
            click.echo(_table(times))
        click.echo(_looked(found["looked"], bool(times)), err=not times)
    sys.exit(0 if times else 1)


def _table(times: list[dict[str, Any]]) -> str:
    header = ("POSITION", "RECORDED", "OUTCOME", "SKU", "LOCATION", "QUANTITY", "WHY")
    rows = [
        (
            time["position"],
            time["recorded_at"],
            time["outcome"],
            *(time.get(name, "-") for name in ("sku", "location", "quantity")),
            _why(time),
        )
        for time in times
    ]
    return table([header, *rows], right=[5])


def _why(time: dict[str, Any]) -> str:
    if "of" in time:
        return f"repeats {time['of']}"
    return ": ".join(time[name] for name in ("reason", "detail") if name in time)


def _looked(looked: dict[str, Any], found: bool) -> str:
    """How far back the answer can see."""
    nothing = "" if found else "Nothing was found. "
    if ledger := looked.get("ledger"):
        return f"{nothing}Looked at all facts there ever were, in the ledger {ledger}."
    since = looked["refused_since"]
    refused = f"since {since}" if since else "as long as dead letters are kept"
    rest = "" if looked["repeats_complete"] else " There may be more repetitions than these."
    looked_for = "Looked for applied facts within the duplicates windows, and for refused ones"
    return f"{nothing}{looked_for} {refused}.{rest}"
