"""Seven steps from "assigned" to "delivering", in the order that protects the rows.

Run at every assignment for every owned partition, kept ones too: between two of our
assignments another worker may have owned it while this process was stopped.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic

import msgspec
from aiokafka.errors import KafkaError

from core.fold import Fold
from core.stages import Stage
from core.words import in_words
from tables.config import TableConfig
from tables.home import rights
from tables.home.agreement import compare
from tables.home.changelog import ChangelogChanged, Meta
from tables.home.sources import Shown, SourceChanged, Sources, Wanted
from tables.home.store import undecodable
from tables.keys import FIRST_ROW, SEGMENTS
from tables.partition import Owned, Partition, Superseded
from tables.ports import Delivery, Fail, Home, Membership, NotAMember, Restored, Writer
from wire.batches import Unreadable

log = logging.getLogger(__name__)

#: A look at the sources that is older than this is taken again.
_LOOK_S = 2.0
_RETRY_S = 0.25
#: What cannot be read may be sound at another replica.
_UNREADABLE_S = 10.0
_LONGEST_RETRY_S = 2.0
_TRIES = 3


class TakeOver(msgspec.Struct, frozen=True):
    """The tools of a take-over; the same for all partitions of a worker.

    config: of the table; its session timeout is the deadline of steps 2 to 4.
    """

    config: TableConfig

    membership: Membership
    delivery: Delivery
    home: Home[Partition]
    sources: Sources

    @property
    def deadline_s(self) -> float:
        """For steps 2 to 4."""
        return self.config.session_timeout_s

    async def run(self, partition: Partition, epoch: int) -> Restored:
        """Make this worker the owner of `p`; the steps are those of docs/architecture.md.

        Raises:
            Superseded: another assignment came; nothing was delivered.
            TimeoutError: steps 2 to 4 took longer than the session timeout.
            RightMissing, RulesDiffer, SourceChanged, ChangelogChanged, Unreadable: an operator
                must decide.
            KafkaError, NotAMember: try again.
            StoreError: see `tables/home/store.py`.
        """
        # 1. Nothing of an earlier assignment can still write: its Owned is gone and
        #    `check(epoch)` follows every await from here on.
        partition.check(epoch)
        assert partition.owned is None
        partition.move(Stage.FENCING)
        async with asyncio.timeout(self.deadline_s):
            # 2. We are a member of this generation, by the coordinator's word.
            await self.membership.confirm()
            partition.check(epoch)
            # 3. From here on the broker refuses every older writer.
            writer = await self.home.fence(partition.number)
            partition.check(epoch)
            # 4. Nobody else can move this end any more.
            end = await self.home.look(partition.number)
            partition.check(epoch)
        # 5. Restore to it. No meta record can follow, so the sources can be looked at now.
        partition.move(Stage.RESTORING)
        wanted = Wanted.by(partition.number, self._meta(partition, end.incarnation))
        looking = asyncio.create_task(self.sources.look(wanted), name=f"look {partition.number}")
        looking.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            restored = await self.home.restore(partition, end)
            partition.check(epoch)
            # What was seen before a long restore may have been recreated meanwhile, and what was
            # restored may have other records to compare.
            now_wanted = Wanted.by(partition.number, self._meta(partition, end.incarnation))
            is_new = restored.seconds < _LOOK_S and now_wanted == wanted
            look = await (looking if is_new else self.sources.look(now_wanted))
            partition.check(epoch)
        finally:
            looking.cancel()
        # 6. Positions and the window are what the changelog says.
        owned = await self._own(partition, writer, end.incarnation, look)
        partition.check(epoch)
        # 7. Seek, then deliver.
        partition.own(owned)
        partition.advance(owned.meta.positions)
        await self._deliver(partition, owned, epoch)
        return restored

    async def _deliver(self, partition: Partition, owned: Owned, epoch: int) -> None:
        try:
            await self.delivery.start(partition.number, dict(owned.fold.positions), epoch)
        except BaseException:
            if partition.owned is owned:
                partition.owned = None
                if partition.ring is not None:
                    partition.ring.tell()
                partition.move(Stage.FORMER)
            raise

    def _meta(self, partition: Partition, incarnation: str) -> Meta:
        return partition.stored_meta() or Meta.first(self.config, incarnation)

    async def _own(
        self, partition: Partition, writer: Writer, incarnation: str, look: Shown
    ) -> Owned:
        meta = self._meta(partition, incarnation)
        compare(meta, self.config)
        for topic, end in look.ends.items():
            partition.saw_end(topic, *end)
        # All that was ever committed is here: it can be read whatever became of the sources.
        partition.left_whole = True
        partition.advance(meta.positions)
        self.sources.check(partition.number, meta, look)
        topics = self.config.topics
        positions = {topic: 0 for topic in topics} | meta.positions
        if len(meta.positions) < len(topics):
            # A topic that this version has not read yet begins where its log does.
            positions = await self.sources.starts(partition.number) | meta.positions
        segments = partition.store.scan(*SEGMENTS, 2**31)
        empty = not partition.store.scan(FIRST_ROW, None, 1)
        try:
            fold = Fold.restored(
                self.config.projection,
                partition=partition.number,
                partitions=self.config.partitions,
                topics=topics,
                window=self.config.window,
                positions=positions,
                counts=meta.counts,
                segments=segments,
                empty=empty,
            )
        except (ValueError, LookupError, OverflowError) as error:
            raise undecodable("the duplicates window", error) from error
        meta = msgspec.structs.replace(meta, topic_ids=look.ids)
        return Owned(fold, writer, meta, topics)


def _why(error: Exception) -> str:
    if isinstance(error, NotAMember):
        return "the group does not count this worker among its members"
    return in_words(error)


async def keep_trying(take_over: TakeOver, partition: Partition, epoch: int, fail: Fail) -> None:
    """Take over, again after every passing error, until it works or is superseded.

    While the coordinator itself does not answer, Kafka is away: reads go on and we
    wait (P8). If it answers and steps 2 to 4 still do not end in time, this worker
    would be an owner in silence: it ends. Three times, since a leader may be moving.
    """
    began, late, tries = monotonic(), 0, 0
    while True:
        try:
            with rights.reading():
                restored = await take_over.run(partition, epoch)
        except Superseded:
            return
        except (KafkaError, NotAMember, TimeoutError, OSError) as error:
            if partition.epoch != epoch:
                return
            answered = monotonic() - take_over.membership.confirmed_at() < take_over.deadline_s
            late = late + 1 if isinstance(error, TimeoutError) and answered else 0
            if late == _TRIES:
                await fail(
                    f"Partition {partition.number} could not be taken over in {_TRIES} times "
                    f"{take_over.deadline_s:.0f} s although the group coordinator answers.",
                    error,
                )
                return
            if tries % 10 == 0:
                log.warning(
                    "Partition %d: take-over interrupted (%s); trying again.",
                    partition.number,
                    _why(error),
                )
            tries += 1
            await asyncio.sleep(min(_RETRY_S * tries, _LONGEST_RETRY_S))
        except Unreadable as error:
            if partition.epoch != epoch:
                return
            if partition.stopped_because != str(error):
                partition.stopped_because = str(error)
                log.error("Partition %d stands still. %s", partition.number, error)
            await asyncio.sleep(_UNREADABLE_S)
        except (SourceChanged, ChangelogChanged) as error:
            if partition.epoch == epoch:
                partition.stand_still(str(error))
            return
        else:
            partition.stopped_because = None
            log.debug(
                "Partition %d is active after %.2f s: %s changelog records restored (%s/s), "
                "position %s.",
                partition.number,
                monotonic() - began,
                f"{restored.records:,}",
                f"{restored.records / max(restored.seconds, 1e-3):,.0f}",
                partition.position or "start",
            )
            return
