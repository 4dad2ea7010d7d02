"""`onhand load`: what documents say becomes facts, or is only looked at."""

from __future__ import annotations

import sys
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from app.commands.console import Ticker, plain
from app.commands.running import (
    as_json,
    authorities_of_command,
    kafka_option,
    refuse,
    run,
    settings_from,
    token_of_command,
    url_option,
    workers_of,
)
from core.words import in_words

if TYPE_CHECKING:
    from app.config import Settings
    from app.loading.checking import CheckedFile, Opened
    from app.loading.decisions.asking import WorkersAsked
    from app.loading.decisions.settling import Settled
    from app.loading.found.loaded import LoadedFile

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="Make facts of documents, such as CSV and Excel files.")
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_file)
@click.option("--map", "map_file", metavar="FILE", type=_file, help="Of a table: what is what.")
@click.option(
    "--draft-mapping",
    metavar="FILE",
    help="Write a map for the table, with questions to answer, and end; - shows it.",
)
@click.option("--format", "format_name", metavar="NAME", help="Default: known by the content.")
@click.option("--catalogue", metavar="FILE", type=_file, help="Items: numbers to SKUs and units.")
@click.option("--places", metavar="FILE", type=_file, help="Places: numbers to locations, zones.")
@click.option("--document", metavar="NAME", help="Of a table. Default: the name of its file.")
@click.option("--dry-run", is_flag=True, help="Show what would become of each line, and end.")
@click.option("--leave-out-refused", is_flag=True, help="Load the rest where lines are refused.")
@click.option("--test", "with_tests", is_flag=True, help="Load documents marked as a test, too.")
@kafka_option
@url_option
@as_json
def load(
    files: tuple[Path, ...],
    draft_mapping: str | None,
    dry_run: bool,
    leave_out_refused: bool,
    as_json: bool,
    kafka: str | None,
    url: tuple[str, ...],
    **reading: Any,
) -> None:
    """Make facts of the lines of each FILE: all of it, or nothing.

    Every file is read to its end and checked before the first fact is sent. A line is a fact, a
    count, a revocation, not for stock, or refused with the reason; a refused line stops the load,
    unless it is left out. A count becomes an adjustment against the stock at its own moment, for
    which a worker is asked. What was loaded is remembered for ever: loading it again is refused,
    and a load that was broken off goes on where it was. docs/loading.md shows how.

    Exit code 1: something was refused, or was loaded before.
    """
    if draft_mapping is not None:
        _draft(files, draft_mapping)
    if reading["document"] is not None and (len(files) > 1 or reading["map_file"] is None):
        refuse("--document names one table: give one FILE, and its --map.")
    opened = _opened(keeps=not dry_run, **reading)
    settings = settings_from(kafka=kafka)
    from app.loading.checking import FileRefused, refuse_twice
    from app.loading.decisions.asking import Unasked
    from app.loading.given import FileOnDisk
    from app.loading.showing import LoadingShown
    from wire.whole import RecordsError

    shown = LoadingShown(as_json=as_json, is_dry_run=dry_run)
    ticker = Ticker("lines checked")
    try:
        given = [FileOnDisk(path) for path in files]
        checked = [opened.check(one, shown.teller(one), ticker) for one in given]
        refuse_twice(checked)
    except FileRefused as why:
        _no(f"{why} Nothing was sent.")
    refused = any(one.equation.refused for one in checked)
    if dry_run:
        shown.checked(checked, *_looked(settings, opened, checked, url))
        sys.exit(1 if any(one.equation.refused for one in checked) else 0)
    if refused and not leave_out_refused:
        shown.stopped(checked)
        sys.exit(1)
    is_named = reading["document"] is not None
    work = _sent(settings, opened, checked, url, is_named, leave_out_refused)
    try:
        loaded = run(work, RecordsError, Unasked)
    except FileRefused as why:
        _no(str(why))
    shown.loaded(loaded)
    sys.exit(1 if any(one.refused for one in loaded) else 0)


async def _sent(
    settings: Settings,
    opened: Opened,
    checked: list[CheckedFile],
    url: tuple[str, ...],
    is_named: bool,
    leave_out_refused: bool,
) -> list[LoadedFile]:
    """Send them; workers are asked where there are counts."""
    from app.loading.sending import send_all

    async with AsyncExitStack() as stack:
        asked = None
        if any(one.levels for one in checked):
            asked = await stack.enter_async_context(_workers(url))
        return await send_all(
            *(settings, opened, checked),
            is_named=is_named,
            said=Ticker("lines sent"),
            asked=asked,
            leave_out_refused=leave_out_refused,
        )


def _workers(url: tuple[str, ...], **how: float) -> AbstractAsyncContextManager[WorkersAsked]:
    from app.loading.decisions.asking import workers_asked

    return workers_asked(workers_of(url), token_of_command(), authorities_of_command(), **how)


def _looked(
    settings: Settings, opened: Opened, checked: list[CheckedFile], url: tuple[str, ...]
) -> tuple[Settled, str]:
    """What counts would become, as far as a worker says so now; why not, if none does.

    What moved in containers, too, by what these files say of them.
    """
    from app.loading.decisions.asking import Unasked
    from app.loading.decisions.deciding import undecided
    from app.loading.decisions.settling import settle_alone

    levels = [level for one in checked for level in one.levels]

    async def look() -> tuple[Settled, str]:
        if not levels:
            return await settle_alone(settings, opened, checked, None), ""
        try:
            async with _workers(url, patience_s=0) as asked:
                return await settle_alone(settings, opened, checked, asked), ""
        except Unasked as why:
            settled = await settle_alone(settings, opened, checked, None)
            settled.decided = undecided(levels)
            return settled, str(why)

    return run(look())


def _no(sentence: str) -> NoReturn:
    """End the command: the answer is no."""
    click.echo(plain(sentence), err=True)
    sys.exit(1)


def _draft(files: tuple[Path, ...], to: str) -> NoReturn:
    """Write the draft of a map, and end the command."""
    from app.loading.given import FileOnDisk
    from importers.documents.known import UnknownFormat, draft_table
    from importers.documents.port import BrokenDocument

    if len(files) > 1:
        refuse("--draft-mapping looks at one table: give one FILE; its map will do for all alike.")
    try:
        with files[0].open("rb") as file:
            text = draft_table(file, FileOnDisk(files[0]).name)
        if to == "-":
            click.echo(text, nl=False)
        else:
            with Path(to).open("x", encoding="utf-8") as new:
                new.write(text)
    except FileExistsError:
        refuse(f"{to} is there already: name another file, or remove it.")
    except OSError as error:
        refuse(f"{error.filename} cannot be opened: {error.strerror}.")
    except (BrokenDocument, UnknownFormat) as why:
        _no(f"{files[0]}: {why}")
    if to != "-":
        click.echo(f"Wrote {plain(to)}: answer each ? in it, then try it with --dry-run.")
    sys.exit(0)


def _opened(
    map_file: Path | None,
    format_name: str | None,
    catalogue: Path | None,
    places: Path | None,
    document: str | None,
    with_tests: bool,
    *,
    keeps: bool,
) -> Opened:
    """How files are to be read; ends the command where that cannot be."""
    from app.loading.found.spool import Spool
    from app.loading.opening import GivenParts, PartWrong, collect_seldom, opened_by

    collect_seldom()
    kept = Spool()
    click.get_current_context().call_on_close(kept.close)
    paths = {"map": map_file, "catalogue": catalogue, "places": places}
    path = map_file
    try:
        found: dict[str, bytes | None] = {}
        for part, path in paths.items():
            found[part] = None if path is None else path.read_bytes()
        return opened_by(
            GivenParts(format_name=format_name, document=document, with_tests=with_tests, **found),
            spool=kept if keeps else None,
        )
    except PartWrong as wrong:
        of = paths.get(wrong.part)
        before = "" if of is None else f"{of}: "
        refuse("\n".join(plain(before + told) for told in wrong.problems))
    except OSError as error:
        refuse(f"{path} cannot be read: {in_words(error)}.")
