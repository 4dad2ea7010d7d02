"""The `onhand` command. Everything but click is imported when needed: it starts in 0.3 s.

Exit codes: 0 done; 1 the answer is no (unknown SKU, topics that are wrong); 2 it could not
be asked (wrong usage or settings, nobody answers). Refusals are one plain sentence on stderr.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Coroutine, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from app.console import Progress, moment, print_json, table

if TYPE_CHECKING:
    from app.config import Settings

T = TypeVar("T")
VERSION = "0.1.0"
FIELDS = ("on_hand", "received", "dispatched", "sold", "returned", "adjusted", "events")

as_json = click.option("--json", "as_json", is_flag=True, help="One JSON document, for programs.")
kafka_option = click.option("--kafka", metavar="HOST:PORT", help="Beats ONHAND_KAFKA.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="onhand")
def cli() -> None:
    """Stock by SKU and location, from an immutable log of shipments and sales.

    Settings come from ONHAND_… variables (.env.example lists them); an option beats its variable.
    """


@cli.command(
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "help_option_names": [],
    }
)
@click.argument("faust_options", nargs=-1, type=click.UNPROCESSED)
def worker(faust_options: tuple[str, ...]) -> None:
    """Run a worker; the same as `faust -A app worker -l info` with these options."""
    if "--help" not in faust_options:
        _settings()  # bad settings are told at once, not after Faust's 2 s
    command = [sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info", *faust_options]
    os.execv(sys.executable, command)  # noqa: S606 - no shell; the worker takes this process over


@cli.group()
def topics() -> None:
    """Create the topics, or check that they would lose nothing."""


@topics.command("create")
@kafka_option
@click.option("--partitions", type=int, help="Beats ONHAND_PARTITIONS; never changes later.")
@click.option("--replication", type=int, help="Beats ONHAND_REPLICATION.")
@as_json
def topics_create(as_json: bool, **options: Any) -> None:
    """Create what is missing; what exists stays as it is, and is checked."""
    import msgspec

    from app import topics

    settings = _settings(**options)
    outcomes = _run(topics.create(settings), topics.TopicsError)
    problems = _run(topics.check(settings), topics.TopicsError)
    if as_json:
        made = [msgspec.structs.asdict(outcome) for outcome in outcomes]
        print_json({"topics": made, "problems": [str(problem) for problem in problems]})
    else:
        rows = [
            (o.topic, f"{o.partitions} partition{'s' if o.partitions > 1 else ''}", o.outcome)
            for o in outcomes
        ]
        click.echo(table(rows))
        for problem in problems:
            click.echo(str(problem), err=True)
    sys.exit(1 if problems else 0)


@topics.command("check")
@kafka_option
@click.option("--partitions", type=int, help="Beats ONHAND_PARTITIONS.")
@as_json
def topics_check(as_json: bool, **options: Any) -> None:
    """Say everything that a worker would refuse to start on."""
    from app import topics

    settings = _settings(**options)
    problems = _run(topics.check(settings), topics.TopicsError)
    if as_json:
        print_json({"problems": [str(problem) for problem in problems]})
    elif problems:
        for problem in problems:
            click.echo(str(problem), err=True)
    else:
        click.echo(f"All topics of {settings.group} are as they should be.")
    unasked = any(not problem.topic for problem in problems)
    sys.exit(2 if unasked else 1 if problems else 0)


@cli.command()
@click.argument("sku")
@click.argument("location", required=False)
@click.option("--url", help="A worker; any one will do. Beats ONHAND_URL.")
@click.option("--min-position", help="Wait until this event is counted (from a POST's answer).")
@as_json
def stock(
    sku: str, location: str | None, url: str | None, min_position: str | None, as_json: bool
) -> None:
    """How many of SKU are on hand, at LOCATION or everywhere."""
    from app import ask

    base = url or _settings().url
    path = ask.inventory_path(sku, location, min_position)
    try:
        status, body = ask.get(base, path)
    except ask.NoAnswer as error:
        _refuse(str(error))
    if as_json:
        click.echo(body.decode(errors="replace"))
    elif status == 200:
        answer = json.loads(body)
        click.echo(_stock_table(answer))
        click.echo(ask.freshness_line(answer["freshness"]))
    else:
        click.echo(ask.refusal(status, body), err=True)
    sys.exit(0 if status == 200 else 1)


@cli.group()
def dlq() -> None:
    """What the table could not apply, and why; send again what had a wrong address."""


@dlq.command("list")
@kafka_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(0, 10_000))
@click.option("--reason", help="Only this reason, such as misrouted.")
@as_json
def dlq_list(limit: int, reason: str | None, as_json: bool, **options: Any) -> None:
    """Count dead letters by topic and reason, and show the newest."""
    from app import deadletters
    from tables import letters

    progress = Progress("dead letters read")
    listing = deadletters.listed(_settings(**options), limit, reason, progress)
    found = _run(listing, letters.DeadLettersError)
    if as_json:
        counts = [{"topic": t, "reason": r, "count": n} for (t, r), n in found.counts.items()]
        recent = [letters.described(letter) for letter in found.recent]
        print_json({"total": found.total, "counts": counts, "recent": recent})
        return
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


@dlq.command("show")
@kafka_option
@click.argument("position")
@as_json
def dlq_show(position: str, as_json: bool, **options: Any) -> None:
    """Show one dead letter whole; POSITION is its original's, TOPIC-PARTITION@OFFSET."""
    from app import deadletters
    from tables import letters

    letter = _run(deadletters.found(_settings(**options), position), letters.DeadLettersError)
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
        name = header.pop("name")
        shown[f"header {name}"] = next(iter(header.values()))
    click.echo(table((name, "-" if v is None else v) for name, v in shown.items()))
    if value is not None:
        click.echo(f"\n{value}")


@dlq.command("replay")
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
    from tables import letters

    progress = Progress("records read")
    work = replay.replay(_settings(**options), dry_run=dry_run, said=progress)
    done = _run(work, letters.DeadLettersError)
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


@cli.command()
@kafka_option
@click.option("--rate", default=500.0, show_default=True, help="Records a second.")
@click.option("--seconds", type=float, help="How long; default: until Ctrl-C.")
@click.option("--seed", default=1, show_default=True, help="The same seed tells the same story.")
@click.option("--skus", default=2_000, show_default=True)
@click.option("--stores", default=40, show_default=True)
@click.option("--url", help="Post to this worker, instead of appending to Kafka.")
@as_json
def traffic(
    rate: float,
    seconds: float | None,
    seed: int,
    skus: int,
    stores: int,
    url: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Send the facts of a believable chain of shops: late tills, returns, retries, rubbish."""
    try:
        # A tool for people, in the checkout only: the service's image has no dev/.
        from dev.traffic import main as send
    except ModuleNotFoundError:
        _refuse("`onhand traffic` needs the folder dev/ of the checkout: run it there.")
    settings = _settings(**options)
    sys.exit(
        send(settings.kafka, settings.topic_prefix, rate, seconds, seed, skus, stores, url, as_json)
    )


def main() -> int:
    """Entry point; click's own errors are already sentences."""
    try:
        cli(prog_name="onhand")
    except BrokenPipeError:  # `onhand dlq list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _settings(**options: Any) -> Settings:
    from app.config import Settings, SettingsError

    try:
        return Settings.from_env(None, **options)
    except SettingsError as error:
        _refuse(str(error))


def _refuse(sentences: str) -> NoReturn:
    click.echo(sentences, err=True)
    sys.exit(2)


def _run(work: Coroutine[Any, Any, T], *refusals: type[Exception]) -> T:
    """Run to the end; a refusal becomes its sentence and exit code 2."""
    import asyncio
    import logging

    # What Kafka's client says while it tries again is in the one sentence at the end, and it
    # leaves futures behind that asyncio would show as tracebacks.
    for name in ("aiokafka", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return asyncio.run(work)
    except refusals as error:
        _refuse(str(error))


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
