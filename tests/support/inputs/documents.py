"""A format of the tests' own, with all that a reader may give: one line of text a part."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO

from app.loading.checking import Opened
from app.loading.facts import FactMaker
from importers.documents.catalogue import Catalogue
from importers.documents.places import PlaceList
from importers.documents.port import (
    BrokenDocument,
    Document,
    DocumentPart,
    ForeignName,
    Format,
    LevelLine,
    MovedLine,
    Movement,
    OtherLine,
    RefusedLine,
    RevokingLine,
)


def a_line(number: int, quantity: str = "1", **other: str | None) -> MovedLine:
    return MovedLine(
        where=f"line {number}",
        number=str(number),
        movement=Movement.SOLD,
        item=ForeignName("sku", f"SKU-{number % 7}"),
        place=ForeignName("location", "shop-7"),
        quantity=Decimal(quantity),
        **other,
    )


def parts_of(text: str) -> Iterator[DocumentPart]:
    """One part a line.

    `doc NAME`, `doc NAME called NAME`, `test NAME`, `sold N`, `level`, `level N TIME`, `revoke`,
    `revoke NAME`, `revoke NAME line N`, `other`, `refused`; `end N` counts.
    """
    rank = lines = 0
    for number, row in enumerate(text.splitlines(), 1):
        word, _, rest = row.partition(" ")
        where = {"where": f"line {number}", "number": str(number)}
        here = {"item": ForeignName("sku", "A"), "place": ForeignName("location", "shop-7")}
        rank += 1
        if word in ("doc", "test"):
            name, _, called = rest.partition(" called ")
            yield Document(
                identity=name, where=where["where"], is_test=word == "test", called=called or None
            )
            rank = 0
            continue
        if word == "end":
            if int(rest) != lines:
                raise BrokenDocument(f"Line {number} says {rest} lines, and there are {lines}.")
            continue
        lines += 1
        if word == "sold":
            yield a_line(number, rest)
        elif word == "level":
            amount, _, time = rest.partition(" ")
            counted = {"quantity": Decimal(amount or 1), "time": time or None}
            yield LevelLine(**counted, **where, **here)  # type: ignore[arg-type]
        elif word == "revoke":
            name, _, line = rest.partition(" line ")
            yield RevokingLine(document=name or "other", revoked=line or None, **where)
        elif word == "other":
            yield OtherLine(rule="A rule.", **where)
        else:
            yield RefusedLine(sentence="A reason.", **where)


def _read(file: BinaryIO) -> Iterator[DocumentPart]:
    yield from parts_of(file.read().decode())


TOY = Format(name="toy", looks_like=lambda head: True, read=_read)


def opened(*, with_tests: bool = False) -> Opened:
    """Reads files of that format."""
    make = FactMaker(Catalogue(None), PlaceList({}))
    return Opened(make, with_tests=with_tests, given=lambda path, head: TOY, name=None)


def written(folder: Path, text: str, name: str = "a.toy") -> Path:
    path = folder / name
    path.write_text(text)
    return path
