"""`onhand export`: the ledger as Parquet files by day, for DuckDB, pandas, polars and the like."""

from __future__ import annotations

from pathlib import Path

import click

from app.commands.console import Ticker, print_json
from app.commands.running import as_json, refuse, settings_from


@click.command("export", short_help="Write the ledger as Parquet files, by day.")
@click.option(
    "--to",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder; the first time an empty or new one.",
)
@as_json
def export_command(folder: Path, as_json: bool) -> None:
    """Write what came to the ledger since the last export into a folder.

    Every record is in it once, in facts/day=YYYY-MM-DD/ by the UTC day in which the log took it.
    Killed at any moment, the next call goes on. A manifest says from and to which positions each
    export goes: two that follow each other join without gap or overlap.
    """
    from app.commands.past.chain import ledger_of
    from ledger.engine import LedgerUnavailable
    from ledger.export.exporting import Exporter
    from ledger.export.plan import ExportRefused

    settings = settings_from()
    try:
        ledger = ledger_of(settings)
        if ledger is None:
            refuse(
                f"There is no ledger at {settings.ledger_database}: start one with `onhand ledger "
                "worker`, or name its database by ONHAND_LEDGER_URL."
            )
        topics = list(settings.source_topics.values())
        exporter = Exporter(
            ledger, settings.ledger_group, topics, settings.partitions, folder,
            Ticker("lines written"),
        )  # fmt: skip
        try:
            manifest = exporter.run()
        finally:
            ledger.close()
    except (ExportRefused, LedgerUnavailable) as error:
        refuse(str(error))
    rows, files = (manifest.rows, len(manifest.files)) if manifest else (0, 0)
    if as_json:
        name = f"manifest-{manifest.number:05}.json" if manifest else None
        print_json({"manifest": name, "rows": rows, "files": files})
    elif manifest is None:
        click.echo("Nothing came since the last export.")
    else:
        days = sorted({file.day for file in manifest.files})
        span = f", {days[0]} to {days[-1]}" if days else ""
        plural = "" if files == 1 else "s"
        click.echo(
            f"{rows:,} lines in {files:,} file{plural}{span}: {folder} (export {manifest.number})."
        )
