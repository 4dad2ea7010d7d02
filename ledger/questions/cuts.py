"""Which prefix of the log a question is about.

Every question about a time becomes one about offsets: a *cut* says of each topic-partition
which offset is the first that does not count. Events of the three topics commute, so any cut
is a state that the stock could have been in. All of an answer is read at one prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final, NamedTuple, TypeAlias

from sqlalchemy import Connection, TextClause, select, text

from ledger.books import Reach
from ledger.lines import TOPICS
from ledger.questions.prefixes import BeforeHistory, Cuts, NotThatFar, time_text
from ledger.reaches import reach_columns, read_reach
from ledger.schema import position_table


class Extent(NamedTuple):
    """How far a topic-partition is, and where its lines begin.

    history_at: log_at of the last line that is gone, µs since the epoch; 0: none is.
    """

    reach: Reach
    history_from: int
    history_at: int


Extents: TypeAlias = Mapping[tuple[int, int], Extent]


def extents_of(connection: Connection, part: int | None = None) -> dict[tuple[int, int], Extent]:
    """Of one partition or all, by topic's number and partition."""
    at = position_table.c
    query = select(at.topic, at.part, at.history_from, at.history_at, *reach_columns())
    if part is not None:
        query = query.where(at.part == part)
    return {
        (topic, number): Extent(read_reach(values), history_from, history_at)
        for topic, number, history_from, history_at, *values in connection.execute(query)
    }


def ends(places: Extents) -> dict[tuple[int, int], int]:
    """All that is in the ledger."""
    return {at: place.reach.next_offset for at, place in places.items()}


def begins(places: Extents) -> int:
    """From when on all of it is known, µs since the epoch; 0: from the first record on."""
    return max((place.history_at for place in places.values()), default=0)


def until(
    connection: Connection, places: Extents, time: int, whole_to: int | None = None
) -> dict[tuple[int, int], int]:
    """The prefix before the first record with a later log_at, of each topic-partition.

    Args:
        connection: of the answer.
        places: of all partitions that are asked about.
        time: µs since the epoch.
        whole_to: up to there nothing may be still to come; None: up to `time`.

    Raises:
        NotThatFar: a record of that time may still come.
        BeforeHistory: the lines of this time are gone.
    """
    needed = time if whole_to is None else min(time, whole_to)
    late = [at for at, place in places.items() if place.reach.complete_until < needed]
    if late:
        behind = min(places[at].reach.complete_until for at in late)
        raise NotThatFar(
            f"The ledger is whole up to {time_text(behind)}; what was recorded until "
            f"{time_text(needed)} may still come."
        )
    if time < (begin := begins(places)) and not _is_before_all(places, time):
        raise BeforeHistory(begin)
    return offsets_after(connection, places, dict.fromkeys(places, time))


def _is_before_all(places: Extents, time: int) -> bool:
    """Whether nothing at all had been recorded."""
    firsts = [place.reach.first_at for place in places.values()]
    return all(first is None or first * 1000 > time for first in firsts)


def offsets_after(
    connection: Connection, places: Extents, times: Mapping[tuple[int, int], int]
) -> dict[tuple[int, int], int]:
    """The first offset with a log_at later than a time, of each topic-partition.

    It is the first one that is left where that is later, and `next_offset` where none is.
    log_at never goes back, so halves will do; all of them in one statement.
    """
    found, wanted = {}, []
    for (topic, part), time in times.items():
        place = places[topic, part]
        reach = place.reach
        first = None if reach.first_at is None else reach.first_at * 1000
        if reach.log_at <= time or reach.next_offset == place.history_from:
            found[topic, part] = reach.next_offset
        elif first is not None and time < first:
            found[topic, part] = 0
        else:
            half = 1 << (reach.next_offset - place.history_from).bit_length() - 1
            wanted.append((topic, part, time, place.history_from, half))
    if len(wanted) > len(TOPICS):
        search = text(_SEARCH.replace(":wanted", values_text(wanted)))
        found |= {(topic, part): offset for topic, part, offset in connection.execute(search)}
    elif wanted:
        # Of one partition: asked so often that the database should plan it once.
        values = {f"n{at}": number for at, number in enumerate(chain.from_iterable(wanted))}
        searched = connection.execute(_SEARCHES[len(wanted)], values)
        found |= {(topic, part): offset for topic, part, offset in searched}
    return found


# Steps of half the length each: whether a line that far on is early enough. Both databases take
# this form: SQLite allows no sub-query over what is searched.
_SEARCH: Final = """
WITH RECURSIVE search(topic, part, later, low, half) AS (
    VALUES :wanted
    UNION ALL
    SELECT topic, part, later, low + CASE WHEN (
            SELECT event.log_at FROM event
            WHERE event.topic = search.topic AND event.part = search.part
                AND event.off >= search.low + search.half - 1
            ORDER BY event.off LIMIT 1
        ) <= later THEN half ELSE 0 END, half / 2
    FROM search WHERE half > 0
)
SELECT topic, part, low FROM search WHERE half = 0
"""
_WIDTH: Final = 5


def _search_of(count: int) -> TextClause:
    names = [f"CAST(:n{at} AS bigint)" for at in range(count * _WIDTH)]
    rows = (names[at : at + _WIDTH] for at in range(0, len(names), _WIDTH))
    return text(_SEARCH.replace(":wanted", ", ".join(f"({', '.join(row)})" for row in rows)))


#: By how many topics of one partition are searched.
_SEARCHES: Final = {count: _search_of(count) for count in range(1, len(TOPICS) + 1)}


def at(
    places: Extents, offsets: Mapping[tuple[int, int], int], named: Mapping[int, str]
) -> dict[tuple[int, int], int]:
    """The prefix up to and with these offsets, by topic's number and partition.

    Args:
        places: of all partitions that are asked about.
        offsets: those that are not named count nothing.
        named: full names of topics, by their numbers.

    Raises:
        NotThatFar: the ledger has not read so far.
        BeforeHistory: the lines there are gone.
    """
    handled(places, offsets, named)
    if any(offset + 1 < places[where].history_from for where, offset in offsets.items()):
        raise BeforeHistory(begins(places))
    return {where: offset + 1 for where, offset in offsets.items()}


def handled(
    places: Extents, offsets: Mapping[tuple[int, int], int], named: Mapping[int, str]
) -> None:
    """Make sure that the ledger has read this far; arguments as those of `at`.

    Raises:
        NotThatFar: it has not.
    """
    for (topic, part), offset in offsets.items():
        place = places.get((topic, part))
        reached = 0 if place is None else place.reach.next_offset
        if reached <= offset:
            raise NotThatFar(
                f"The ledger is at {reached} of {named[topic]}-{part}, and not beyond {offset}."
            )


def of_part(cuts: Cuts, part: int) -> dict[int, int]:
    """Those of one partition, by topic's number."""
    return {topic: end for (topic, number), end in cuts.items() if number == part}


def values_text(rows: Iterable[Iterable[int]]) -> str:
    """Whole numbers as they stand behind VALUES, all of one type in PostgreSQL as well."""
    return ", ".join(
        f"({', '.join(f'CAST({int(number)} AS bigint)' for number in row)})" for row in rows
    )
