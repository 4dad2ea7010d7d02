"""`onhand post` and `onhand adjust`: one fact from the keyboard."""

from __future__ import annotations

import json
import sys
import uuid
from typing import Any

import click

from app.commands.console import plain
from app.commands.running import as_json, refuse, url_option, workers_of

PATHS = {
    "shipment": "/v1/shipments",
    "dispatch": "/v1/dispatches",
    "sale": "/v1/sales",
    "return": "/v1/returns",
}
#: The quantity is a difference; whoever has counted has the new stock in hand.
COUNTED = "count"

source_option = click.option(
    "--source", default="onhand-command", show_default=True, help="Who says so, such as till-17."
)
id_option = click.option(
    "--id", "event_id", help="Of this fact, from its source. Default: a new one, which is shown."
)
reference_option = click.option("--reference", help="Such as a delivery note's number.")
actor_option = click.option("--actor", help="Such as a cashier's name.")
time_option = click.option("--time", help="When it happened, RFC 3339. Default: now.")


@click.command(short_help="Append one shipment, dispatch, sale or return.")
@click.argument("kind", type=click.Choice(list(PATHS)))
@click.argument("sku")
@click.argument("location")
@click.argument("quantity", type=int)
@source_option
@id_option
@time_option
@reference_option
@actor_option
@url_option
@as_json
def post(kind: str, url: tuple[str, ...], as_json: bool, **fact: Any) -> None:
    """Append one fact: goods that came or left, were sold or brought back.

    Without an answer, say the same again with the id that was shown: it counts once.
    """
    _post(PATHS[kind], workers_of(url), fact, as_json)


@click.command(
    short_help="Append a correction of the stock.",
    context_settings={"ignore_unknown_options": True},  # -2 is no option
)
@click.argument("sku")
@click.argument("location")
@click.argument("difference", type=int)
@click.option(
    "--reason",
    required=True,
    help="Such as damage, theft, found, opening, count, correction.",
)
@click.option("--yes", is_flag=True, help="Do not ask back.")
@source_option
@id_option
@time_option
@reference_option
@actor_option
@url_option
@as_json
def adjust(
    difference: int, reason: str, yes: bool, url: tuple[str, ...], as_json: bool, **fact: Any
) -> None:
    """Append a correction: DIFFERENCE is added to what is on hand, and may be below 0.

    After a count, say by how much the stock was wrong, not what was counted: with 100 in the
    table and 98 on the shelf it is -2.
    """
    workers = workers_of(url)
    if reason == COUNTED and difference > 0 and not yes and not as_json:
        _ask_back(workers, fact["sku"], fact["location"], difference)
    _post("/v1/adjustments", workers, {**fact, "quantity": difference, "reason": reason}, as_json)


def _ask_back(workers: list[str], sku: str, location: str, difference: int) -> None:
    """Show what a plus after a count comes to; on a terminal, wait for a yes."""
    from app.commands import ask

    try:
        answer = ask.ask(workers, ask.inventory_path(sku, location))
    except ask.NoAnswer as error:
        refuse(str(error))
    before = json.loads(answer.body)["on_hand"] if answer.status == 200 else 0
    said = (
        f"The difference is added: {before:,} on hand become {before + difference:,}. "
        "If that is what was counted, it is right"
    )
    if not sys.stdin.isatty():
        click.echo(f"{said}.", err=True)
    elif not click.confirm(f"{said}. Go on?", err=True):
        sys.exit(1)


def _post(path: str, workers: list[str], fact: dict[str, Any], as_json: bool) -> None:
    from app.commands import ask

    fact["id"] = fact.pop("event_id") or str(uuid.uuid4())
    body = {name: value for name, value in fact.items() if value is not None}
    try:
        answer = ask.ask(workers, path, body)
    except ask.NoAnswer as error:
        if not error.was_asked:
            refuse(f"{error} Nothing was appended.")
        refuse(f"{error} Whether it was appended is not known: repeat it with --id {fact['id']}.")
    if as_json:
        click.echo(answer.body.decode(errors="replace"))
    elif answer.status == 202:
        position = json.loads(answer.body)["position"]
        click.echo(plain(f"Appended as {position}, id {fact['id']} of {fact['source']}."))
        row = f"{fact['sku']} {fact['location']}"
        click.echo(plain(f"See it counted: onhand stock {row} --min-position {position}"))
    else:
        click.echo(ask.refusal(answer.status, answer.body), err=True)
        if answer.status == 503:
            click.echo(f"Repeat it with --id {fact['id']}.", err=True)
    sys.exit(0 if answer.status == 202 else 1)
