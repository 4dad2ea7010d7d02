"""Foreign records made into what a bridge writes: facts for the sources, or dead letters.

A pure function of the records, the map and the rules: read again, they give the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from core.partitioning import partition_for
from core.records import MAX_RECORD_BYTES, Record, size_of
from core.refusals import DeadLetter, Refused
from domain.events import Refusal, check_names
from domain.modes import CONTENT_TYPE, STRUCTURED
from domain.rules.held import CURRENT
from importers.frames.making import NOT_MAPPED, EventFields, Left, Unmade, facts_of
from importers.frames.maps import ForeignMap

#: As everything that Onhand itself appends.
FACT_HEADERS: Final = [(CONTENT_TYPE, STRUCTURED.encode())]
#: A source topic takes batches of 1 MiB; a fact that its own texts make larger than this is
#: refused, so that a batch of one always fits.
_MOST_BYTES: Final = MAX_RECORD_BYTES - 64 * 1024
_encode = msgspec.json.Encoder().encode


class MadeFact(Struct, frozen=True, gc=False):
    """One fact, ready to be appended to the topic of its role."""

    role: str
    partition: int
    key: bytes
    value: bytes


class Translated(Struct, frozen=True, gc=False):
    """What became of some records, in their order.

    read: how many there were. left: how many of them the map leaves out.
    """

    read: int
    left: int
    facts: list[MadeFact]
    letters: list[DeadLetter]


class Translator:
    """Translates the records of one topic.

    Args:
        topic: that they stand in.
        by: the map.
        partitions: of each source topic.
    """

    def __init__(self, topic: str, by: ForeignMap, partitions: int) -> None:
        self._topic, self._by, self._partitions = topic, by, partitions

    def translate(self, partition: int, records: Iterable[Record]) -> Translated:
        """Of one partition. A record of which one line is wrong gives no fact at all."""
        made = [(r, facts_of(r, self._topic, partition, self._by)) for r in records]
        texts: list[list[bytes]] = [
            _texts(found) if isinstance(found, list) else [] for _, found in made
        ]
        flat = [text for of_one in texts for text in of_one]
        events = iter(CURRENT.decode_batch(flat, [FACT_HEADERS] * len(flat)))
        facts: list[MadeFact] = []
        letters: list[DeadLetter] = []
        left = 0
        for (record, found), of_one in zip(made, texts, strict=True):
            if isinstance(found, Left):
                left += 1
                continue
            outcome: list[MadeFact] | Unmade
            if isinstance(found, Unmade):
                outcome = found
            elif not of_one:
                outcome = Unmade(NOT_MAPPED, "A number of it is too large for JSON.")
            else:
                outcome = self._checked([(text, next(events)) for text in of_one])
            if isinstance(outcome, Unmade):
                letters.append(self._letter(partition, record, outcome))
            else:
                facts += outcome
        return Translated(len(made), left, facts, letters)

    def _checked(self, of_one: Iterable[tuple[bytes, object]]) -> list[MadeFact] | Unmade:
        """The facts of one record, by the rules that the table will judge them by."""
        facts = []
        for text, event in of_one:
            if isinstance(event, Refused):
                return Unmade(event.reason, event.detail)
            data = event.data  # type: ignore[attr-defined]  # a StockEvent
            if refused := check_names(data.sku, data.location):
                return Unmade(refused.reason, refused.detail)
            key = data.sku.encode()
            if size_of(key, text, FACT_HEADERS) > _MOST_BYTES:
                return Unmade(NOT_MAPPED, f"The fact has more than {_MOST_BYTES:,} bytes.")
            where = partition_for(key, self._partitions)
            facts.append(MadeFact(event.role, where, key, text))  # type: ignore[attr-defined]
        return facts

    def _letter(self, partition: int, record: Record, why: Unmade) -> DeadLetter:
        return DeadLetter(self._topic, partition, *record, Refusal(why.reason), why.detail)


def _texts(events: list[EventFields]) -> list[bytes]:
    """As JSON; none where one of them cannot be written."""
    try:
        return [_encode(event) for event in events]
    except (OverflowError, UnicodeEncodeError, TypeError, RecursionError):
        return []
