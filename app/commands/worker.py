"""`onhand worker`: this process becomes Faust's."""

from __future__ import annotations

import os
import sys

import click

from app.commands.running import settings_from


@click.command(
    short_help="Run a worker.",
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "help_option_names": ["--help"],  # -h is one of Faust's
    },
)
@click.argument("faust_options", nargs=-1, type=click.UNPROCESSED, metavar="[FAUST OPTIONS]")
def worker(faust_options: tuple[str, ...]) -> None:
    """Run a worker until Ctrl-C or SIGTERM.

    It counts the facts of its partitions, keeps their rows in ONHAND_DATA_DIR and answers at
    ONHAND_URL. Several workers share the partitions among them: give each its own ONHAND_WEB_PORT
    and ONHAND_DATA_DIR. `onhand topics create` comes first. `onhand settings` shows all settings.

    It ends with code 0 after a stop, 2 if it refused to start, 70 if it must not go on. The log
    goes to stderr; ONHAND_LOG_FORMAT=json makes each line a JSON document.

    It is the same as `faust -A app worker -l info`; `faust -A app worker --help` lists the options
    of Faust's that may follow.
    """
    settings_from()  # bad settings are told at once, not after Faust's 2 s
    command = [sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info", *faust_options]
    os.execv(sys.executable, command)  # noqa: S606 - no shell; the worker takes this process over
