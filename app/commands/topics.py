"""`onhand topics`: create what is missing, and say what a worker would refuse."""

from __future__ import annotations

import sys
from typing import Any

import click

from app.commands.console import print_json, table
from app.commands.running import Commands, as_json, kafka_option, run, settings_from


@click.group(cls=Commands, short_help="Create the topics, or check them.")
def topics() -> None:
    """Create the topics, or check that they would lose nothing."""


@topics.command("create", short_help="Create what is missing.")
@kafka_option
@click.option("--partitions", type=int, help="Beats ONHAND_PARTITIONS; never changes later.")
@click.option("--replication", type=int, help="Beats ONHAND_REPLICATION.")
@as_json
def topics_create(as_json: bool, **options: Any) -> None:
    """Create what is missing; what exists stays as it is, and is checked.

    On a new deployment it also records that ONHAND_VERSION is the active version.
    """
    import msgspec

    from app import topics
    from app.admin import TopicsError

    settings = settings_from(**options)
    outcomes = run(topics.create(settings), TopicsError)
    problems = run(topics.check(settings), TopicsError)
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


@topics.command("check", short_help="Say what a worker would refuse.")
@kafka_option
@click.option("--partitions", type=int, help="Beats ONHAND_PARTITIONS.")
@as_json
def topics_check(as_json: bool, **options: Any) -> None:
    """Say everything that a worker would refuse to start on."""
    from app import topics
    from app.admin import TopicsError
    from app.upgrades import beginning

    settings = settings_from(**options)
    problems = run(topics.check(settings), TopicsError)
    unasked = any(not problem.topic for problem in problems)
    said = [str(problem) for problem in problems]
    if not unasked and all(
        partition.kind != "missing" or settings.is_of_version(partition.topic)
        for partition in problems
    ):
        said += run(beginning.problems(settings), TopicsError)
    if as_json:
        print_json({"problems": said})
    elif said:
        for problem in said:
            click.echo(problem, err=True)
    else:
        click.echo(f"All topics of {settings.group} are as they should be.")
    sys.exit(2 if unasked else 1 if said else 0)
