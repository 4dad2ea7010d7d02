"""A topic-partition as the ledger keeps it: each record judged by the table's rules, as a line.

The checks are `domain/columns.py`, the duplicates window is `core/window.py`, the same as the
table's, so that both come to the same verdicts. What the table forgets once it has counted, the
ledger writes down: which event a record repeats, who said it, when it happened.

Shared with the table are the rules for one record and the window. Not shared are the fold
(sums made by SQL, or `Posting.totals`), the positions, and all that writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec
from msgspec import Struct

from core.columns import Columns
from core.fold import CONFLICT
from core.records import Address, Record, crc_of
from core.refusals import Refused
from core.window import Verdict, Window
from domain.columns import columns, identity_hash_of
from domain.events import MAX_ID_CHARS, StockEvent
from domain.fates import Ending
from domain.naming import name_of
from domain.rules.held import CURRENT
from ledger.chain import linked, start_of

#: A topic's number is the place of its role here; an outcome's is its place in the other.
TOPICS: Final = ("shipments", "sales", "adjustments")
OUTCOMES: Final = (Ending.APPLIED, Ending.REPEATED, Ending.REFUSED)
APPLIED, REPEATED, REFUSED = range(3)
TYPES: Final = {kind.kind: name for name, kind in CURRENT.events.items()}

#: A row of `ledger.schema.event` or `refusal`, in the order of its columns.
Line: TypeAlias = tuple[Any, ...]
#: Where a fact stands in a timeline: time by the clock, topic, offset.
Stand: TypeAlias = tuple[int, int, int]
#: Sums to add to a row of stock: five by kind, events, checksum, updated_at in µs.
Total: TypeAlias = list[int]
_NO_TOTAL: Final = (0,) * 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_as_bytes = msgspec.msgpack.Encoder().encode


class Reach(Struct, frozen=True, kw_only=True):
    """How far a topic-partition is: a row of `ledger.schema.position` without its key.

    Times are µs since the epoch.
    """

    next_offset: int = 0
    log_at: int = 0
    complete_until: int = 0
    applied: int = 0
    repeated: int = 0
    refused: int = 0
    head: bytes = b""
    first_at: int | None = None
    first_crc: int | None = None
    last_off: int | None = None
    last_at: int | None = None
    last_crc: int | None = None


class Posting(NamedTuple):
    """What one transaction writes of a topic-partition.

    before, after: how far it is. events, refusals: lines. totals: by SKU and location.
    """

    topic: int
    part: int
    before: Reach
    after: Reach
    events: list[Line]
    refusals: list[Line]
    totals: dict[tuple[str, str], Total]


class Book:
    """One topic-partition between two transactions.

    Args:
        address: of its records.
        window: what it accepted lately.
        reach: how far it is, as was committed.
    """

    def __init__(self, address: Address, window: Window, reach: Reach) -> None:
        self.address, self.reach = address, reach
        self.topic = TOPICS.index(address.role)
        self._window = window
        if not reach.head:
            self.reach = msgspec.structs.replace(
                reach, head=start_of(address.role, address.partition)
            )

    def enter(self, slices: Iterable[Sequence[Record]], next_offset: int) -> Posting:
        """Judge records and give the lines to write; after that the book is at `next_offset`.

        Whoever does not write them has to drop the book: it has moved on.

        Args:
            slices: some hundreds of records each, in offset order; those below it are
                passed over.
            next_offset: to read after them; markers of transactions may stand before it.
        """
        posting = Posting(self.topic, self.address.partition, self.reach, self.reach, [], [], {})
        # An owner before us may have read further: nothing is written twice.
        for records in slices:
            if records and records[0][0] < self.reach.next_offset:
                records = [one for one in records if one[0] >= self.reach.next_offset]
            if records:
                self._enter(records, posting)
        if next_offset > self.reach.next_offset:
            self.reach = msgspec.structs.replace(self.reach, next_offset=next_offset)
        # Nothing is kept of what the window would give a changelog.
        self._window.take(self.reach.next_offset)
        return posting._replace(after=self.reach)

    def _enter(self, records: Sequence[Record], posting: Posting) -> None:
        found = columns(self.address, records, CURRENT)
        decoded = CURRENT.decode_batch([one[3] for one in records], [one[4] for one in records])
        letters = {letter.offset: (letter.reason, letter.detail) for letter in found.refused}
        verdicts, repeats = self._judge(found)
        names = ("crc", "content", "identity")
        numbers = zip(*(found.events[name].tolist() for name in names), strict=True)
        topic, part, log_at = self.topic, self.address.partition, self.reach.log_at
        head, counts, index = self.reach.head, [0, 0, 0], -1
        for record, event in zip(records, decoded, strict=True):
            offset, recorded_at = record[0], record[1] * 1000
            log_at = max(log_at, recorded_at)
            head = linked(head, record)
            when = (topic, part, offset, log_at, recorded_at)
            if (why := letters.get(offset)) is None:
                index += 1
                said = next(numbers)
                verdict = verdicts.get(index)
                assert not isinstance(event, Refused)  # or it would be in found.refused
                if verdict is None:
                    counts[APPLIED] += 1
                    posting.events.append(_line(when, APPLIED, None, said, event))
                    _count(posting.totals, event, said[0], recorded_at)
                    continue
                if verdict is Verdict.REPEATED:
                    counts[REPEATED] += 1
                    posting.events.append(_line(when, REPEATED, repeats[index], said, event))
                    continue
                why = CONFLICT.reason, CONFLICT.detail
            counts[REFUSED] += 1
            posting.events.append(_refused_line(when, record, event))
            posting.refusals.append(_refusal(when, record, why))
        self._moved(records, log_at, head, counts)

    def _moved(
        self, records: Sequence[Record], log_at: int, head: bytes, counts: Sequence[int]
    ) -> None:
        reach, first, last = self.reach, records[0], records[-1]
        if reach.first_at is None:
            reach = msgspec.structs.replace(reach, first_at=first[1], first_crc=crc_of(first))
        self.reach = msgspec.structs.replace(
            reach,
            next_offset=last[0] + 1,
            log_at=log_at,
            # Another record may come with the same time, none with an earlier one.
            complete_until=max(reach.complete_until, log_at - 1),
            applied=reach.applied + counts[APPLIED],
            repeated=reach.repeated + counts[REPEATED],
            refused=reach.refused + counts[REFUSED],
            head=head,
            last_off=last[0],
            last_at=last[1],
            last_crc=crc_of(last),
        )

    def _judge(self, found: Columns) -> tuple[Mapping[int, Verdict], Mapping[int, int]]:
        """Verdicts by index of what is not new, and which offset each repetition repeats."""
        events, size = found.events, self._window.size
        # Asked first: judging may make the window forget what the first of these repeat.
        known = {entry[0]: entry[2] for entry in self._window.entries_of(events["identity"])}
        verdicts = self._window.judge(events["offset"], events["identity"], events["content"])
        repeats: dict[int, int] = {}
        if verdicts:
            pairs = zip(events["identity"].tolist(), events["offset"].tolist(), strict=True)
            for index, (identity, offset) in enumerate(pairs):
                if index not in verdicts:
                    known[identity] = offset
                elif verdicts[index] is Verdict.REPEATED:
                    repeats[index] = known[identity]
                    assert known[identity] >= offset - size
        return verdicts, repeats


def _line(
    when: Line, outcome: int, repeat_of: int | None, said: tuple[int, int, int], event: StockEvent
) -> Line:
    data = event.data
    return (
        *when,
        when[4] if event.time is None else micros(event.time),
        outcome,
        repeat_of,
        event.kind,
        data.quantity,
        *said,
        data.sku,
        data.location,
        event.source,
        event.id,
        data.reference or None,
        data.reason or None,
        data.actor or None,
    )


def _refused_line(when: Line, record: Record, event: StockEvent | Refused) -> Line:
    """As much as can be read of it; all of it is in its refusal."""
    name = name_of(record[3], record[4])
    if not isinstance(event, Refused):
        source, ident = event.source, event.id
        said = (None, None, identity_hash_of(source, ident))
        return _line(when, REFUSED, None, said, event)  # type: ignore[arg-type]  # not counted
    nothing: Line = (None,) * 5
    if name is None or not all(map(_is_storable, name)):
        return (*when, None, REFUSED, *nothing, None, *(None,) * 7)
    source, ident = name
    return (
        *(*when, None, REFUSED, *nothing, identity_hash_of(source, ident)),
        *(None, None, source, ident, None, None, None),
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


def _count(
    totals: dict[tuple[str, str], Total], event: StockEvent, crc: int, recorded_at: int
) -> None:
    key = event.data.sku, event.data.location
    total = totals.get(key)
    if total is None:
        total = totals[key] = list(_NO_TOTAL)
    total[event.kind] += event.data.quantity
    total[5] += 1
    total[6] += crc
    total[7] = max(total[7], recorded_at)


def micros(moment: datetime) -> int:
    """Microseconds since the epoch, exactly: a float of seconds has no room for them."""
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
