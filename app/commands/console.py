"""How the `onhand` command shows things to people and programs."""

from __future__ import annotations

import json
import os
import time
import unicodedata
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import ClassVar, NamedTuple

import click

#: Longer than a person waits gladly without a word, and how often there is one from then on.
GLADLY_S = 2.0
TOLD_EVERY_S = 1.0
#: Control, format, separator, surrogate and unassigned characters: not for a terminal.
_UNSEEN = ("Cc", "Cf", "Zl", "Zp", "Cs", "Cn", "Co")


class Ticker:
    """Says to stderr how far it is, once it has taken longer than a person waits gladly.

    `newest` says so again where nothing new is counted for a while: `app.commands.running.run`
    asks it to, for most of a wait is for others.
    """

    newest: ClassVar[Ticker | None] = None

    def __init__(self, what: str) -> None:
        self._what, self._count = what, 0
        self._next = time.monotonic() + GLADLY_S
        Ticker.newest = self

    def __call__(self, count: int) -> None:
        """Be told that `count` are done so far."""
        self._count = count
        if time.monotonic() > self._next:
            self._next = time.monotonic() + TOLD_EVERY_S
            click.echo(f"{count:,} {self._what} …", err=True)

    def again(self) -> None:
        """It still goes on."""
        self(self._count)


class Cell(NamedTuple):
    """A piece of text with a colour, such as `red`."""

    text: str
    colour: str | None = None


def coloured(cell: Cell) -> str:
    """For `click.echo`, which leaves colours out where no terminal shows them."""
    shown = plain(cell.text)
    if cell.colour is None or os.environ.get("NO_COLOR"):
        return shown
    return click.style(shown, fg=cell.colour)


def plain(text: str, keep: str = "") -> str:
    r"""What came from outside, made harmless for a terminal: `\x1b` for an escape character.

    Args:
        text: anything.
        keep: characters to leave as they are, such as a newline.
    """
    if text.isprintable():
        return text
    return "".join(
        c if c in keep or unicodedata.category(c) not in _UNSEEN else _escaped(c) for c in text
    )


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def print_json(document: object) -> None:
    """One document on one line."""
    click.echo(json.dumps(document, ensure_ascii=False))


def moment(ms: int) -> str:
    """Milliseconds since the epoch as `2026-11-23T10:00:00.123Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def seconds_since(rfc3339: str, now: float | None = None) -> float:
    """How long ago that was; never below 0, for clocks differ."""
    then = datetime.fromisoformat(rfc3339).timestamp()
    return max(0.0, (time.time() if now is None else now) - then)


def span(seconds: float) -> str:
    """`4 s`, `3 min`, `5 h`, `2 days`: in whole numbers of the largest unit."""
    for unit, size, upto in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 2 * 86_400)):
        if seconds < upto:
            return f"{seconds // size:.0f} {unit}"
    return f"{seconds // 86_400:,.0f} days"


def ago(rfc3339: str, now: float | None = None) -> str:
    """`seconds ago`, `3 min ago`, …."""
    seconds = seconds_since(rfc3339, now)
    return "seconds ago" if seconds < 60 else f"{span(seconds)} ago"


def table(rows: Iterable[Iterable[object]], right: Iterable[int] = ()) -> str:
    """Columns two spaces apart; those numbered in `right` are right-aligned."""
    cells = [[cell if isinstance(cell, Cell) else Cell(str(cell)) for cell in row] for row in rows]
    text = [[plain(cell.text) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    pads: list[Callable[[str, int], str]] = [
        str.rjust if column in right else str.ljust for column in range(len(widths))
    ]
    lines = []
    for row in cells:
        padded = [
            Cell(pad(plain(cell.text), wide), cell.colour)
            for pad, cell, wide in zip(pads, row, widths, strict=True)
        ]
        padded[-1] = Cell(padded[-1].text.rstrip(), padded[-1].colour)
        lines.append("  ".join(coloured(cell) for cell in padded).rstrip())
    return "\n".join(lines)
