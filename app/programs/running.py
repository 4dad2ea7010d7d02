"""The command line of a program: `topics` creates what is missing, `worker` runs a worker."""

from __future__ import annotations

import sys
from typing import Any

import click

from app.admin import TopicsError
from app.commands.console import table
from app.commands.running import Commands, refuse, run
from app.config import Settings, SettingsError
from app.programs.logs import create_topics, topic_problems
from app.programs.program import Program
from tables.home.store import DataFolderInUse, StoreFailed
from web.access.watched import AccessError


def run_program(program: Program) -> None:
    """Do what the command line says; ends the process."""

    @click.group(cls=Commands, help=f"{program.name}: a program of tables.")
    def commands() -> None: ...

    @commands.command("topics", short_help="Create the topics that are missing.")
    @click.option("--partitions", type=int, help="Beats ONHAND_PARTITIONS; never changes later.")
    def topics(**options: Any) -> None:
        """Create the topics that are missing; what exists stays as it is, and is checked."""
        settings = _settings(program, **options)
        made = run(create_topics(program, settings), TopicsError)
        click.echo(table([(o.topic, f"{o.partitions} partitions", o.outcome) for o in made]))
        found = run(topic_problems(program, settings), TopicsError)
        for problem in found:
            click.echo(str(problem), err=True)
        sys.exit(1 if found else 0)

    @commands.command("worker", short_help="Run a worker.")
    def worker() -> None:
        """Run a worker until Ctrl-C or SIGTERM; its settings are those of `onhand worker`."""
        _work(program, _settings(program))

    commands()


def _settings(program: Program, **options: Any) -> Settings:
    try:
        return program.settings(**options)
    except SettingsError as error:
        refuse(str(error))


def _work(program: Program, settings: Settings) -> None:
    from app.programs.wiring import build_program  # Faust takes a second to load

    try:
        app = build_program(program, settings)
    except (DataFolderInUse, StoreFailed, AccessError) as error:
        refuse(str(error))
    sys.argv = [sys.argv[0], "worker", "-l", "info"]
    app.main()
