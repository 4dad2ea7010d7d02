"""The `onhand` command. Everything but click is imported when needed: it starts in 0.3 s.

Exit codes: 0 done; 1 the answer is no (unknown SKU, topics that are wrong); 2 it could not
be asked (wrong usage or settings, nobody answers). Refusals are one plain sentence on stderr.
"""

from __future__ import annotations

import os
import sys

import click

from app import __version__
from app.alerts.commands import alerts_commands
from app.commands.bridge import bridge
from app.commands.dlq import dlq
from app.commands.fact import fact
from app.commands.past.audit import audit
from app.commands.past.export import export_command
from app.commands.past.history import explain, history
from app.commands.past.ledger import ledger
from app.commands.past.report import report
from app.commands.post import adjust, post
from app.commands.running import Commands, refuse
from app.commands.scan import scan
from app.commands.settings import show_settings
from app.commands.status import status
from app.commands.stock import list_command, stock
from app.commands.token import token
from app.commands.topics import topics
from app.commands.worker import worker
from app.loading.commands import load
from app.planning.commands import plan_command
from app.upgrades.commands import upgrade_commands


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="onhand")
def cli() -> None:
    """Stock by SKU and location, from an immutable log of shipments and sales.

    Settings come from ONHAND_… variables (`onhand settings` lists them). An option beats its
    variable.
    """


@click.command(
    short_help="Play a chain of shops.", context_settings={"ignore_unknown_options": True}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def traffic(arguments: tuple[str, ...]) -> None:
    """Send the facts of a believable chain of shops; in a checkout only."""
    refuse("`onhand traffic` needs the folder dev/ of the checkout: run it there.")


_COMMANDS: tuple[click.Command, ...] = (
    *(
        worker,
        ledger,
        topics,
        status,
        stock,
        list_command,
        post,
        adjust,
        fact,
        history,
        explain,
        audit,
        report,
        export_command,
        scan,
        load,
        dlq,
        alerts_commands,
        bridge,
        upgrade_commands,
        token,
        show_settings,
        plan_command,
        traffic,
    ),
)
for _command in _COMMANDS:
    cli.add_command(_command)


def main() -> int:
    """Entry point; click's own errors are already sentences."""
    try:
        cli(prog_name="onhand")
    except BrokenPipeError:  # `onhand dlq list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except UnicodeEncodeError:
        # Bytes of a shell that are no text can name a file, and nothing else.
        if (odd := next((one for one in sys.argv if not _is_text(one)), None)) is None:
            raise
        refuse(f"{odd!a} is no text in UTF-8.")
    return 0


def _is_text(argument: str) -> bool:
    """Python keeps each byte that is no UTF-8 as half of a surrogate pair."""
    return not any("\ud800" <= char <= "\udfff" for char in argument)
