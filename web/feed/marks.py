"""Positions of readers of rows: of each partition, how far its owner has told them.

A token names a place of each partition (`row-3@5512`), of which table these are (`rows@77`: its
version and changelog), and up to which facts that is, so that a list can be asked for with it. One
of facts or of a list does as well: it has no places, and its offsets say where it is.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from typing import Final, NamedTuple

from core.positions import (
    epoch_in,
    format_position,
    read_position,
    table_in,
    with_epoch,
    with_rows,
)
from tables.changes.ring import ReadTo
from web.feed.asked import BEGIN, END, not_here

#: In the place of a topic. Those of facts have longer names.
_ROW: Final = "row"


class RowMarks(NamedTuple):
    """A token, read.

    places: by partition. table: of which these are; None where none is named. epoch: of the
    newest record of versions that it was told by. is_now: it is the word for what comes from now
    on.
    """

    places: Mapping[int, ReadTo]
    table: int | None = None
    epoch: int = 0
    is_now: bool = False

    def of(self, partition: int) -> ReadTo:
        """Of one partition; the beginning where nothing is known of it."""
        return ReadTo(is_now=True) if self.is_now else self.places.get(partition, ReadTo())

    def only(self, partitions: Iterable[int]) -> RowMarks:
        """What it says of these."""
        places = {p: self.places[p] for p in partitions if p in self.places}
        return self._replace(places=places)

    def without(self, partitions: Collection[int]) -> RowMarks:
        """What it says of all but these."""
        return self.only(p for p in self.places if p not in partitions)

    def moved(self, to: RowMarks) -> RowMarks:
        """With what another one says, of whichever partitions that knows."""
        if not to.places:
            return self
        if self.table not in (None, to.table):
            return to  # places of another table are none of this one
        places = {**self.places}
        for partition, place in to.places.items():
            known = places.get(partition, place).offsets
            # A list may have been ahead of who told the rows.
            offsets = {t: max(at, known.get(t, at)) for t, at in place.offsets.items()}
            places[partition] = place._replace(offsets=offsets)
        return RowMarks(places, to.table, max(self.epoch, to.epoch))

    @property
    def text(self) -> str:
        """As a token."""
        if self.is_now:
            return END
        offsets = {}
        for partition, place in self.places.items():
            if place.place is not None:
                offsets[_ROW, partition] = place.place
            offsets |= {(topic, partition): at for topic, at in place.offsets.items()}
        token = format_position(offsets)
        if self.table is not None:
            token = with_rows(token, self.table)
        return with_epoch(token, self.epoch)


def table_of(version: int, incarnation: str) -> int:
    """Tells one table from another, whose places mean nothing for it."""
    return zlib.crc32(f"{version}:{incarnation}".encode())


def marks_in(token: str, topics: Iterable[str], partitions: int) -> RowMarks:
    """Read a token, or a word for one.

    Raises:
        ValueError: it names what this log does not have; a sentence without its subject.
    """
    if token in (BEGIN, END):
        return RowMarks({}, is_now=token == END)
    known = frozenset((*topics, _ROW))
    found: dict[int, dict[str, int]] = {}
    for (topic, partition), at in read_position(token).items():
        if topic not in known or partition >= partitions:
            raise ValueError(not_here(topic, partition))
        found.setdefault(partition, {})[topic] = at
    table = table_in(token)
    places = {
        partition: ReadTo(offsets.pop(_ROW, None), offsets) for partition, offsets in found.items()
    }
    return RowMarks(places, table, epoch_in(token))
