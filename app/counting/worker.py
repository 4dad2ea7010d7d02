"""A worker that counts: its tables, and the order in which it takes partitions and leaves them.

Start: `begin` connects the tables; the consumer joins the group; `on_assigned` after each
rebalance, `on_revoked` before. Stop: `leave` first stops promising, then the tables commit,
then the group is left, then the tables are closed.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from aiokafka.errors import KafkaError
from msgspec import Struct

from app.config import Settings
from app.group.member import GroupMember
from app.group.ports import BatchMaker
from app.group.transport import BatchConsumer
from app.group.warming import WarmUps
from app.news import News
from core.words import in_words
from tables.config import TableConfig
from tables.decoder import Batch, Decoder
from tables.home.agreement import agree
from tables.reading import PartitionStatus
from tables.table import Table
from tables.tasks import Final
from wire.fetch import Fetched

log = logging.getLogger(__name__)

#: For reading the log's last word, and on a new table writing the first.
_AGREE_S = 60.0
_M_ARENA_MAX = -8  # of glibc, malloc.h


class CountedTable(Struct):
    """One table of a worker, and what makes batches for it.

    imported_as: how the decoding process finds what is counted, once that is known. None: as the
        decoder was told.
    """

    config: TableConfig
    table: Table
    decoder: Decoder
    imported_as: Callable[[], str] | None = None


class CountingApp(GroupMember):
    """What all workers with tables have in common; `app/group/ports.py` says what Faust asks.

    counted: its tables, in the order in which what is counted passes through them. Each
    partition number is owned as a whole, in all of them.
    """

    settings: Settings
    source_topics: tuple[str, ...]
    news: News
    counted: tuple[CountedTable, ...]
    _stopping = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: The group has rebalanced while this worker stops.
        self._relieved = asyncio.Event()
        self._warm_ups = WarmUps(self._statuses, self._place_again)
        self._by_topic: dict[str, CountedTable] = {}

    def count(self, *counted: CountedTable) -> None:
        """Count these; once, before the start."""
        self.counted = counted
        self._by_topic = {topic: one for one in counted for topic in one.config.topics}
        self.source_topics = tuple(self._by_topic)

    async def begin(self) -> None:
        """Connect; the consumer may join the group then. Raises KafkaError."""
        for one in self.counted:
            one.decoder.start(None if one.imported_as is None else one.imported_as())
        for one in self.counted:
            await one.table.start()
            one.table.listeners.append(self.news.changed)
        self.news.start()

    async def disagreement(self) -> list[str]:
        """Why this worker may not count: a sentence, or none."""
        for one in self.counted:
            try:
                async with asyncio.timeout(_AGREE_S):
                    await agree(one.config)
            except Final as error:
                return [str(error)]
            except (KafkaError, TimeoutError) as error:
                return [
                    f"{one.config.changelog} cannot be read or written before this worker "
                    f"joins ({in_words(error)}): look at the brokers, and at what its user may do."
                ]
        return []

    async def leave(self, end_requests: Callable[[], Awaitable[None]]) -> None:
        """Leave in order. `end_requests`: finish what is asked of the web, take no more."""
        await self.news.stop()
        # From here on it takes no partition over any more, whoever gives it one.
        await self._warm_ups.end()
        for one in self.counted:
            one.table.leave()
        requests = asyncio.ensure_future(end_requests())
        relieved = asyncio.create_task(self._relieved.wait(), name="relieved")
        await asyncio.wait([requests, relieved], return_when=asyncio.FIRST_COMPLETED)
        relieved.cancel()
        await asyncio.gather(*(one.table.revoke() for one in self.counted))
        # Before the stores are closed, and before the last requests are answered, if there are
        # any left: until the group knows, its partitions have no owner.
        await cast(BatchConsumer, self.consumer).leave()
        await asyncio.gather(*(one.table.stop() for one in self.counted))
        for one in self.counted:
            await one.decoder.stop()
        await requests

    # ---- called by app/group/transport.py, app/group/assignment.py and app/group/assignor.py

    @property
    def decoder(self) -> BatchMaker:
        """Of one table it is that table's own; of several, whoever reads the topic."""
        return self.counted[0].decoder if len(self.counted) == 1 else self

    def batch(
        self,
        topic: str,
        partition: int,
        part: Fetched,
        epoch: int,
        more: bool = False,
        here: bool = False,
    ) -> Batch:
        """What was fetched of a topic, for the table that counts it."""
        return self._by_topic[topic].decoder.batch(topic, partition, part, epoch, more, here)

    def reader_of(self, topic: str) -> str:
        """Name of the table that counts it."""
        return self._by_topic[topic].config.projection.name

    async def stand_still(self, topic: str, partition: int, sentence: str) -> None:
        """A source has lost what its table would read next of this partition."""
        await self._by_topic[topic].table.stand_still(partition, sentence)

    async def on_assigned(
        self, actives: set[int], standbys: set[int], warming: frozenset[int]
    ) -> None:
        """After a rebalance; a worker that stops leaves what it is given to the next one.

        warming: those of `standbys` that this worker will own once it has their rows.
        """
        if self._stopping:
            self._relieved.set()
        else:
            self.news.assigned(actives, standbys)
            for one in self.counted:
                await one.table.assign(actives, standbys)
            await self._warm_ups.assigned(warming)

    async def on_revoked(self) -> None:
        """Before a rebalance, also of one that comes while this worker stops.

        It would go on to write partitions that have another owner, be refused, and fence
        that owner in order to take them back.
        """
        await self._warm_ups.end()
        await asyncio.gather(*(one.table.revoke() for one in self.counted))

    def _place_again(self) -> None:
        cast(BatchConsumer, self.consumer).rejoin()

    def _statuses(self) -> Sequence[PartitionStatus]:
        return [status for one in self.counted for status in one.table.status()]

    def copies(self) -> dict[int, int]:
        """What this worker tells the group of its stores; asked in the consumer's thread."""
        copies: Counter[int] = Counter()
        for one in self.counted:
            copies.update(one.table.copies())
        return dict(copies)

    def group_offsets(self) -> dict[tuple[str, int], int]:
        """What lag tools are told."""
        return {tp: at for one in self.counted for tp, at in one.table.group_offsets().items()}


def share_memory_between_threads() -> None:
    """Let all threads allocate from two heaps.

    By default glibc gives each thread one of its own, and each keeps what its busiest
    moment needed: 20 MB in all for ours, which compress and fetch and seldom meet.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)


def settle_memory() -> None:
    """What start-up made stays: the collector need not look at it again.

    And who folds, or keeps a ledger, makes garbage that is freed by counting alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
