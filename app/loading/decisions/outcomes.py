"""What `onhand load` says of counts, and of what is taken back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click
import msgspec

from app.commands.console import plain, table
from app.loading.decisions.deciding import LevelBecame, LevelDecision
from app.loading.found.loaded import LoadedFile

_FIRST: Final = 10
#: In JSON.
_MOST: Final = 1_000
_HEADER: Final = ("LINE", "BECOMES", "SKU", "LOCATION", "COUNTED", "BOOK", "CHANGE", "TIME")


def levels_sum(decisions: Sequence[LevelDecision]) -> str:
    """How many counts there were, and what became of them; the sum holds."""
    found = Counter(one.became for one in decisions)
    parts = [f"{found[became]:,} {became}" for became in LevelBecame if found[became]]
    return f"{len(decisions):,} counts = {' + '.join(parts)}."


def levels_table(path: str, decisions: Sequence[LevelDecision]) -> str:
    """The first that are not refused."""
    rows = [_row(one) for one in decisions if one.became is not LevelBecame.REFUSED][:_FIRST]
    if not rows:
        return ""
    told = f"\nThe first of {len(decisions):,} counts of {plain(path)}:\n"
    return told + table([_HEADER, *rows], right=[4, 5, 6])


def _row(one: LevelDecision) -> tuple[str, ...]:
    book = "-" if one.book is None else f"{one.book}"
    change = "-" if one.change is None else f"{one.change:+}"
    return (
        *(one.where, one.became, one.sku, one.location, f"{one.counted}", book, change),
        one.time,
    )


def show_levels(path: str, decisions: Sequence[LevelDecision], most: int) -> None:
    """Say why counts are refused; most: so many of them, to stderr; 0: all, to stdout."""
    refused = [one for one in decisions if one.became is LevelBecame.REFUSED]
    for one in refused[:most] if most else refused:
        told = f"{path}, {one.where}, is refused: {one.sentence}"
        click.echo(plain(told), err=bool(most))
    if most and len(refused) > most:
        click.echo(f"… and {len(refused) - most:,} more counts.", err=True)


def levels_as_fields(decisions: Sequence[LevelDecision]) -> dict[str, Any]:
    """For programs: how many became what, and the first."""
    found = Counter(one.became for one in decisions)
    return {
        "sum": {str(became): found[became] for became in LevelBecame if found[became]},
        "first": msgspec.to_builtins(decisions[:_MOST]),
    }


def taken_sentences(loaded: LoadedFile) -> Iterator[str]:
    """What a file took back, and what of it had been taken back before it came."""
    for one in loaded.taken:
        if one.facts:
            yield f"{one.where} took back {one.target}: {one.facts:,} corrections were sent."
        elif one.documents:
            yield f"{one.where} took back {one.target}, which had moved nothing."
        else:
            yield (
                f"{one.where} takes back {one.target}, of which nothing is left to take back: if "
                "it comes later, it counts nothing."
            )
    for identity, by in loaded.late.items():
        yield f"{identity} was taken back by {by} before it came: its facts were not sent."
