"""`POST …?outcome=true`: wait for the commit, then say what became of each event.

By the look-up of `domain/fates.py` at the owner, over workers too. Never a verdict that may
be wrong: where the wait ended, the window has moved on, nobody owns the partition or the
owner has other rules, it is `unknown`, with the sentence that says why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from msgspec import UNSET, Struct, UnsetType

from core.positions import Place, format_position
from core.records import Address, Record
from core.refusals import DeadLetter, Refused
from domain.columns import columns
from domain.fates import Ending, Fate, fate_of, unknown
from domain.rules.held import Ruling
from web.cluster.sightings import Ask, WindowQuestion
from web.writes.appending import Outgoing

#: Events read before the loop gets a turn: about 1 ms.
SLICE_EVENTS = 100


class OutcomeBody(Struct, frozen=True, omit_defaults=True):
    """What became of one event.

    of: position of the event that it repeats. reason, detail: why it was refused; for an
    unknown outcome, detail says why it cannot be said.
    """

    outcome: Ending
    of: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


def outcome_body(place: Place, fate: Fate) -> OutcomeBody:
    """The fate of a record in this topic-partition, as the world sees it."""
    of = UNSET if fate.of is None else format_position({place: fate.of})
    if fate.refused is not None:
        return OutcomeBody(fate.outcome, of, fate.refused.reason, fate.refused.detail)
    return OutcomeBody(fate.outcome, of, UNSET, fate.why or UNSET)


class Outcomes:
    """`ask` is `Sightings.ask`; `roles` are the source topics' by full name."""

    def __init__(self, ask: Ask, roles: Mapping[str, str], partitions: int, ruling: Ruling) -> None:
        self._ask, self._roles, self._partitions = ask, roles, partitions
        self._ruling = ruling

    async def of(
        self, records: Sequence[Outgoing], offsets: Sequence[int], wait_s: float
    ) -> list[OutcomeBody]:
        """What became of records that stand at these offsets, in their order.

        Args:
            records: as they were appended.
            offsets: of each, in its topic-partition.
            wait_s: how long to wait until they are committed.
        """
        marks, fates = await self._marks(records, offsets)
        questions = [
            WindowQuestion(*place, [identity for identity, _ in at.values()], max(at))
            for place, at in marks.items()
        ]
        told = await self._ask(questions, wait_s)
        for place, at in marks.items():
            seen = told.seen.get(place)
            for offset, mark in at.items():
                fates[place][offset] = (
                    unknown(told.why[place[1]]) if seen is None else fate_of(seen, offset, *mark)
                )
        places = [(record.topic, record.partition) for record in records]
        return [
            outcome_body(place, fates[place][offset])
            for place, offset in zip(places, offsets, strict=True)
        ]

    async def _marks(
        self, records: Sequence[Outgoing], offsets: Sequence[int]
    ) -> tuple[dict[Place, dict[int, tuple[int, int]]], dict[Place, dict[int, Fate]]]:
        """Identity and content by place and offset, by the very code that the fold uses.

        And the fates of what that code refuses. The door has checked the same before, so
        there are none, unless the two should ever differ.
        """
        by_place: dict[Place, list[Record]] = {}
        for record, offset in zip(records, offsets, strict=True):
            log_record = (offset, 0, record.key, record.value, ())
            by_place.setdefault((record.topic, record.partition), []).append(log_record)
        marks: dict[Place, dict[int, tuple[int, int]]] = {}
        fates: dict[Place, dict[int, Fate]] = {}
        for (topic, partition), some in by_place.items():
            address = Address(topic, self._roles[topic], partition, self._partitions)
            some.sort(key=lambda record: record[0])
            at = marks[topic, partition] = {}
            known = fates[topic, partition] = {}
            for start in range(0, len(some), SLICE_EVENTS):
                read = columns(address, some[start : start + SLICE_EVENTS], self._ruling.now)
                events = read.events
                rows = zip(events["identity"].tolist(), events["content"].tolist(), strict=True)
                at.update(zip(events["offset"].tolist(), rows, strict=True))
                known.update((each.offset, _refused(each)) for each in read.refused)
                await asyncio.sleep(0)
        return {place: at for place, at in marks.items() if at}, fates


def _refused(letter: DeadLetter) -> Fate:
    return Fate(Ending.REFUSED, refused=Refused(letter.reason, letter.detail))
