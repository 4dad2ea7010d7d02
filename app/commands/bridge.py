"""`onhand bridge`: foreign records become facts, or are only looked at."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from app.commands.console import Ticker, print_json, table
from app.commands.running import as_json, kafka_option, refuse, run, settings_from

if TYPE_CHECKING:
    from app.bridge.trying import Tried
    from app.config import Settings


@click.command(short_help="Carry facts from a topic of another program.")
@click.argument("topic")
@click.option("--map", "map_file", required=True, metavar="FILE", help="What is what: a TOML file.")
@kafka_option
@click.option("--dry-run", is_flag=True, help="Show what the first records would become, and end.")
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="With --dry-run: how many records.",
)
@click.option("--again", is_flag=True, help="Read what was refused once more, and end.")
@click.option(
    "--since",
    metavar="WHEN",
    help="With --again: all records from a time or TOPIC-PARTITION@OFFSET on.",
)
@as_json
def bridge(
    topic: str,
    map_file: str,
    dry_run: bool,
    limit: int,
    again: bool,
    since: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Make facts of the records of TOPIC, each exactly once, until Ctrl-C or SIGTERM.

    The map says which of their fields is what; docs/bridge.md has one for each frame that Kafka
    users have. What is no fact goes to the dead letters. Several bridges of one map share the
    partitions: give each its own ONHAND_BRIDGE_PORT. Try a map with --dry-run first, which writes
    nothing; its exit code is 1 if a record would be refused.

    --again sends what a mended map makes of the dead letters, or, with --since, of all records from
    there on that were read before. Each fact is sent once for ever, however often this is run or
    broken off, beside running bridges too. With --dry-run it only counts.

    It is the same as `faust -A app.bridge worker -l info` with ONHAND_BRIDGE_TOPIC and
    ONHAND_BRIDGE_MAP set.
    """
    from app.bridge.mapping import map_of
    from app.config import SettingsError

    settings = settings_from(bridge_topic=topic, bridge_map=map_file, **options)
    try:
        map_of(settings)  # told at once, not after Faust's 2 s
    except SettingsError as error:
        refuse(str(error))
    if since is not None and not again:
        refuse("--since says where --again begins: add --again.")
    if again:
        _read_again(settings, since, dry_run, as_json)
    if dry_run:
        from app.admin import TopicsError
        from app.bridge.trying import tried

        _show(run(tried(settings, limit), TopicsError), as_json)
    os.environ["ONHAND_BRIDGE_TOPIC"] = topic
    os.environ["ONHAND_BRIDGE_MAP"] = map_file
    os.environ["ONHAND_KAFKA"] = settings.kafka
    command = [sys.executable, "-m", "faust", "-A", "app.bridge", "worker", "-l", "info"]
    os.execv(sys.executable, command)  # noqa: S606 - no shell; the bridge takes this process over


def _read_again(settings: Settings, since: str | None, dry_run: bool, as_json: bool) -> NoReturn:
    """Do it, print, and end the command."""
    import msgspec

    from app.bridge.again import read_again
    from app.bridge.rereading import since_of
    from wire.whole import RecordsError

    try:
        begin = None if since is None else since_of(since, settings.bridge_topic)
    except ValueError as why:
        refuse(str(why))
    work = read_again(settings, begin, dry_run=dry_run, said=Ticker("records read"))
    done = run(work, RecordsError)
    refused = sum(done.refused.values())
    if as_json:
        print_json({"dry_run": dry_run, **msgspec.structs.asdict(done)})
        sys.exit(1 if refused else 0)
    roles = ", ".join(f"{count:,} to {role}" for role, count in sorted(done.sent.items()))
    facts = f"{sum(done.sent.values()):,} facts{f' ({roles})' if roles else ''}"
    click.echo(
        f"Read {done.read:,} records again; {'would send' if dry_run else 'sent'} {facts} of "
        f"{done.made:,} of them. {done.sent_before:,} were sent by an earlier run, {done.there:,} "
        f"facts were there already, {done.left:,} records are left out by the map, {refused:,} are "
        "refused still."
    )
    for position, told in done.named.items():
        click.echo(f"{position} is refused, {told}", err=True)
    if refused > len(done.named):
        click.echo(f"… and {refused - len(done.named):,} more.", err=True)
    sys.exit(1 if refused else 0)


def _show(found: list[Tried], as_json: bool) -> None:
    """Print, and end the command."""
    import msgspec

    refused = sum(bool(one.reason) for one in found)
    if as_json:
        print_json({"records": msgspec.to_builtins(found)})
    elif not found:
        click.echo("The topic has no records yet.")
    else:
        header = ("POSITION", "BECOMES", "SKU", "LOCATION", "QUANTITY", "ID")
        rows = [row for one in found for row in _rows(one)]
        click.echo(table([header, *rows], right=[4]))
        facts = sum(len(one.facts) for one in found)
        click.echo(
            f"\n{len(found):,} records would become {facts:,} facts; "
            f"{sum(not one.facts and not one.reason for one in found):,} are left out by the map, "
            f"{refused:,} would be refused. Nothing was written."
        )
        for one in found:
            if one.reason:
                click.echo(f"{one.position} is refused, {one.reason}: {one.detail}")
    sys.exit(1 if refused else 0)


def _rows(one: Tried) -> list[tuple[str, ...]]:
    if not one.facts:
        return [(one.position, one.reason or "left out", "", "", "", "")]
    return [
        (
            one.position,
            fact["type"].removeprefix("inventory.").removesuffix(".v1"),
            *(str(fact["data"][name]) for name in ("sku", "location", "quantity")),
            fact["id"],
        )
        for fact in one.facts
    ]
