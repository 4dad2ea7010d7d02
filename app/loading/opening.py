"""What a load needs beside a file: a map, a catalogue, a list of places; and files read by it."""

from __future__ import annotations

import gc
from collections.abc import Callable

import msgspec

from app.loading.checking import MOST_LEVELS, Opened
from app.loading.facts import FactMaker
from app.loading.found.spool import Spool
from domain.rules.held import CURRENT
from domain.rules.sets import RuleSet
from importers.documents.catalogue import Catalogue, read_catalogue
from importers.documents.excel.archive import MAX_PART_BYTES
from importers.documents.known import TABLES, UnknownFormat, known_format, table_format
from importers.documents.lists import ListError
from importers.documents.places import PlaceList, read_places
from importers.documents.port import Format
from importers.documents.sheets.maps import SheetMap, read_sheet_map
from importers.mapfile import MapError


def collect_seldom() -> None:
    """For a process that only loads: what its lines leave behind is freed by counting alone.

    The collector looked at each element of XML again and again, for a third of all CPU.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class PartWrong(Exception):
    """What a load was given beside a file cannot be used.

    part: which; problems: one sentence each.
    """

    def __init__(self, part: str, problems: list[str]) -> None:
        self.part, self.problems = part, problems
        super().__init__("\n".join(problems))


class GivenParts(msgspec.Struct, frozen=True, kw_only=True):
    """What a load was given beside a file, each None where it was not.

    map: of a table, TOML; catalogue, places: CSV; all as bytes. format_name: of the file.
    document: how a table is known. with_tests: take test documents as real ones.
    """

    map: bytes | None = None
    catalogue: bytes | None = None
    places: bytes | None = None
    format_name: str | None = None
    document: str | None = None
    with_tests: bool = False


def opened_by(
    given: GivenParts,
    rules: RuleSet = CURRENT,
    may_write: Callable[[str, str], str | None] | None = None,
    most_bytes: int = MAX_PART_BYTES,
    most_levels: int = MOST_LEVELS,
    spool: Spool | None = None,
) -> Opened:
    """How files are read.

    Args:
        given: beside them.
        rules: see `Opened`.
        may_write: see `Opened`.
        most_bytes: of one part of a workbook, unpacked.
        most_levels: see `Opened`.
        spool: see `Opened`.

    Raises:
        PartWrong: it cannot be used.
    """
    by = _format_of(given, most_bytes)
    return Opened(
        FactMaker(_items(given), _places(given)),
        with_tests=given.with_tests,
        given=by,
        name=given.format_name,
        rules=rules,
        may_write=may_write,
        most_levels=most_levels,
        spool=spool,
    )


def _format_of(given: GivenParts, most_bytes: int) -> Callable[[str, bytes], Format] | None:
    if given.map is None:
        if given.format_name in TABLES:
            raise PartWrong(
                "format",
                ["A table needs a map: --draft-mapping writes one, and --map takes it."],
            )
        return None
    if given.format_name not in (None, *TABLES):
        told = f"--map is of a table, and --format is {given.format_name}: leave one of them out."
        raise PartWrong("format", [told])
    by = _map(given.map)

    def table(name: str, head: bytes) -> Format:
        if given.format_name is None and (other := known_format(head)) is not None:
            raise UnknownFormat(
                f"It is {other.name}, which needs no map, and this one is of a table: load "
                "it without --map."
            )
        known = given.document or name
        if not known:
            raise UnknownFormat(
                "A table is known by the name of its file, and it has none: name it with "
                "--document."
            )
        return table_format(head, by, known, given.format_name, most_bytes)

    return table


def _map(data: bytes) -> SheetMap:
    try:
        return read_sheet_map(data.decode())
    except UnicodeDecodeError as error:
        raise PartWrong(
            "map", [f"The file is not UTF-8, at byte {error.start + 1:,}: save it as UTF-8."]
        ) from None
    except MapError as error:
        raise PartWrong("map", error.problems) from None


def _items(given: GivenParts) -> Catalogue:
    try:
        return Catalogue(None) if given.catalogue is None else read_catalogue(given.catalogue)
    except ListError as error:
        raise PartWrong("catalogue", error.problems) from None


def _places(given: GivenParts) -> PlaceList:
    try:
        return PlaceList({}) if given.places is None else read_places(given.places)
    except ListError as error:
        raise PartWrong("places", error.problems) from None
