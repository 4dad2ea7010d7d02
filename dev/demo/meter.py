"""sent = counted + repeated + refused + in flight, each from who knows it; drift is what is left.

`sent` and where it stands come from Kafka's answers to the producer. What became of it is what the
workers have committed, together with how far they are. `in flight` are the acknowledged records
behind that point, one by one. Nothing here is what remains of the others, or drift would say
nothing.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from threading import Lock
from typing import Any, NamedTuple

from dev.oracle.log import LogReader

META = b"\x00meta"
EVERY_S = 0.1
Place = tuple[str, int]
"""A topic's partition."""


class Balance(NamedTuple):
    """All at one position of each partition.

    Attributes:
        sent: records that Kafka acknowledged to the demo, or a worker when the demo posted them.
        others: records in the log that nobody told the demo of: somebody else appended them.
        counted: folded into rows, and committed.
        repeated: known already, so without effect.
        refused: dead letters.
        in_flight: sent, and not committed yet.
    """

    sent: int = 0
    others: int = 0
    counted: int = 0
    repeated: int = 0
    refused: int = 0
    in_flight: int = 0

    @property
    def drift(self) -> int:
        """Above 0: something is lost. Below 0: something has two fates."""
        fates = self.counted + self.repeated + self.refused
        return self.sent + self.others - fates - self.in_flight


class Committed(NamedTuple):
    """What the workers have committed: next positions, and counted, repeated and refused."""

    positions: Mapping[Place, int]
    counts: tuple[int, int, int]


class Books:
    """Which records were acknowledged, and which were found in the log: offset by offset."""

    def __init__(self) -> None:
        self.sent = 0
        self._others: set[tuple[str, int, int]] = set()
        self._acked: dict[Place, set[int]] = defaultdict(set)
        self._found: dict[Place, set[int]] = defaultdict(set)

    def acked(self, topic: str, partition: int, offset: int) -> None:
        """Whoever appended a record for the demo was told where it stands."""
        self.sent += 1
        if (topic, partition, offset) in self._others:  # an answer that came late
            self._others.remove((topic, partition, offset))
        else:
            self._acked[topic, partition].add(offset)

    def found(self, topic: str, partition: int, offset: int) -> None:
        """A record stands in the log."""
        self._found[topic, partition].add(offset)

    def balance(self, committed: Committed) -> Balance:
        """Close the books up to what is committed; it may only grow.

        The log must have been read as far, and what stands before those positions should be
        acknowledged: else it looks for a while as if others had sent it.
        """
        for place, position in committed.positions.items():
            acked, found = self._acked[place], self._found[place]
            mine = {offset for offset in acked if offset < position}
            there = {offset for offset in found if offset < position}
            self._others |= {(*place, offset) for offset in there - mine}
            acked -= mine
            found -= there
        in_flight = sum(map(len, self._acked.values()))
        return Balance(self.sent, len(self._others), *committed.counts, in_flight)


class Meter:
    """Reads what the workers have committed, and the log beside it.

    Attributes:
        books: to be told of each acknowledged record.
        last: the newest balance.
    """

    def __init__(self, kafka: str, changelog: str, sources: Iterable[str]) -> None:
        self.books = Books()
        self.last = Balance()
        self._changelog = changelog
        self._reading = Lock()
        self._reader = LogReader(kafka, [changelog, *sources])
        self._metas: dict[int, Mapping[str, Any]] = {}

    async def run(self, answered: Callable[[], Awaitable[None]]) -> None:
        """Keep `last` true, for ever; `answered` ends when no earlier record waits for its answer.

        The steps keep their order: what is committed is fixed first, then come all answers for
        what stands before it, then the log is read as far. So nothing counts before it was sent.
        """
        while True:
            await asyncio.to_thread(self._poll)
            committed = self._committed()
            await answered()
            while not self._reader.reached(committed.positions):
                await asyncio.to_thread(self._poll)
            self.last = self.books.balance(committed)
            await asyncio.sleep(EVERY_S)

    def _poll(self) -> None:
        with self._reading:
            records = self._reader.poll()
        for record in records:
            if record.topic != self._changelog:
                self.books.found(*record.place)
            elif record.key == META:
                self._metas[record.partition] = json.loads(record.value or b"")

    def _committed(self) -> Committed:
        positions: dict[Place, int] = {}
        sums = [0, 0, 0]
        for partition, meta in self._metas.items():
            for topic, position in meta["positions"].items():
                positions[topic, partition] = position
            for counts in meta["counts"].values():
                sums = [total + count for total, count in zip(sums, counts, strict=True)]
        return Committed(positions, (sums[0], sums[1], sums[2]))

    def close(self) -> None:
        """Give the connections back, once nobody reads."""
        with self._reading:
            self._reader.close()
