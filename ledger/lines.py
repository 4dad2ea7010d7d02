"""What the ledger writes of some records: lines, and refusals as they came.

Made column by column, and left so: Python runs a comprehension at twice the speed of a loop,
and a tuple for each line takes longer to make than it takes to be written from its columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any, Final, TypeAlias

import msgspec

from core.columns import Columns
from core.fold import CONFLICT
from core.records import Record
from core.refusals import Refused
from core.window import Verdict
from domain.columns import identity_hash_of
from domain.events import MAX_ID_CHARS, StockEvent
from domain.fates import Ending
from domain.naming import name_of
from domain.rules.held import HELD
from domain.rules.sets import RuleSet

#: A topic's number is the place of its role here; an outcome's is its place in the other.
TOPICS: Final = ("shipments", "sales", "adjustments")
OUTCOMES: Final = (Ending.APPLIED, Ending.REPEATED, Ending.REFUSED)
APPLIED, REPEATED, REFUSED = range(3)
#: Names of all types that any rules know, by their numbers.
TYPES: Final = {kind.kind: name for rules in HELD.values() for name, kind in rules.events.items()}

#: A row of a table of `ledger.schema`, in the order of its columns.
Line: TypeAlias = tuple[Any, ...]
#: Rows of a table as its columns, in their order; all are of one length.
LineColumns: TypeAlias = Sequence[Sequence[Any]]
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_OFFSET: Final = itemgetter(2)
_as_bytes = msgspec.msgpack.Encoder().encode


def written_of(
    topic: int,
    part: int,
    records: Sequence[Record],
    log_ats: Sequence[int],
    found: Columns,
    events: Sequence[StockEvent],
    verdicts: Mapping[int, Verdict],
    repeats: Mapping[int, int],
    rules: RuleSet,
) -> tuple[LineColumns, list[Line]]:
    """Lines of consecutive records, by offset, and of the refused ones what came.

    Args:
        topic: its number.
        part: partition.
        records: as they came.
        log_ats: the greatest broker's time until each of them, in µs.
        found: what they say.
        events: the same whole, of those that are not refused.
        verdicts: by index of the event, of what is not new.
        repeats: by index of the event, the offset of the event that it repeats.
        rules: by which they were judged.
    """
    offsets = [record[0] for record in records]
    ats = [record[1] * 1000 for record in records]
    letters = {letter.offset: (letter.reason, letter.detail) for letter in found.refused}
    if not letters and not verdicts:
        return _applied(topic, part, (offsets, log_ats, ats), found, events), []
    whens: list[Line] = [(topic, part, *each) for each in zip(offsets, log_ats, ats, strict=True)]
    sound = [i for i, offset in enumerate(offsets) if offset not in letters]
    of_sound = [[column[i] for i in sound] for column in (offsets, log_ats, ats)]
    lines = list(zip(*_applied(topic, part, of_sound, found, events), strict=True))
    refused = [
        (when, record, letters[record[0]])
        for when, record in zip(whens, records, strict=True)
        if record[0] in letters
    ]
    conflicts = set()
    for index, verdict in verdicts.items():
        if verdict is Verdict.REPEATED:
            line = lines[index]
            lines[index] = (*line[:6], REPEATED, repeats[index], *line[8:])
        else:
            conflicts.add(index)
            at = sound[index]
            refused.append((whens[at], records[at], (CONFLICT.reason, CONFLICT.detail)))
    if refused:
        lines = [line for index, line in enumerate(lines) if index not in conflicts]
        lines += [_refused_line(when, record, rules) for when, record, _ in refused]
        lines.sort(key=_OFFSET)
        refused.sort(key=lambda each: each[0][2])
    return as_columns(lines), [_refusal(*each) for each in refused]


def as_columns(lines: Sequence[Line]) -> LineColumns:
    """The same lines as columns; of no lines, none."""
    return list(zip(*lines, strict=True))


def _applied(
    topic: int,
    part: int,
    whens: Sequence[Sequence[int]],
    found: Columns,
    events: Sequence[StockEvent],
) -> LineColumns:
    """Of what is new. whens: columns off, log_at and recorded_at."""
    numbers, datas = found.events, [event.data for event in events]
    kinds, quantities = [event.kind for event in events], [data.quantity for data in datas]
    offsets, log_ats, ats = whens
    size = len(offsets)
    return (
        *([topic] * size, [part] * size, offsets, log_ats, ats),
        [
            at if event.time is None else micros(event.time)
            for at, event in zip(ats, events, strict=True)
        ],
        *([APPLIED] * size, [None] * size),
        *(kinds, quantities),
        *(numbers[name].tolist() for name in ("crc", "content", "identity")),
        [data.sku for data in datas],
        [data.location for data in datas],
        [event.source for event in events],
        [event.id for event in events],
        [data.reference or None for data in datas],
        [data.reason or None for data in datas],
        [data.actor or None for data in datas],
        _if_other(numbers["field"].tolist(), kinds),
        _if_other(numbers["amount"].tolist(), quantities),
    )


def _if_other(numbers: list[int], usual: list[int]) -> list[int | None]:
    """NULL where they are what they are by rules 2: it takes no room."""
    if numbers == usual:
        return [None] * len(numbers)
    return [None if one == other else one for one, other in zip(numbers, usual, strict=True)]


def _refused_line(when: Line, record: Record, rules: RuleSet) -> Line:
    """As much as can be read of it; all of it is in its refusal."""
    event = rules.decode_batch([record[3]], [record[4]])[0]
    if not isinstance(event, Refused):  # it came to a wrong address, or in conflict
        data = event.data
        return (
            *when,
            when[4] if event.time is None else micros(event.time),
            *(REFUSED, None, event.kind, data.quantity, None, None),
            *(identity_hash_of(event.source, event.id), data.sku, data.location),
            *(event.source, event.id),
            *(data.reference or None, data.reason or None, data.actor or None, None, None),
        )
    name = name_of(record[3], record[4])
    if name is None or not all(map(_is_storable, name)):
        return (*when, None, REFUSED, *(None,) * 15)
    return (
        *(*when, None, REFUSED, *(None,) * 5, identity_hash_of(*name)),
        *(None, None, *name, *(None,) * 5),
    )


def _refusal(when: Line, record: Record, why: tuple[str, str]) -> Line:
    key, value = record[2], record[3]
    headers = [(name.encode(errors="surrogateescape"), content) for name, content in record[4]]
    raw = None if value is None else bytes(value)
    return (*when[:3], str(why[0]), why[1], key, raw, _as_bytes(headers))


def _is_storable(text: str) -> bool:
    """Whether both databases take it, and it is no longer than an id may be."""
    if "\x00" in text or len(text) > MAX_ID_CHARS:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def micros(moment: datetime) -> int:
    """Microseconds since the epoch, exactly: a float of seconds has no room for them."""
    return (moment - _EPOCH) // _MICROSECOND
