"""What came to the log, and what became of it, from any position on: the feed's side of SQL.

A page takes some lines of each topic-partition that has more than the reader knows. Lines of one
topic-partition come in the order of the log and none is left out; those of several are mixed by
the time at which they were recorded, within the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final, NamedTuple
from zlib import crc32

from sqlalchemy import func, select

from core.positions import Place, format_position, with_log
from ledger.history import ENTRIES, Entry, Ledger, begins_with, entry_of
from ledger.questions.cuts import Extents, at
from ledger.questions.prefixes import BeforeHistory, Cuts
from ledger.schema import event_table, position_table

_of: Final = event_table.c
#: Offsets that are looked at for one page that leaves most of them out, of all partitions.
_MOST_LOOKED_AT: Final = 20_000
_AS_RECORDED: Final = attrgetter("log_at", "topic", "part", "offset")


class OtherLogsToken(Exception):
    """A token was given out for a log that this one is not."""


class ChangesWish(NamedTuple):
    """Which lines. starts: first offset that the reader has not; kind: the type's number."""

    starts: Cuts
    sku_prefix: str = ""
    location: str | None = None
    kind: int | None = None
    limit: int = 500

    @property
    def is_filtered(self) -> bool:
        """Whether some lines are left out."""
        return bool(self.sku_prefix) or self.location is not None or self.kind is not None


class ChangesFound(NamedTuple):
    """Lines as they are told, and up to where all of that is told which was asked for.

    ends: `starts` of the next page. is_all: there is nothing behind it yet. total: grows with
    every record of the log.
    """

    entries: list[Entry]
    ends: dict[tuple[int, int], int]
    is_all: bool
    total: int

    def without(self, left_out: Iterable[Entry]) -> ChangesFound:
        """The same for a reader who was not told these, the last ones of it."""
        ends, gone = dict(self.ends), list(left_out)
        for entry in gone:
            place = entry.topic, entry.part
            ends[place] = min(ends[place], entry.offset)
        entries = self.entries[: len(self.entries) - len(gone)]
        return ChangesFound(entries, ends, self.is_all and not gone, self.total)


def read_changes(ledger: Ledger, wish: ChangesWish) -> ChangesFound:
    """One page.

    Raises:
        NotThatFar: the reader has more than the ledger.
        BeforeHistory: lines that the reader does not have are gone.
    """
    places = ledger.places(None)
    known = {place: wish.starts.get(place, 0) for place in places}
    _check(ledger, places, known)
    reached = {place: extent.reach.next_offset for place, extent in places.items()}
    # Those with little first: what they leave of their shares is for the others.
    behind = sorted((reached[place] - start, place) for place, start in known.items())
    behind = [(count, place) for count, place in behind if count > 0]
    entries: list[Entry] = []
    ends, left, looked_at = dict(known), wish.limit, _MOST_LOOKED_AT
    for number, (count, place) in enumerate(behind):
        others = len(behind) - number
        if left <= 0 or looked_at <= 0:
            break
        share = max(1, left // others)
        span = max(share, looked_at // others) if wish.is_filtered else count
        end = min(reached[place], known[place] + span)
        found = list(_lines(ledger, wish, place, known[place], end, share))
        # A page that is full says nothing of what is behind its last line.
        ends[place] = found[-1].offset + 1 if len(found) == share else end
        entries += found
        left -= len(found)
        looked_at -= ends[place] - known[place] if wish.is_filtered else 0
    entries.sort(key=_AS_RECORDED)
    return ChangesFound(entries, ends, ends == reached, sum(reached.values()))


def _check(ledger: Ledger, places: Extents, known: Cuts) -> None:
    at(places, {place: start - 1 for place, start in known.items() if start}, ledger.topics)
    for place, start in known.items():
        if start < places[place].history_from:
            raise BeforeHistory(ledger.begins(None))


def _lines(
    ledger: Ledger, wish: ChangesWish, place: tuple[int, int], start: int, end: int, most: int
) -> Iterator[Entry]:
    topic, part = place
    query = ENTRIES.where(_of.topic == topic, _of.part == part, _of.off >= start, _of.off < end)
    if wish.sku_prefix:
        query = query.where(begins_with(_of.sku, wish.sku_prefix))
    if wish.location is not None:
        query = query.where(_of.location == wish.location)
    if wish.kind is not None:
        query = query.where(_of.kind == wish.kind)
    return map(entry_of, ledger.connection.execute(query.order_by(_of.off).limit(most)))


def total_of(ledger: Ledger) -> int:
    """As `ChangesFound.total`, and cheap: whether there is news at all."""
    query = select(func.sum(position_table.c.next_offset))
    return int(ledger.connection.execute(query).scalar() or 0)


# ---- positions of readers


class FeedMark:
    """A reader's position while it moves: of each topic-partition, up to where it has all.

    A topic-partition whose first record is not known yet is not in it: there is nothing in it to
    have. Those that are say by their first records of which log they are.
    """

    def __init__(self, ledger: Ledger, ends: Cuts) -> None:
        self._places, self._topics = ledger.places(None), ledger.topics
        self._texts: dict[Place, str] = {}
        self._log = 0
        for place, end in sorted(ends.items()):
            if end > 0:
                self.moved(place, end - 1)

    def moved(self, place: tuple[int, int], offset: int) -> None:
        """It has this record as well, and all before it."""
        topic, part = place
        name = self._topics[topic], part
        if name not in self._texts:
            first = first_of(self._places, place, self._topics)
            if first is None:
                return
            self._log ^= first
            self._texts = dict(sorted({**self._texts, name: ""}.items()))
        self._texts[name] = format_position({name: offset})

    @property
    def text(self) -> str:
        """As readers carry it."""
        return with_log(",".join(self._texts.values()), self._log)


def first_of(places: Extents, place: tuple[int, int], topics: Mapping[int, str]) -> int | None:
    """What tells a topic-partition from a later one of its name: a number of 32 bits."""
    reach = places[place].reach
    if reach.first_at is None:
        return None
    return crc32(f"{topics[place[0]]}-{place[1]}@{reach.first_at}:{reach.first_crc}".encode())


def check_log(ledger: Ledger, offsets: Iterable[tuple[int, int]], log: int | None) -> None:
    """Make sure that a token is of this log, if it says of which one it is.

    Args:
        ledger: to ask.
        offsets: which topic-partitions are in the token.
        log: of the token.

    Raises:
        OtherLogsToken: it is not.
    """
    if log is None:
        return
    places = ledger.places(None)
    found = 0
    for place in offsets:
        found ^= first_of(places, place, ledger.topics) or 0
    if found != log:
        raise OtherLogsToken
