"""`onhand worker`: this process becomes Faust's."""

from __future__ import annotations

import os
import sys

import click

from app.commands.running import settings_from


@click.command(
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
        settings_from()  # bad settings are told at once, not after Faust's 2 s
    command = [sys.executable, "-m", "faust", "-A", "app", "worker", "-l", "info", *faust_options]
    os.execv(sys.executable, command)  # noqa: S606 - no shell; the worker takes this process over
