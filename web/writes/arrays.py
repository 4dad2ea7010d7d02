"""Lines that are plainly right, checked side by side and made into the facts to append.

Step by step for each line (`Facts._judge`) the same checks take three times as long. Here each
step takes all lines before the next one begins, as in the fold, and by the checks that the fold
has for its slices. What is not plainly right is left to the other way, which alone says what is
wrong; tests/unit/web/writes/test_arrays.py holds the two together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Final, cast

from msgspec import Raw, Struct

from core.partitioning import partition_for
from core.refusals import Refused
from domain.events import StockEvent, are_good_names
from domain.rows import row_key
from domain.rules.held import Ruling
from web.access.callers import CALLER
from web.writes.appending import Outgoing
from web.writes.lines import Posted, said_by

#: Lines read before the loop gets a turn: about 1 ms.
PLAIN_LINES: Final = 256


class Fact(Struct, frozen=True, gc=False):
    """A checked line: whose id, and what to append where."""

    source: str
    id: str
    record: Outgoing


class PlainLines:
    """Takes what is plainly right.

    Args:
        ruling: by which events are read, as the fold will read them.
        topics: full names by role.
        partitions: of each.
        event_bytes: of the largest event.
    """

    def __init__(
        self, ruling: Ruling, topics: Mapping[str, str], partitions: int, event_bytes: int
    ) -> None:
        self._ruling, self._topics = ruling, topics
        self._partitions, self._event_bytes = partitions, event_bytes

    async def all(self, lines: Sequence[Raw], posted: Posted) -> list[Fact] | None:
        """The facts of all lines of a body; None where any is not plainly right.

        Nor where two have one source and id: they may say different things.
        """
        facts: list[Fact] = []
        for start in range(0, len(lines), PLAIN_LINES):
            if start:
                await asyncio.sleep(0)
            some = self.some(lines[start : start + PLAIN_LINES], posted)
            if some is None:
                return None
            facts += some
        return facts if len({(fact.source, fact.id) for fact in facts}) == len(facts) else None

    def some(self, lines: Sequence[Raw], posted: Posted) -> list[Fact] | None:
        """Those of one line at least, whatever their ids are."""
        values = posted.events(lines)
        if values is None:
            return None
        outcomes = self._ruling.now.decode_batch(values, [()] * len(values))
        if Refused in set(map(type, outcomes)) or max(map(len, values)) > self._event_bytes:
            return None
        events = cast("list[StockEvent]", outcomes)
        if not are_good_names([row_key(event.data.sku, event.data.location) for event in events]):
            return None
        caller = CALLER.get()
        if caller is not None:
            if caller.is_narrow:
                return None
            values = list(map(said_by, repeat(caller.name), values))
        count, topics = self._partitions, self._topics
        keys = [event.data.sku.encode() for event in events]
        return [
            Fact(
                event.source,
                event.id,
                Outgoing(topics[event.role], partition_for(key, count), key, value),
            )
            for event, key, value in zip(events, keys, values, strict=True)
        ]
