"""A topic-partition as the ledger keeps it: each record judged by the table's rules, as a line.

The checks are `domain/columns.py`, the duplicates window is `core/window.py`, the same as the
table's, so that both come to the same verdicts. What the table forgets once it has counted, the
ledger writes down: which event a record repeats, who said it, when it happened.

Shared with the table are the rules for one record and the window. Not shared are the fold
(sums are made of lines, `ledger/totals.py` or SQL), the positions, and all that writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from core.columns import Columns
from core.records import Address, Record, crc_of
from core.window import Verdict, Window
from domain.columns import examined
from domain.rules.sets import RuleSet
from ledger.chain import linked_all, start_of
from ledger.lines import APPLIED, REFUSED, REPEATED, TOPICS, Line, written_of
from ledger.schema import event_table
from wire.batches import Unreadable, pieces
from wire.fetch import Fetched


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

    before, after: how far it is. events: lines, as columns. refusals: lines.
    """

    topic: int
    part: int
    before: Reach
    after: Reach
    events: list[list[Any]]
    refusals: list[Line]

    @property
    def size(self) -> int:
        """How many lines."""
        return len(self.events[0])


class Book:
    """One topic-partition between two transactions.

    Args:
        address: of its records.
        window: what it accepted lately.
        reach: how far it is, as was committed.
        rules: of its version.
    """

    def __init__(self, address: Address, window: Window, reach: Reach, rules: RuleSet) -> None:
        self.address, self.reach = address, reach
        self.topic = TOPICS.index(address.role)
        self._window, self._rules = window, rules
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
        place, at = (self.topic, self.address.partition), self.reach
        posting = Posting(*place, at, at, [[] for _ in event_table.columns], [])
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
        found, events = examined(self.address, records, self._rules)
        verdicts, repeats = self._judge(found)
        log_ats = list(
            accumulate([one[1] * 1000 for one in records], max, initial=self.reach.log_at)
        )[1:]
        lines, refusals = written_of(
            *(self.topic, self.address.partition, records, log_ats),
            *(found, events, verdicts, repeats),
            rules=self._rules,
        )
        for column, more in zip(posting.events, lines, strict=True):
            column.extend(more)
        posting.refusals.extend(refusals)
        repeated, refused = len(repeats), len(refusals)
        counts = len(records) - repeated - refused, repeated, refused
        self._moved(records, log_ats[-1], linked_all(self.reach.head, records), counts)

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
        # As before it judges: that may make it forget what the first of these repeat.
        entries_of = self._window.as_now()
        verdicts = self._window.judge(events["offset"], events["identity"], events["content"])
        repeats: dict[int, int] = {}
        if verdicts:
            known = {entry[0]: entry[2] for entry in entries_of(events["identity"])}
            pairs = zip(events["identity"].tolist(), events["offset"].tolist(), strict=True)
            for index, (identity, offset) in enumerate(pairs):
                if index not in verdicts:
                    known[identity] = offset
                elif verdicts[index] is Verdict.REPEATED:
                    repeats[index] = known[identity]
                    assert known[identity] >= offset - size
        return verdicts, repeats


def groups_of(part: Fetched, most: int) -> tuple[list[list[list[Record]]], Unreadable | None]:
    """Records in groups of about `most`, each of slices; and why there are no more.

    At least one group, which may be empty: markers of transactions are progress too.
    """
    groups: list[list[list[Record]]] = [[]]
    count, failed = 0, None
    for records in _until_unreadable(part):
        if isinstance(records, Unreadable):
            failed = records
            continue
        if count >= most:
            groups.append([])
            count = 0
        if records:
            groups[-1].append(records)
            count += len(records)
    if failed is not None and not groups[-1]:
        groups.pop()
    return groups, failed


def _until_unreadable(part: Fetched) -> Iterator[list[Record] | Unreadable]:
    try:
        yield from pieces(part.data, part.start)
    except Unreadable as error:
        yield error
