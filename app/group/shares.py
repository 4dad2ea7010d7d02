"""How much may wait for each reader of a worker: of the steps of a chain none holds up another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Container, Iterable
from time import monotonic
from typing import Any, NamedTuple, TypeAlias

from tables.ports import Fail

#: Delivered batches that an agent has not finished with, in bytes as fetched: so many that the
#: decoding process always has the next one. Decoded, an event is about 150 bytes.
BUDGET_BYTES = 2**20
#: An agent that has had so much for so long, while Kafka answers, will never finish.
STUCK_S = 60.0
_LOOK_S = 1.0
#: Whether batches of a topic may be delivered; asked in the consumer's thread too.
HasRoom: TypeAlias = Callable[[str], bool]


class Undone:
    """Bytes delivered and not yet acknowledged; a rebalance starts a new one.

    Each reader has a share of its own. Of one for all, a step that is far behind would have
    everything, and its followers would wait behind its batches.

    Args:
        reader_of: by topic.
        freed: called when a share that was full has room again.
    """

    def __init__(
        self, reader_of: Callable[[str], str], freed: Callable[[], None] = lambda: None
    ) -> None:
        self._reader_of, self._freed = reader_of, freed
        self.used: dict[str, int] = {}
        #: By reader, batches that were acknowledged.
        self.done: dict[str, int] = {}
        self._room = asyncio.Event()

    def has_room(self, topic: str) -> bool:
        """Whether more of this topic may be delivered; asked in the consumer's thread too."""
        return self.used.get(self._reader_of(topic), 0) < BUDGET_BYTES

    def take(self, topic: str, nbytes: int) -> None:
        """Delivered."""
        reader = self._reader_of(topic)
        self.used[reader] = self.used.get(reader, 0) + nbytes

    def free(self, topic: str, nbytes: int) -> None:
        """Acknowledged."""
        was_full = not self.has_room(topic)
        reader = self._reader_of(topic)
        self.used[reader] -= nbytes
        self.done[reader] = self.done.get(reader, 0) + 1
        if was_full and self.has_room(topic):
            self._room.set()
            self._freed()

    async def some_room(self, topics: Iterable[str]) -> bool:
        """Whether one of these topics may be delivered; waits a second for it, at most."""
        self._room.clear()
        if any(map(self.has_room, topics)):
            return True
        try:
            await asyncio.wait_for(self._room.wait(), _LOOK_S)
        except TimeoutError:
            return False
        return True


class Deliverable(NamedTuple):
    """Partitions that may be delivered now; for `wire.fetch.fetch`."""

    some: Container[Any]
    has_room: HasRoom

    def __contains__(self, tp: Any) -> bool:
        return tp in self.some and self.has_room(tp.topic)


async def watch_agents(
    budget: Callable[[], Undone], may_wait: Callable[[], bool], fail: Fail
) -> None:
    """End the worker where an agent stands still, which would look healthy from outside.

    Args:
        budget: of now.
        may_wait: with Kafka away commits wait, and so do all.
        fail: ends the worker.
    """
    of, since = budget(), dict[_Full, float]()
    while True:
        await asyncio.sleep(_LOOK_S)
        now = budget()
        if now is not of or may_wait():
            of, since = now, {}
        full = (reader for reader, used in of.used.items() if used >= BUDGET_BYTES)
        # One that is full whenever somebody looks, and gets on, is only behind.
        since = {
            one: since.get(one, monotonic())
            for one in (_Full(reader, of.done.get(reader, 0)) for reader in full)
        }
        for reader, _ in _longer_than(STUCK_S, since):
            await fail(
                f"The agent of {reader} has not finished a batch for {STUCK_S:.0f} s with "
                f"{of.used[reader] / 2**20:.0f} MiB waiting.",
                None,
            )


class _Full(NamedTuple):
    """A reader that has all it may have, after so many batches."""

    reader: str
    done: int


def _longer_than(seconds: float, since: dict[_Full, float]) -> Collection[_Full]:
    return [one for one, at in since.items() if monotonic() - at > seconds]
