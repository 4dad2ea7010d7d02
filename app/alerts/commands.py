"""`onhand alerts`: what was told, what nobody took, and sending that again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from app.commands.console import print_json, table
from app.commands.running import Commands, as_json, kafka_option, refuse, run, settings_from

if TYPE_CHECKING:
    from agents.alerts.told import ToldAlert

_STATES = ("pending", "sent", "dead")


@click.group("alerts", cls=Commands, short_help="What was told of the stock, and was not taken.")
def alerts_commands() -> None:
    """Show what the webhook was told, and send again what nobody took.

    docs/alerts.md says how to write rules and how to receive what they tell.
    """


@alerts_commands.command("list", short_help="What was told last of each row.")
@kafka_option
@click.option("--state", type=click.Choice(_STATES), help="Only messages that stand so.")
@click.option("--raised", is_flag=True, help="Only what is raised.")
@as_json
def alerts_list(state: str | None, raised: bool, as_json: bool, **options: Any) -> None:
    """Show what was told last of each row, by rule. Needs Kafka, and no worker."""
    from app.admin import TopicsError
    from app.alerts.asking import told_now

    found = run(told_now(settings_from(**options)), TopicsError)
    shown = [
        told
        for told in found
        if (state is None or told.state == state) and (not raised or told.told == "raised")
    ]
    if as_json:
        print_json({"alerts": [_described(told) for told in shown]})
    elif not shown:
        click.echo("Nothing was told." if not found else "Nothing that was told stands so.")
    else:
        header = ("RULE", "SKU", "LOCATION", "TOLD", "SEQ", "STATE", "TRIES", "ID", "WHY NOT")
        click.echo(table([header, *map(_row, shown)], right=[4, 6]))


@alerts_commands.command("resend", short_help="Send again what nobody took.")
@kafka_option
@click.argument("ids", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All that are dead.")
@as_json
def alerts_resend(ids: tuple[str, ...], every: bool, as_json: bool, **options: Any) -> None:
    """Give dead messages all of their tries again; IDS are theirs, as `list` shows them.

    The worker that owns the row posts them within some seconds, each under the id that it had.
    Exit code 1: none of them is dead.
    """
    from app.admin import TopicsError
    from app.alerts.asking import sent_once_more

    if bool(ids) == every:
        refuse("Name messages by their ids (`onhand alerts list --state dead`), or say --all.")
    again = run(sent_once_more(settings_from(**options), ids), TopicsError)
    if as_json:
        print_json({"pending": [_described(told) for told in again]})
    elif again:
        click.echo(f"{len(again):,} messages are to be sent again.")
    else:
        click.echo("None of them is dead." if ids else "None is dead.", err=True)
    sys.exit(0 if again else 1)


def _described(told: ToldAlert) -> dict[str, Any]:
    import msgspec

    shown: dict[str, Any] = msgspec.to_builtins(told)
    if told.body:
        shown["body"] = msgspec.json.decode(told.body)
    return shown


def _row(told: ToldAlert) -> tuple[str, ...]:
    named = told.rule, told.sku, told.location, str(told.told), str(told.seq), str(told.state)
    return (*named, str(told.attempts or ""), told.id, told.failed)
