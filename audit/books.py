"""A ledger held against the log: each line of it, and each of its sums.

A line is made again from its record: what the record says by the rules for one record, what
became of it by the audit's own count. What the ledger did to write it is not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from audit.comparing import MOST_KEPT, Held, LineFault, hold_against
from audit.recount import Expected, Recounted
from core.records import Record
from core.refusals import Refused
from domain.events import StockEvent
from domain.rows import CHECKSUM, UPDATED_AT, Row, encode_row, row_key
from domain.rules.sets import RuleSet
from ledger.audited import LINE_COLUMNS, AuditedLedger, LedgerMoment
from ledger.lines import REFUSED, TOPICS

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MASK: Final = 2**64 - 1
#: Of a refused record a ledger keeps as much as it can read: its own choice, not compared.
_OF_REFUSED: Final = 7
_NAMES: Final = dict(enumerate(LINE_COLUMNS))


class Lines:
    """Holds the lines of one partition against the records, which come in the log's order.

    Args:
        ledger: whose.
        roles: role by full name of the topic.
        part: which partition.
        start: first offset that the ledger still has lines of, by topic's number.
        stop: its next offset, by topic's number.
        rules: of its version.
    """

    def __init__(
        self,
        ledger: AuditedLedger,
        roles: Mapping[str, str],
        part: int,
        start: Mapping[int, int],
        stop: Mapping[int, int],
        rules: RuleSet,
    ) -> None:
        self._rules = rules
        # Compacting moves the start on, also while the lines are read.
        self._ledger, self._part, self._start, self._stop = ledger, part, dict(start), stop
        self._numbers = {topic: TOPICS.index(role) for topic, role in roles.items()}
        self._names = {number: topic for topic, number in self._numbers.items()}
        self._log_at = dict.fromkeys(self._numbers, 0)
        self._waiting: dict[str, list[tuple[Recounted, Record]]] = {t: [] for t in self._numbers}
        #: Of each topic: lines that were read and not met yet, and where to read on.
        self._read: dict[str, list[tuple[tuple[Any, ...], str | None]]] = {
            topic: [] for topic in self._numbers
        }
        self._next = {topic: start.get(number, 0) for topic, number in self._numbers.items()}
        self.lines = 0
        self.faults: list[LineFault] = []
        self.more_faults = 0

    def see(self, counted: Recounted, record: Record) -> None:
        """One more record; `hold` compares it."""
        self._waiting[counted.topic].append((counted, record))

    async def hold(self) -> None:
        """Compare what was seen since the last call."""
        for topic, waiting in self._waiting.items():
            if not waiting:
                continue
            last = waiting[-1][0].offset
            await self._fetch(topic, last)
            for counted, record in waiting:
                self._hold(topic, counted, record)
            waiting.clear()

    async def finish(self) -> None:
        """What is left over are lines of no record."""
        for topic, number in self._numbers.items():
            while True:
                await self._fetch(topic, self._stop.get(number, 0))
                if not self._read[topic]:
                    break
                for line, _ in self._read[topic]:
                    self._invented(topic, line)
                self._read[topic].clear()

    async def _fetch(self, topic: str, offset: int) -> None:
        """Read lines until one is behind this offset, or there are no more."""
        number, read = self._numbers[topic], self._read[topic]
        stop = self._stop.get(number, 0)
        while self._next[topic] < stop and (not read or read[-1][0][2] <= offset):
            page = await asyncio.to_thread(
                self._ledger.lines, number, self._part, self._next[topic], stop
            )
            self._next[topic] = page.lines[-1][0][2] + 1 if page.lines else stop
            self._start[number] = max(self._start.get(number, 0), page.begins)
            self.lines += len(page.lines)
            read += page.lines

    def _hold(self, topic: str, counted: Recounted, record: Record) -> None:
        number = self._numbers[topic]
        log_at = self._log_at[topic] = max(self._log_at[topic], record[1] * 1000)
        read = self._read[topic]
        at = 0
        while at < len(read) and read[at][0][2] < counted.offset:
            self._invented(topic, read[at][0])
            at += 1
        found = read[at] if at < len(read) and read[at][0][2] == counted.offset else None
        del read[: at + (found is not None)]
        if found is None and counted.offset < self._start.get(number, 0):
            return  # it was made into an opening balance, perhaps since we began
        place = number, self._part, counted.offset, log_at
        right = _line_of(place, counted, record, self._rules)
        compared = _OF_REFUSED if counted.outcome == REFUSED else len(right)
        columns = {}
        if found is not None:
            pairs = zip(found[0][:compared], right[:compared], strict=True)
            columns = {_NAMES[n]: (a, b) for n, (a, b) in enumerate(pairs) if a != b}
            columns.pop("occurred_at", None) if counted.outcome == REFUSED else None
            if (found[1] or "") != counted.why:
                columns["why"] = found[1] or "", counted.why
            if not columns:
                return
        self._fault(
            LineFault(
                what="missing" if found is None else "changed",
                topic=topic,
                partition=self._part,
                offset=counted.offset,
                source=right[15],
                id=right[16],
                key=counted.key or None,
                columns=columns,
                right=None if counted.outcome == REFUSED else right,
            )
        )

    def _invented(self, topic: str, line: tuple[Any, ...]) -> None:
        sku, location, source, ident = line[13:17]
        key = row_key(sku, location) if sku is not None and location is not None else None
        fault = LineFault("invented", topic, self._part, line[2], source, ident, key)
        self._fault(fault)

    def _fault(self, fault: LineFault) -> None:
        if len(self.faults) < MOST_KEPT:
            self.faults.append(fault)
        else:
            self.more_faults += 1


def _line_of(
    place: tuple[int, int, int, int], counted: Recounted, record: Record, rules: RuleSet
) -> tuple[Any, ...]:
    """As `ledger.schema.event_table` has it."""
    recorded_at = record[1] * 1000
    event = rules.decode(record[3], record[4])
    head = (*place, recorded_at)
    if isinstance(event, Refused):
        return (*head, None, REFUSED, *(None,) * 15)
    return (*head, *_said(recorded_at, event, counted))


def _said(recorded_at: int, event: StockEvent, counted: Recounted) -> tuple[Any, ...]:
    data = event.data
    occurred_at = recorded_at if event.time is None else (event.time - _EPOCH) // _MICROSECOND
    repeats = counted.repeat_of if counted.outcome != REFUSED and counted.repeat_of >= 0 else None
    return (
        *(occurred_at, counted.outcome, repeats, event.kind, data.quantity),
        *(counted.crc, counted.content, counted.identity),
        *(data.sku, data.location, event.source, event.id),
        *(data.reference or None, data.reason or None, data.actor or None),
        None if counted.field == event.kind else counted.field,
        None if counted.amount == data.quantity else counted.amount,
    )


async def hold_sums(held: Held, moment: LedgerMoment, expected: Expected) -> None:
    """Compare the ledger's sums with what the log makes them."""

    async def rows() -> AsyncIterator[list[tuple[bytes, bytes]]]:
        yield [(row_key(*key), encode_row(row_of_sums(sums))) for key, sums in moment.rows.items()]

    await hold_against(held, rows(), expected)


def as_sums(tally: Sequence[int] | None) -> tuple[int, ...] | None:
    """As the ledger has it."""
    if tally is None:
        return None
    return tuple(n * 1000 if at == UPDATED_AT else n for at, n in enumerate(tally))


def row_of_sums(sums: Sequence[int]) -> Row:
    """As a copy has it: the checksum modulo 2^64, the time in ms."""
    numbers = list(map(int, sums))
    numbers[CHECKSUM] &= _MASK
    numbers[UPDATED_AT] //= 1000
    return Row(*numbers)
