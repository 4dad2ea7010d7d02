"""`onhand scan`: what a scan means, or why it means nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

import click

from app.commands.console import plain, print_json
from app.commands.running import as_json, refuse

if TYPE_CHECKING:
    from importers.items import NotAnItem, ScannedItem


@click.command(short_help="What a scan means: SKU, quantity, unit.")
@click.argument("line", nargs=-1)
@click.option("--region", metavar="XX", help="Whose rules numbers 02 and 20–29 follow, such as NO.")
@click.option("--chain", metavar="NAME", help="Whose own numbers are those of 04.")
@click.option("--gs", metavar="SIGN", help="The sign that the scanner sends in place of GS.")
@click.option("--session", metavar="NAME", help="Of a count: tags and serials get ids from it.")
@as_json
def scan(
    line: tuple[str, ...],
    region: str | None,
    chain: str | None,
    gs: str | None,
    session: str | None,
    as_json: bool,
) -> None:
    """Tell what each LINE of a scanner, a label or an RFID reader means.

    Without LINE, or with -, they are read from the keyboard or a pipe: start it and scan. A tag
    or a serial that comes again is told as read before. Exit code 1: a line was no item.
    """
    from importers.items import ScannedItem, Setup, SetupError
    from importers.scans import read
    from importers.sessions import Session

    try:
        setup = Setup(region=region, chain=chain, gs=gs)
    except SetupError as error:
        refuse(str(error))
    seen = Session(session)
    good = True
    for text in _lines(line):
        meant = read(text, setup)
        if isinstance(meant, ScannedItem):
            meant = seen.take(meant)
        good = good and isinstance(meant, ScannedItem)
        _show(meant, as_json)
    sys.exit(0 if good else 1)


def _show(meant: ScannedItem | NotAnItem, as_json: bool) -> None:
    import msgspec

    from importers.items import ScannedItem

    if as_json:
        print_json(msgspec.to_builtins(meant))
    elif isinstance(meant, ScannedItem):
        beside = ", ".join(f"{name} {value}" for name, value in meant.beside.items())
        said = f"{meant.sku}  {meant.quantity} {meant.unit}  {beside}"
        click.echo(plain(said.rstrip()))
    else:
        click.echo(plain(meant.sentence), err=True)


def _lines(given: tuple[str, ...]) -> Iterator[str]:
    if given and given != ("-",):
        yield from given
        return
    yield from _typed(click.get_text_stream("stdin", errors="backslashreplace"))


def _typed(stream: TextIO) -> Iterator[str]:
    """Lines, ended by a newline or a return alone, never by GS; a longer one is cut to fit."""
    from importers.scans import MAX_CHARS

    while line := stream.readline(MAX_CHARS + 2):
        whole = line
        while whole and not whole.endswith("\n"):
            whole = stream.readline(MAX_CHARS)
        if line.strip():
            yield line
