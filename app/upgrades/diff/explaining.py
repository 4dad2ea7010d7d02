"""`onhand upgrade diff --explain`: one row, event by event, as two versions judge it.

The row's partition is read from the beginning, and judged by the rules and the window of
either version. So it also finds what no sum can tell: an event that one of the windows holds
for a repetition, and a row that is not what its own log gives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from aiokafka import AIOKafkaConsumer
from msgspec import Struct

from app.config import Settings
from app.upgrades.diff.causes import Counted, added
from app.upgrades.diff.sides import Side
from core.partitioning import partition_for
from core.positions import Place, format_position
from core.records import Address, Record
from core.refusals import Refused
from core.window import Verdict, Window
from domain.columns import columns
from domain.rows import NO_STOCK, Row, row_key
from domain.rules.held import NEWEST
from domain.rules.sets import RuleSet
from wire.whole import whole_topic

_SLICE = 500


class JudgedEvent(Struct):
    """One event of the row, and what either version makes of it, as a sentence."""

    position: str
    recorded_ms: int
    kind: str
    quantity: int
    old: str = ""
    new: str = ""


class JudgedRow(Struct):
    """A row by either version: as the log gives it, and as the workers answer.

    events: those that the two judge in different ways.
    """

    by_log: tuple[Row | None, Row | None]
    served: tuple[Row | None, Row | None]
    events: list[JudgedEvent]
    counted: int

    @property
    def strange(self) -> list[int]:
        """Sides (0 old, 1 new) whose answer is not what their log gives."""
        return [
            side
            for side in (0, 1)
            if (log := self.by_log[side]) != (told := self.served[side])
            # It may have counted more meanwhile.
            and (log is None or told is None or log.events >= told.events)
        ]


class _Judge:
    """One side's rules and windows over the topics of one partition."""

    def __init__(self, rules: RuleSet, window: int) -> None:
        self._rules, self._size = rules, window
        self._windows: dict[str, Window] = {}
        self.row: Row | None = None

    def judge(self, address: Address, slice_: Sequence[Record], key: bytes) -> dict[int, str]:
        """What became of this row's events, by offset; of what was refused, of any row."""
        found = columns(address, slice_, self._rules)
        window = self._windows.setdefault(address.topic, Window(address.topic, self._size))
        events = found.events
        verdicts = window.judge(events["offset"], events["identity"], events["content"])
        window.take(found.last[0] + 1)
        told = {letter.offset: f"refused: {letter.reason}" for letter in found.refused}
        for index, of in enumerate(found.keys):
            if of != key:
                continue
            event = events[index]
            offset = int(event["offset"])
            if (verdict := verdicts.get(index)) is not None:
                told[offset] = "repeated" if verdict is Verdict.REPEATED else "refused: id_conflict"
                continue
            field, amount = int(event["field"]), int(event["amount"])
            counted = Counted(field, amount, int(event["crc"]), int(event["time_ms"]), "")
            self.row = added(self.row or NO_STOCK, [counted])
            told[offset] = f"{Row.__struct_fields__[field]} {amount:+}"
        return told


async def judged_row(
    settings: Settings,
    consumer: AIOKafkaConsumer,
    sides: tuple[Side, Side],
    judges: tuple[tuple[RuleSet, int], tuple[RuleSet, int]],
    key: tuple[str, str],
    said: Callable[[int], None],
) -> JudgedRow:
    """Read the partition of a row and judge it twice.

    Args:
        settings: of any version.
        consumer: of committed records, in no group.
        sides: who answers.
        judges: rules and window of either side.
        key: SKU and location.
        said: is told now and then how many records were read.

    Raises:
        RecordsError: Kafka does not give the records.
        NotCompared: nobody answers for the partition.
    """
    partition = partition_for(key[0].encode(), settings.partitions)
    old, new = (_Judge(*one) for one in judges)
    told: list[JudgedEvent] = []
    counted, ends = 0, dict[Place, int]()
    for role, topic in settings.source_topics.items():
        address = Address(topic, role, partition, settings.partitions)
        async for slice_ in _slices(consumer, topic, partition, said):
            ends[topic, partition] = slice_[-1][0]
            ours, theirs = (j.judge(address, slice_, row_key(*key)) for j in (old, new))
            for record in slice_:
                at = record[0]
                if at not in ours and at not in theirs:
                    continue
                event = _event(record, (topic, partition), key)
                counted += event is not None
                if event is not None and ours.get(at) != theirs.get(at):
                    event.old, event.new = ours.get(at, ""), theirs.get(at, "")
                    told.append(event)
    floor = format_position(ends)
    looks = [await side.look(partition, [key], floor) for side in sides]
    served = looks[0].rows.get(key), looks[1].rows.get(key)
    return JudgedRow((old.row, new.row), served, told, counted)


async def _slices(
    consumer: AIOKafkaConsumer, topic: str, partition: int, said: Callable[[int], None]
) -> AsyncIterator[list[Record]]:
    slice_: list[Record] = []
    async for one in whole_topic(consumer, topic, partition, said):
        slice_.append((one.offset, one.timestamp, one.key, one.value, one.headers))
        if len(slice_) == _SLICE:
            yield slice_
            slice_ = []
    if slice_:
        yield slice_


def _event(record: Record, place: Place, key: tuple[str, str]) -> JudgedEvent | None:
    """None where it is of another row, as far as it can be read."""
    event = NEWEST.decode(record[3], record[4])
    if isinstance(event, Refused) or (event.data.sku, event.data.location) != key:
        return None
    position = format_position({place: record[0]})
    kind = str(type(event).__struct_config__.tag)
    return JudgedEvent(position, record[1], kind, event.data.quantity)
