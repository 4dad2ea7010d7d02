"""`onhand worker`: this process becomes Faust's."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from app.commands.running import settings_from

#: What `faust worker` takes: asked of Faust itself, which takes 2 s to load, what is wrong would
#: be told by another command than the one that was typed.
FAUST_OPTIONS = click.Command(
    "worker",
    params=[
        click.Option(["--with-web/--without-web"]),
        click.Option(["-p", "--web-port"]),
        click.Option(["--web-transport"]),
        click.Option(["-b", "--web-bind"]),
        click.Option(["-h", "--web-host"]),
        click.Option(["-f", "--logfile"]),
        click.Option(["-l", "--loglevel"]),
        click.Option(["--blocking-timeout"]),
        click.Option(["--console-port"]),
    ],
)


def check_faust_options(given: Sequence[str]) -> None:
    """Refuse what Faust does not know; ends the command."""
    try:
        FAUST_OPTIONS.make_context("worker", list(given))
    except click.UsageError as error:
        said = error.format_message().removesuffix(".")
        raise click.UsageError(
            f"{said}. A worker is told what to do by ONHAND_… variables: `onhand settings` shows "
            "them, and a few options of Faust's may follow here."
        ) from None


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
    check_faust_options(faust_options)
    settings_from()  # bad settings are told at once, not after Faust's 2 s
    command = [sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info", *faust_options]
    os.execv(sys.executable, command)  # noqa: S606 - no shell; the worker takes this process over
