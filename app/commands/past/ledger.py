"""`onhand ledger worker`: this process becomes Faust's, with the ledger."""

from __future__ import annotations

import os
import sys

import click

from app.commands.running import Commands, as_json, refuse


@click.group(cls=Commands, short_help="Keep every fact in SQL, and answer for the past.")
def ledger() -> None:
    """History: what was in stock at any time, and why.

    A ledger is a process of its own. Inventory workers do not need it, and pass questions about
    the past on to one that runs.
    """


@ledger.command(
    "worker",
    short_help="Run a ledger.",
    context_settings={
        "ignore_unknown_options": True,
        "allow_extra_args": True,
        "help_option_names": ["--help"],  # -h is one of Faust's
    },
)
@click.argument("faust_options", nargs=-1, type=click.UNPROCESSED, metavar="[FAUST OPTIONS]")
def ledger_worker(faust_options: tuple[str, ...]) -> None:
    """Keep a ledger until Ctrl-C or SIGTERM.

    It writes every record of the log to ONHAND_LEDGER_URL (by default a SQLite file in
    ONHAND_DATA_DIR) and answers at port 6166, unless ONHAND_WEB_PORT says another one. Several
    may share a PostgreSQL; a SQLite file takes one. What it has not read yet it reads at its
    first start, from the beginning of the log.

    It is the same as `faust -A app.ledger worker -l info`. It ends with code 0 after a stop, 2 if
    it refused to start, 70 if it must not go on.
    """
    from app.commands.worker import check_faust_options
    from app.config import Settings, SettingsError

    check_faust_options(faust_options)
    try:
        Settings.of_ledger()  # bad settings are told at once, not after Faust's 2 s
    except SettingsError as error:
        refuse(str(error))
    faust = [sys.executable, "-m", "faust", "-A", "app.ledger", "worker", "-l", "info"]
    os.execv(sys.executable, [*faust, *faust_options])  # noqa: S606 - no shell; it takes this process over


@ledger.command("compact", short_help="Keep what is old as one sum for each row.")
@click.option("--before", required=True, metavar="TIME", help="Such as 2026-01-01T00:00:00Z.")
@as_json
def ledger_compact(before: str, as_json: bool) -> None:
    """Delete lines that were recorded before TIME, and keep one sum for each row for them.

    Stock and later answers stay as they are; earlier questions get `before-history` from then on.
    The log is not touched: a ledger in another database can tell it all again. Lines that the
    duplicates window needs are kept. It may run beside a ledger, and be stopped at any time.
    """
    from app.commands.console import Ticker, print_json
    from app.config import Settings, SettingsError
    from ledger.engine import LedgerUnavailable
    from ledger.upkeep.compacting import compact_ledger

    try:
        settings = Settings.of_ledger()
        done = compact_ledger(
            settings.ledger_database,
            settings.ledger_group,
            before,
            settings.dedup_window,
            Ticker("lines"),
        )
    except (SettingsError, LedgerUnavailable) as error:
        refuse(str(error))
    if as_json:
        print_json(done._asdict())
        return
    kept = f" {done.kept:,} more are kept for the duplicates window." if done.kept else ""
    click.echo(f"{done.lines:,} lines from before {before} are kept as sums.{kept}")
