"""From a fetched batch to the group of events that the next commit takes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from time import time

from core.columns import Columns
from core.fold import fold
from core.projection import NotARow
from core.records import Record, size_of
from tables.decoder import Batch
from tables.groupcommit import GroupCommit
from tables.home.sources import fingerprint
from tables.home.store import undecodable
from tables.partition import UNREADABLE, Hold, Owned, Partition
from tables.ports import Delivery
from tables.tasks import Tasks
from wire.batches import Unreadable

log = logging.getLogger(__name__)

#: What cannot be read is tried again so often.
TRY_AGAIN_S = 10.0
#: A group is full at so many events, or at as many bytes of refused records as they stand for.
_BYTES_LIKE_AN_EVENT = 1024


class Folding:
    """Folds slice by slice, so that the loop stays free, and as far ahead as a group is large."""

    def __init__(
        self,
        delivery: Delivery,
        commits: GroupCommit,
        tasks: Tasks,
        topics: Sequence[str],
        is_open: Callable[[], bool],
    ) -> None:
        """`is_open`: false from the beginning of a rebalance; nothing is folded meanwhile."""
        self._delivery, self._commits, self._tasks = delivery, commits, tasks
        self._topics, self._is_open = topics, is_open

    async def take(self, partition: Partition, batch: Batch) -> None:
        """Fold what of the batch is new; returns when the next one may come."""
        owned = partition.owned
        if owned is None or owned.is_aside or not self._is_open():
            return
        try:
            await self._take(partition, owned, batch)
        except Unreadable as error:
            if self._takes(partition, owned):
                await self._stand_still(partition, owned, batch.address.topic, error)

    async def _take(self, partition: Partition, owned: Owned, batch: Batch) -> None:
        topic = batch.address.topic
        if batch.start > owned.fold.positions.get(topic, 0):
            # Fetched before a seek and delivered after it: read the gap first.
            log.info(
                "Partition %d: a batch of %s came too early; seeking back.", partition.number, topic
            )
            await self._deliver(partition, owned)
            return
        if topic not in owned.fingerprints and (first := next(iter(batch.originals()), None)):
            owned.fingerprints[topic] = fingerprint(first)
        for piece, originals in await batch.pieces():
            if not self._takes(partition, owned):
                return
            if piece is not None:
                self._fold(partition, owned, batch, piece, originals)
            await self._delivery.rest(0 if piece is None else piece.size)
            if not await self._commits.has_room(partition, owned):
                if self._takes(partition, owned):
                    await self._set_aside(partition, owned)
                return
        if not self._takes(partition, owned):
            return
        if owned.fold.positions.get(topic, 0) < batch.next_offset:
            # Markers and aborted records: no event, but progress all the same.
            owned.fold.positions[topic] = batch.next_offset
            owned.uncommitted = True
        if topic == owned.unreadable:
            owned.unreadable = partition.stopped_because = None
            partition.release(topic)
            log.info("Partition %d: %s can be read again; it goes on.", partition.number, topic)
        if not batch.more:
            self._commits.due(partition)

    def _takes(self, partition: Partition, owned: Owned) -> bool:
        return partition.owned is owned and self._is_open()

    def _fold(
        self,
        partition: Partition,
        owned: Owned,
        batch: Batch,
        piece: Columns,
        originals: Callable[[], Iterable[Record]],
    ) -> None:
        letters, waiting = len(owned.fold.dead_letters), owned.fold.memory.waiting
        try:
            fold(owned.fold, batch.address, piece, partition.store.get_many, originals)
        except NotARow as error:
            raise undecodable("a row", error) from error
        owned.uncommitted = True
        if owned.oldest_ms is None:
            owned.oldest_ms = piece.first[1]
        owned.spans[batch.address.topic].saw(*piece.last)
        owned.last[batch.address.topic] = (*piece.last, piece.last_crc)
        owned.uncommitted_events += piece.size
        owned.uncommitted_events += max(0, owned.fold.memory.waiting - waiting)
        # Refused records are kept whole until their commit: many large ones fill a group too.
        for letter in owned.fold.dead_letters[letters:]:
            size = size_of(letter.key, letter.value, letter.headers) + 64 * len(letter.headers)
            owned.uncommitted_events += size // _BYTES_LIKE_AN_EVENT

    async def _deliver(self, partition: Partition, owned: Owned) -> None:
        positions = {topic: owned.fold.positions.get(topic, 0) for topic in self._topics}
        await self._delivery.start(partition.number, positions, partition.epoch)

    async def _set_aside(self, partition: Partition, owned: Owned) -> None:
        """Deliver nothing of it until its commit is answered; what came meanwhile is read again.

        The worker has one stream of batches, and the others' are behind this one's.
        """
        owned.is_aside = True
        log.warning(
            "Partition %d: Kafka does not answer its commit; the others go on.", partition.number
        )
        await self._delivery.stop(partition.number)
        self._tasks.start(
            self._take_back(partition, owned), f"partition {partition.number} is aside"
        )

    async def _take_back(self, partition: Partition, owned: Owned) -> None:
        await owned.room.wait()
        owned.is_aside = False
        if self._takes(partition, owned):
            log.info("Partition %d: its commit was answered; it goes on.", partition.number)
            await self._deliver(partition, owned)

    async def _stand_still(
        self, partition: Partition, owned: Owned, topic: str, error: Unreadable
    ) -> None:
        """Go no further than what could be read; commit that, answer reads, try again.

        Another replica may be sound, or the damage was on the way.
        """
        at = owned.fold.positions.get(topic, 0)
        sentence = f"Topic {topic}, partition {partition.number}: {error}"
        if partition.stopped_because != sentence:
            partition.stopped_because = sentence
            log.error("Partition %d stands still. %s", partition.number, sentence)
        owned.is_aside, owned.unreadable = True, topic
        partition.hold(topic, Hold(at, UNREADABLE, int(time() * 1000)))
        self._commits.due(partition)
        await self._delivery.stop(partition.number)
        self._tasks.start(
            self._try_again(partition, owned), f"partition {partition.number} stands still"
        )

    async def _try_again(self, partition: Partition, owned: Owned) -> None:
        await asyncio.sleep(TRY_AGAIN_S)
        owned.is_aside = False
        if self._takes(partition, owned):
            await self._deliver(partition, owned)
