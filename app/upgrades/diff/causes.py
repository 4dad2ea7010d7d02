"""Why a row differs: by a declared change of rules, by what one side refused, or unexplained.

The proof for refused facts is arithmetic: a row's checksum is the sum of its events' CRC-32,
so the difference of two checksums must be the sum over just those events that only one of the
sides refused; and the row that comes out when they are added must be the other one.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from msgspec import structs

from app.config import Settings
from app.upgrades.diff.comparing import Difference
from core.positions import Place, parse_position
from core.refusals import Refused
from domain.events import identity
from domain.rows import NO_STOCK, Row
from domain.rules.changes import ACCEPTED_NOW, REFUSED_NOW, changes_between
from domain.rules.sets import RuleSet
from tables.home.letters import Letter, letter_of
from web.reads.cursors import RowKey
from wire.fetch import end_offsets, fetch, stored

#: Dead letters of one side alone that are held in memory: some 400 MB.
MOST_ONE_SIDED = 1_000_000
_POLL_S = 0.5
_RECORDS = 5_000
UNEXPLAINED: Final = "unexplained"
_EVENTS, _CHECKSUM, _UPDATED_AT = map(
    Row.__struct_fields__.index, ("events", "checksum", "updated_at")
)
_MOD = 2**64


class TooManyLetters(Exception):
    """There are more dead letters than can be compared; one plain sentence."""


class Counted(NamedTuple):
    """What one event adds to its row, where it was counted, and why the other side refused it.

    name: source and id, by which a repetition is known.
    """

    field: int
    amount: int
    crc: int
    recorded_ms: int
    reason: str
    name: bytes = b""


#: Where a record stands: topic, partition, offset.
RecordPlace: TypeAlias = tuple[str, int, int]
_Places: TypeAlias = dict[RecordPlace, Counted]


def added(row: Row, events: Iterable[Counted]) -> Row:
    """The row with these events."""
    numbers = [*structs.astuple(row)]
    for event in events:
        numbers[event.field] += event.amount
        numbers[_EVENTS] += 1
        numbers[_CHECKSUM] = (numbers[_CHECKSUM] + event.crc) % _MOD
        numbers[_UPDATED_AT] = max(numbers[_UPDATED_AT], event.recorded_ms)
    return Row(*numbers)


class Cause(NamedTuple):
    """Why one row differs. names: what has to be accepted; empty: nobody knows."""

    names: tuple[str, ...]
    says: str = ""

    @property
    def label(self) -> str:
        """For a table."""
        return " + ".join(self.names) or UNEXPLAINED


class OneSided:
    """Which facts only one of the sides refused: by row, and for ever up to date.

    Dead letters of a source's partition lie in the partition of the same number, so both sides
    are read partition by partition, and only what one side alone has is kept.

    Args:
        sides: settings of the old and of the new side.
        rules: of the old and of the new side.
        windows: offsets of their duplicates windows.
        consumer: of committed records, in no group.
    """

    def __init__(
        self,
        sides: tuple[Settings, Settings],
        rules: tuple[RuleSet, RuleSet],
        windows: tuple[int, int],
        consumer: AIOKafkaConsumer,
    ) -> None:
        self._windows = windows
        self._topics = (sides[0].dlq_topic, sides[1].dlq_topic)
        self._sources = set(sides[0].source_topics.values())
        self._rules, self._consumer = rules, consumer
        #: Of each side, by row and place, what it alone refused.
        self._refused: tuple[dict[RowKey, _Places], dict[RowKey, _Places]] = ({}, {})
        self._rows: tuple[dict[RecordPlace, RowKey], dict[RecordPlace, RowKey]] = ({}, {})
        self._next: dict[TopicPartition, int] = {}
        self._reading = asyncio.Lock()

    async def read(self, partition: int) -> None:
        """Read on, to what is the end now.

        Raises:
            KafkaError: Kafka does not give them.
            TooManyLetters: there are too many that one side alone has.
        """
        async with self._reading:
            for side, topic in enumerate(self._topics):
                async for letter in self._letters(TopicPartition(topic, partition)):
                    if letter.topic in self._sources:
                        self._take(side, letter)

    def of(self, side: int, key: RowKey, position: Mapping[Place, int]) -> list[Counted]:
        """What this side alone refused of a row, up to a position.

        What was said again is refused again here, and counted once by the other side.
        """
        window = self._windows[1 - side]
        found, seen = list[Counted](), dict[tuple[str, int, bytes], int]()
        for (topic, partition, offset), event in sorted(self._refused[side].get(key, {}).items()):
            if offset > position.get((topic, partition), -1):
                continue
            before = seen.get((topic, partition, event.name))
            if before is None or before < offset - window:
                seen[topic, partition, event.name] = offset
                found.append(event)
        return found

    def _take(self, side: int, letter: Letter) -> None:
        place = letter.topic, letter.partition, letter.offset
        if (key := self._rows[1 - side].pop(place, None)) is not None:
            del self._refused[1 - side][key][place]  # refused by both
            return
        # As the side reads it that did not refuse it.
        rules = self._rules[1 - side]
        event = rules.decode(letter.value, letter.headers)
        if isinstance(event, Refused):
            return
        [[field], [amount]] = rules.effects([event])
        key = event.data.sku, event.data.location
        name = identity(event)
        crc = zlib.crc32(name)
        counted = Counted(field, amount, crc, letter.recorded_ms, letter.reason, name)
        self._rows[side][place] = key
        self._refused[side].setdefault(key, {})[place] = counted
        if len(self._rows[side]) > MOST_ONE_SIDED:
            raise TooManyLetters(f"One version refused more than {MOST_ONE_SIDED:,} other facts.")

    async def _letters(self, tp: TopicPartition) -> AsyncIterator[Letter]:
        consumer = self._consumer
        consumer.assign([tp])
        # What a worker answers with is committed, and the marks that say so may be written behind
        # its answer: so to the very end, and not only to where a committed reader ends now.
        end = (await end_offsets(consumer, [tp], committed=False))[tp]
        if tp not in self._next:
            self._next[tp] = (await consumer.beginning_offsets([tp]))[tp]
        while self._next[tp] < end:
            consumer.seek(tp, self._next[tp])
            part = (await fetch(consumer, _POLL_S, _RECORDS)).get(tp)
            if part is None:
                continue
            if part.error is not None:
                raise part.error
            for record in stored(tp, part):
                if (letter := letter_of(record)) is not None:
                    yield letter
            self._next[tp] = part.next_offset


class Causes:
    """Finds the cause of each difference.

    Args:
        old, new: rules of the sides. one_sided: what only one of them refused.
    """

    def __init__(self, old: RuleSet, new: RuleSet, one_sided: OneSided) -> None:
        self._changes = changes_between(old.number, new.number)
        self._one_sided = one_sided

    async def of(self, partition: int, found: Sequence[Difference]) -> list[Cause]:
        """Why, of each.

        Raises:
            KafkaError: Kafka does not give dead letters.
            TooManyLetters: there are too many.
        """
        if any(one.position for one in found):
            await self._one_sided.read(partition)
        return [self._of(one) for one in found]

    def _of(self, found: Difference) -> Cause:
        old, new = found.old or NO_STOCK, found.new or NO_STOCK
        if not found.position:
            return self._declared(old, new)
        key, position = (found.sku, found.location), parse_position(found.position)
        by_old, by_new = (self._one_sided.of(side, key, position) for side in (0, 1))
        # Old letters are deleted after 30 days and a new version refuses the same facts anew:
        # what only the new side is seen to have refused may be none of the difference.
        for more, less in ((by_old, []), (by_old, by_new), ([], by_new)):
            ours, theirs = added(old, more), added(new, less)
            if (ours.events, ours.checksum) != (theirs.events, theirs.checksum):
                continue
            names = [name for name, some in ((ACCEPTED_NOW, more), (REFUSED_NOW, less)) if some]
            says = [_told(who, some) for who, some in (("old", more), ("new", less)) if some]
            return self._declared(ours, theirs, names, says)
        return Cause(())

    def _declared(
        self, old: Row, new: Row, names: Sequence[str] = (), says: Sequence[str] = ()
    ) -> Cause:
        if old == new and names:
            return Cause(tuple(names), "; ".join(says))
        for change in self._changes:
            if change.explains(old, new):
                return Cause((*names, change.name), "; ".join((*says, change.says)))
        return Cause(())


def _told(who: str, events: Sequence[Counted]) -> str:
    reasons = ", ".join(sorted({event.reason for event in events}))
    plural = "s" if len(events) > 1 else ""
    return f"{len(events):,} event{plural} that the {who} one refused ({reasons})"
