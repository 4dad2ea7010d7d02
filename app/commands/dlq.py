"""`onhand dlq`: what was refused, and sending again what had a wrong address."""

from __future__ import annotations

import sys
from typing import Any

import click

from app.commands.console import Ticker, moment, plain, print_json, table
from app.commands.running import Commands, as_json, kafka_option, refuse, run, settings_from


@click.group(cls=Commands, short_help="What could not be applied, and why.")
def dlq() -> None:
    """Show what the table could not apply, and why; send again what had a wrong address."""


@dlq.command("list", short_help="Count them, and show the newest.")
@kafka_option
@click.option(
    "--limit",
    default=20,
    show_default=True,
    type=click.IntRange(0, 10_000),
    help="How many of the newest to show.",
)
@click.option("--reason", help="Only this reason, such as misrouted.")
@as_json
def dlq_list(limit: int, reason: str | None, as_json: bool, **options: Any) -> None:
    """Count dead letters by topic and reason, and show the newest."""
    from app import deadletters
    from domain.events import Refusal
    from tables.home import letters
    from wire.whole import RecordsError

    if reason is not None and reason not in (known := [each.value for each in Refusal]):
        refuse(f"{reason!r} is no reason: use one of {', '.join(known)}.")
    progress = Ticker("dead letters read")
    listing = deadletters.listed(settings_from(**options), limit, reason, progress)
    found = run(listing, RecordsError)
    if as_json:
        counts = [{"topic": t, "reason": r, "count": n} for (t, r), n in found.counts.items()]
        recent = [letters.described(letter) for letter in found.recent]
        strange = found.strange
        print_json({"total": found.total, "counts": counts, "recent": recent, "strange": strange})
        return
    if found.strange:
        click.echo(f"{found.strange:,} records there are no dead letters: others write to it.")
    if not found.total:
        click.echo("No dead letters.")
        return
    by_reason = [(topic, why, f"{count:,}") for (topic, why), count in found.counts.items()]
    click.echo(table([("TOPIC", "REASON", "COUNT"), *by_reason]))
    newest = [(le.position, le.reason, moment(le.refused_ms), le.detail) for le in found.recent]
    if newest:
        click.echo(f"\nThe newest {len(newest):,} of {found.total:,}:")
        click.echo(table([("POSITION", "REASON", "REFUSED", "DETAIL"), *newest]))
        click.echo("\nonhand dlq show POSITION shows one; onhand dlq replay heals wrong addresses.")


@dlq.command("show", short_help="Show one whole.")
@kafka_option
@click.argument("position")
@as_json
def dlq_show(position: str, as_json: bool, **options: Any) -> None:
    """Show one dead letter whole; POSITION is its original's, TOPIC-PARTITION@OFFSET."""
    from app import deadletters
    from tables.home import letters
    from wire.whole import RecordsError

    searching = deadletters.found(settings_from(**options), position)
    letter = run(searching, RecordsError)
    if letter is None:
        click.echo(f"No dead letter has the position {position}: see `onhand dlq list`.", err=True)
        sys.exit(1)
    shown = letters.described(letter)
    if as_json:
        print_json(shown)
        return
    value = shown.pop("value", None)
    shown["recorded"] = moment(shown.pop("recorded_ms"))
    shown["refused"] = moment(shown.pop("refused_ms"))
    for header in shown.pop("headers"):
        name, content = header.values()
        shown[f"header {name}"] = content
    click.echo(table((name, "-" if v is None else v) for name, v in shown.items()))
    if value is not None:
        click.echo(f"\n{plain(value, keep=chr(10) + chr(9))}")


@dlq.command("replay", short_help="Send again what had a wrong address.")
@kafka_option
@click.option("--dry-run", is_flag=True, help="Only say what would be sent.")
@as_json
def dlq_replay(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Send again, under the right key, what was misrouted, key_mismatch or missing_key.

    Each is sent once for ever, however often, from whichever version and by however many
    this is run. Other refusals need a corrected event with a new id.
    """
    import msgspec

    from app import replay
    from wire.whole import RecordsError

    progress = Ticker("records read")
    work = replay.replay(settings_from(**options), dry_run=dry_run, said=progress)
    done = run(work, RecordsError)
    if as_json:
        print_json({"dry_run": dry_run, **msgspec.structs.asdict(done)})
        return
    kinds = ", ".join(f"{count:,} {reason}" for reason, count in sorted(done.sent.items()))
    click.echo(
        f"{'Would send' if dry_run else 'Sent'} {sum(done.sent.values()):,} again"
        f"{f' ({kinds})' if kinds else ''}; {done.sent_before:,} were sent before; "
        f"{done.other_reasons:,} have other reasons."
    )
    for position, why in done.impossible.items():
        click.echo(f"{position} cannot be sent again: {why}.", err=True)
    if (more := done.impossible_count - len(done.impossible)) > 0:
        click.echo(f"… and {more:,} more cannot be sent again.", err=True)
