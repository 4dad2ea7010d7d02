"""Which location a place of a document is, and what time it is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from importers.documents.lists import ListReader
from importers.documents.localtimes import zone_of
from importers.documents.port import ForeignName

_COLUMNS: Final = ("scheme", "code", "gln", "location", "zone")
#: Already ours.
_OURS: Final = "location"


class OurPlace(msgspec.Struct, frozen=True):
    """A location of ours; zone: of its clocks, where that is known."""

    location: str
    zone: ZoneInfo | None = None


class PlaceList:
    """The places that are known.

    Args:
        known: by their names in documents.
    """

    def __init__(self, known: Mapping[ForeignName, OurPlace]) -> None:
        self._known = known
        self._ours = {place.location: place for place in known.values()}

    def find(self, name: ForeignName) -> OurPlace:
        """Raises ValueError: it is not known; the text is a sentence with the remedy."""
        if (place := self._known.get(name)) is not None:
            return place
        if name.scheme == _OURS:
            return self._ours.get(name.code) or OurPlace(name.code)
        raise ValueError(
            f"The place {name.code[:128]!a} ({name.scheme}) is not known: add it to the list of "
            "places (--places), with the location that it is."
        )


def read_places(data: bytes) -> PlaceList:
    """Read a CSV file of `gln`, or `scheme` and `code`; `location`; and, where wanted, `zone`.

    Raises:
        ListError: names every problem at once.
    """
    reader = ListReader(data, _COLUMNS, ["location"])
    known: dict[ForeignName, OurPlace] = {}
    zones: dict[str, ZoneInfo | None] = {}
    for line, row in reader.rows():
        location, zone = row["location"], None
        if not location:
            reader.wrong(line, "location is empty: say which it is")
            continue
        try:
            zone = zone_of(row["zone"]) if row.get("zone") else None
            name = foreign_name(row, "gln", default=ForeignName(_OURS, location))
        except ValueError as why:
            reader.wrong(line, str(why))
            continue
        if zones.setdefault(location, zone) != zone:
            reader.wrong(line, f"{location!a} has another zone in a line before")
        if known.setdefault(name, OurPlace(location, zone)).location != location:
            reader.wrong(line, f"{name.code!a} is another location in a line before")
    reader.fail_if_wrong()
    return PlaceList(known)


def foreign_name(
    row: Mapping[str, str], short: str, default: ForeignName | None = None
) -> ForeignName:
    """Of a row: a column that is its own scheme, or `scheme` and `code`.

    Raises:
        ValueError: neither is there; the text has no full stop.
    """
    if row.get(short):
        return ForeignName(short, row[short])
    scheme, code = row.get("scheme", ""), row.get("code", "")
    if scheme and code:
        return ForeignName(scheme.lower(), code)
    if default is None or scheme or code:
        raise ValueError(f"{short} is empty: fill it in, or both scheme and code")
    return default
