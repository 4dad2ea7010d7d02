"""How the `onhand` command shows things to people and programs."""

import json
import time
from collections.abc import Callable, Iterable

import click

_SILENT_S = 2.0
_EVERY_S = 1.0


class Progress:
    """Says to stderr how far it is, once it has taken longer than a person waits gladly."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._next = time.monotonic() + _SILENT_S

    def __call__(self, count: int) -> None:
        """Be told that `count` are done so far."""
        if time.monotonic() > self._next:
            self._next = time.monotonic() + _EVERY_S
            click.echo(f"{count:,} {self._what} …", err=True)


def print_json(document: object) -> None:
    """One document on one line."""
    click.echo(json.dumps(document, ensure_ascii=False))


def moment(ms: int) -> str:
    """Milliseconds since the epoch as `2026-11-23T10:00:00.123Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def table(rows: Iterable[Iterable[object]], right: Iterable[int] = ()) -> str:
    """Columns two spaces apart; those numbered in `right` are right-aligned."""
    text = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    pads: list[Callable[[str, int], str]] = [
        str.rjust if column in right else str.ljust for column in range(len(widths))
    ]
    return "\n".join(
        "  ".join(
            pad(cell, wide) for pad, cell, wide in zip(pads, row, widths, strict=True)
        ).rstrip()
        for row in text
    )
