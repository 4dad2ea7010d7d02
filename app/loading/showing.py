"""What `onhand load` says: for people line by line, for programs as one document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click
import msgspec

from app.commands.console import plain, print_json, table
from app.loading.checking import CheckedFile
from app.loading.decisions.outcomes import (
    levels_as_fields,
    levels_sum,
    levels_table,
    show_levels,
    taken_sentences,
)
from app.loading.decisions.settling import Settled
from app.loading.facts import LineFact
from app.loading.found.loaded import LoadedFile
from app.loading.given import GivenFile
from app.loading.pieces import Became, NoFact

#: Of refused lines so many are named where they stop a load.
_NAMED: Final = 20
#: In JSON.
_NAMED_IN_JSON: Final = 1000


class LoadingShown:
    """Says what becomes of files.

    Args:
        as_json: for programs.
        is_dry_run: name each line that is no fact.
    """

    def __init__(self, *, as_json: bool, is_dry_run: bool) -> None:
        self._as_json, self._is_dry_run = as_json, is_dry_run
        self._named: dict[str, list[NoFact]] = {}
        self._refused = 0

    def teller(self, file: GivenFile) -> Callable[[NoFact], None]:
        """Is given the lines of a file that are no facts."""
        named = self._named.setdefault(str(file), [])

        def told(one: NoFact) -> None:
            if self._as_json:
                if len(named) < _NAMED_IN_JSON:
                    named.append(one)
            elif self._is_dry_run:
                click.echo(_sentence(file, one))
            elif one.became is Became.REFUSED:
                self._refused += 1
                if self._refused <= _NAMED:
                    click.echo(_sentence(file, one), err=True)

        return told

    def checked(self, files: Sequence[CheckedFile], settled: Settled, why: str) -> None:
        """The end of a dry run; why: counts were not decided, as a sentence."""
        if self._as_json:
            fields = [
                {
                    **self._as_fields(file, settled.closed_of(file)),
                    "counts": levels_as_fields(settled.decisions_of(file)),
                }
                for file in files
            ]
            print_json({"dry_run": True, "undecided_because": why or None, "files": fields})
            return
        for file in files:
            for one in file.revocations:
                what = "a line of it" if one.line is not None else "all of it"
                takes = f"takes back {one.target}, {what}, if it was loaded"
                click.echo(plain(f"{file.file}, {one.where}, {takes}."))
            if file.first:
                click.echo(
                    f"\nThe first of {file.equation.facts:,} facts of {plain(str(file.file))}:"
                )
                rows = [_row(fact) for fact in file.first]
                header = ("LINE", "BECOMES", "SKU", "LOCATION", "QUANTITY", "TIME", "ID")
                click.echo(table([header, *rows], right=[4]))
            self._say(file.file, closed := settled.closed_of(file))
            if any(one.became is Became.UNDECIDED for one in closed):
                click.echo("What earlier loads said of containers is looked up by a load.")
            if decisions := settled.decisions_of(file):
                show_levels(str(file.file), decisions, 0)
                click.echo(levels_table(str(file.file), decisions))
        click.echo("")
        for file in files:
            click.echo(plain(f"{file.file} ({file.format.name}): {file.equation}."))
            if decisions := settled.decisions_of(file):
                click.echo(levels_sum(decisions))
        if why:
            click.echo(plain(why))
        click.echo("Nothing was sent.")

    def stopped(self, files: Sequence[CheckedFile]) -> None:
        """Refused lines stop the load."""
        refused = sum(file.equation.refused for file in files)
        told = (
            f"Nothing was sent, because of what is refused ({refused:,}): correct it, or load the "
            "rest with --leave-out-refused. --dry-run shows all of it."
        )
        if self._as_json:
            fields = [self._as_fields(file) for file in files]
            print_json({"sent": 0, "refused": told, "files": fields})
            return
        self._say_more()
        for file in files:
            click.echo(plain(f"{file.file}: {file.equation}."), err=True)
        click.echo(told, err=True)

    def loaded(self, files: Sequence[LoadedFile]) -> None:
        """The end of a load."""
        if self._as_json:
            fields = [
                {
                    **self._as_fields(one.file, one.closed),
                    "sent": one.sent,
                    "lines_sent_before": one.went_on,
                    "refused_because": one.refused or None,
                    "counts": levels_as_fields(one.levels),
                    "taken_back": msgspec.to_builtins(one.taken),
                    "too_late": one.late,
                }
                for one in files
            ]
            print_json({"sent": sum(one.sent for one in files), "files": fields})
            return
        self._say_more()
        for one in files:
            self._say(one.file.file, one.closed)
            show_levels(str(one.file.file), one.levels, _NAMED)
            if one.refused:
                click.echo(plain(f"{one.file.file}: {one.refused}"), err=True)
                continue
            before = f" {one.went_on:,} lines were acknowledged before." if one.went_on else ""
            click.echo(plain(f"{one.file.file} ({one.file.format.name}): {one.file.equation}."))
            if one.levels:
                click.echo(levels_sum(one.levels))
            for sentence in taken_sentences(one):
                click.echo(plain(sentence))
            click.echo(f"{one.sent:,} facts were sent.{before}")

    def _say_more(self) -> None:
        """How many refused lines were not named."""
        if self._refused > _NAMED:
            click.echo(f"… and {self._refused - _NAMED:,} more.", err=True)

    def _say(self, file: GivenFile, closed: Sequence[NoFact]) -> None:
        told = self.teller(file)
        for one in closed:
            told(one)

    def _as_fields(self, file: CheckedFile, closed: Sequence[NoFact] = ()) -> dict[str, Any]:
        self._say(file.file, closed)
        return {
            "file": str(file.file),
            "format": file.format.name,
            "documents": len(file.documents),
            **msgspec.to_builtins(file.equation),
            "no_facts": msgspec.to_builtins(self._named.get(str(file.file), [])),
            "first_facts": [msgspec.json.decode(fact.value) for fact in file.first],
        }


def _sentence(file: GivenFile, one: NoFact) -> str:
    return plain(f"{file}, {one.where}, is {one.became}: {one.sentence}")


def _row(fact: LineFact) -> tuple[str, ...]:
    event = msgspec.json.decode(fact.value)
    kind = event["type"].removeprefix("inventory.").removesuffix(".v1")
    cells = (str(event["data"][name]) for name in ("sku", "location", "quantity"))
    return (fact.where, kind, *cells, event.get("time", "-"), event["id"])
