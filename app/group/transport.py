"""One Faust message per fetched Kafka batch, and a consumer that steers by partition.

Faust pays about 250 µs per record on its way from fetch to agent; here it pays that
per batch of thousands. Kept from Faust: group membership, assignor, rebalance
callbacks, streams and agents. Replaced: fetching, acknowledging, seeking, committing.

**It touches private names of faust-streaming 0.15.3 and aiokafka 0.14.0**: pinned, and covered
by `tests/integration/group/test_transport_contract.py`, which says what broke, and beside it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Coroutine, Iterator, Mapping
from contextlib import suppress
from time import monotonic
from typing import Any, cast

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from app.group.membership import GroupRefused, advice
from app.group.messages import BatchConductor, BatchMessage, by_partition
from app.group.ports import Worker
from app.group.shares import STUCK_S, Deliverable, HasRoom, Undone, watch_agents
from core.words import in_words
from tables.ports import NotAMember
from tables.tasks import Tasks
from wire.fetch import End, Fetched, Pace, Ration, end_of, fetch, interrupt, pause

log = logging.getLogger(__name__)
#: For what Faust's services say of themselves ("Starting…"), by class.
FAUST_LOG = logging.getLogger("faust.service")

MAX_POLL_RECORDS = 5_000
MAX_PARTITION_FETCH_BYTES = 384 * 1024
MAX_FETCH_BYTES = 3 * 2**20
_POLL_S = 0.5
_LEAVE_S = 5.0
#: Less than the 5 s from one to the next: else Faust says that its timer overlaps.
_OFFSETS_S = 4.0


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, in Faust's thread: heartbeats go on while the loop folds."""

    logger = FAUST_LOG
    app: Worker  # type: ignore[assignment]  # Faust's App, and ours
    confirmed_at = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        #: Epoch of each partition that may be fetched. Written in this thread only, in
        #: the same step as the seek, so that what was fetched before a seek can never
        #: carry the number of what comes after it.
        self.epochs: dict[TopicPartition, int] = {}
        self._offsets_fail = False  # and it was said

    async def _in_thread(self, work: Coroutine[Any, Any, Any]) -> Any:
        # Not call_thread: its queue has two workers, one of which always waits in a fetch.
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.thread_loop))

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Read at start(). What one response may hold, compressed: bounds our memory.
        consumer._fetch_max_bytes = MAX_FETCH_BYTES
        # An aborted fact is no fact; Faust only sets this for its exactly_once.
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
        # Faust hard-codes a wait of 1,500 ms; one fetch is under way per broker, and a
        # long poll over idle partitions would hold up those that have records.
        interval_s = self.app.settings.commit_interval_ms / 1000
        self._offsets_are_late = False
        self._pace = Pace(self._ensure_consumer(), interval_s)
        coordinator = self._ensure_consumer()._coordinator
        beat = coordinator._do_heartbeat

        async def watched_beat() -> bool:
            began = monotonic()
            alive: bool = await beat()
            if alive:
                self.confirmed_at = began
            return alive

        coordinator._do_heartbeat = watched_beat

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # Nothing is fetched before its take-over has sought: Faust would fetch from the
        # group's committed offsets at once, and changelogs too.
        self.epochs.clear()
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in assigned))
        self.confirmed_at = monotonic()
        await super().on_partitions_assigned(assigned, generation_id)

    async def confirm(self) -> None:
        """Ask the coordinator whether we are a member of this generation."""
        await self._in_thread(self._confirm())

    async def _confirm(self) -> None:
        coordinator = self._ensure_consumer()._coordinator
        async with asyncio.timeout(self.app.conf.broker_session_timeout):
            if coordinator.coordinator_id is None or not await coordinator._do_heartbeat():
                raise NotAMember

    async def seek_and_resume(self, positions: Mapping[TopicPartition, int], epoch: int) -> None:
        await self._in_thread(self._seek_and_resume(positions, epoch))

    async def _seek_and_resume(self, positions: Mapping[TopicPartition, int], epoch: int) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            consumer.seek(tp, offset)
            consumer.resume(tp)
            self.epochs[tp] = epoch

    async def pause(self, partition: int, topics: Collection[str]) -> None:
        await self._in_thread(self._pause(partition, topics))

    async def _pause(self, partition: int, topics: Collection[str]) -> None:
        consumer = self._ensure_consumer()
        gone = {tp for tp in self.epochs if tp.partition == partition and tp.topic in topics}
        for tp in gone:
            del self.epochs[tp]
        pause(consumer, gone & consumer.assignment())

    async def fetch(self, has_room: HasRoom) -> dict[TopicPartition, tuple[Fetched, int]]:
        """Batches of topics that have room, by partition, each with the epoch of its fetch."""
        fetched: dict[TopicPartition, tuple[Fetched, int]]
        fetched = await self._in_thread(self._fetch(Deliverable(self.epochs, has_room)))
        return fetched

    async def _fetch(self, wanted: Deliverable) -> dict[TopicPartition, tuple[Fetched, int]]:
        consumer = self._ensure_consumer()
        await self._check_membership()
        taken = await fetch(
            consumer, _POLL_S, MAX_POLL_RECORDS, wanted, lambda: self.consumer.flow_active
        )
        self._pace.saw(len(taken))
        # No await since the records were taken: the epochs are those of their fetch.
        return {tp: (part, self.epochs[tp]) for tp, part in taken.items()}

    def look_again(self) -> None:
        """There is room for what a `fetch` under way may have left where it was."""
        with suppress(ConsumerNotStarted, RuntimeError):  # it ends, or has ended
            self.thread_loop.call_soon_threadsafe(interrupt, self._ensure_consumer())

    def end(self, tp: TP) -> End:
        # Read from the other thread: three attribute reads, each atomic.
        return end_of(self._ensure_consumer(), TopicPartition(*tp))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Faust crashes the worker when a commit fails (0.15.3, drivers/aiokafka.py). The
        # group's offsets are for lag tools only; the meta record is the truth.
        consumer = self._ensure_consumer()
        try:
            async with asyncio.timeout(_OFFSETS_S):
                await consumer.commit({TopicPartition(*tp): at for tp, at in offsets.items()})
        except (KafkaError, TimeoutError) as error:
            if not self._offsets_are_late:  # said once each time that Kafka goes away
                log.info("Offsets for lag tools not committed for now (%s).", in_words(error))
            self._offsets_are_late = True
            return False
        self._offsets_are_late = False
        return True

    async def leave(self) -> None:
        """Leave the group; may be called twice."""
        await self._in_thread(self._ensure_consumer()._coordinator.close())

    async def check_membership(self) -> None:
        """Raise GroupRefused where the coordination has ended, or Kafka refuses it for good.

        Faust never asks, and a worker whose coordination has died would own its
        partitions, or wait for some, in silence.
        """
        await self._in_thread(self._check_membership())

    async def _check_membership(self) -> None:
        try:
            self._ensure_consumer()._coordinator.check_errors()
        except KafkaError as error:
            raise GroupRefused(advice(error, self.app.settings, self.app.conf.id)) from error

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust warns of partitions that it does not fetch; ours are paused on purpose."""


class BatchConsumer(driver.Consumer):
    """Delivers batches of the partitions that were taken over, and no others."""

    logger = FAUST_LOG
    app: Worker  # type: ignore[assignment]  # Faust's App, and ours
    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ration = Ration()
        self._background = Tasks(self._fail)
        super().__init__(*args, **kwargs)
        self.start_anew()

    async def _fail(self, sentence: str, error: BaseException | None) -> None:
        await self.app.fail(sentence, error)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # ---- tables.takeover.Membership and Delivery

    def confirmed_at(self) -> float:
        return self._thread.confirmed_at

    async def confirm(self) -> None:
        await self._thread.confirm()

    async def leave(self) -> None:
        """Leave the group, before the rest of the worker ends."""
        with suppress(TimeoutError, KafkaError, ConsumerNotStarted):
            async with asyncio.timeout(_LEAVE_S):
                await self._thread.leave()

    def rejoin(self) -> None:
        """Join the group anew, so that all is placed again by what its members have now."""
        coordinator = self._thread._ensure_consumer()._coordinator
        self._thread.thread_loop.call_soon_threadsafe(coordinator.request_rejoin)

    async def on_start(self) -> None:
        await self.app.may_join()
        await super().on_start()

    async def on_started(self) -> None:
        await super().on_started()
        self._background.keep(self._watch_membership, "group membership")
        self._background.keep(self._watch_agents, "agents")

    async def on_stop(self) -> None:
        await self._background.cancel()
        await super().on_stop()

    async def _watch_membership(self) -> None:
        """Ask also while nothing is fetched: a join may be refused before anything is."""
        while True:
            await self._thread.check_membership()
            await asyncio.sleep(_POLL_S)

    async def start_delivery(self, partition: int, positions: dict[str, int], epoch: int) -> None:
        tps = {TopicPartition(topic, partition): offset for topic, offset in positions.items()}
        await self._thread.seek_and_resume(tps, epoch)

    async def stop_delivery(self, partition: int, topics: Collection[str]) -> None:
        await self._thread.pause(partition, topics)

    def end(self, topic: str, partition: int) -> End:
        return self._thread.end(TP(topic, partition))

    # ---- from fetch to agent

    async def _drain_messages(self, fetcher: Any) -> None:
        try:
            while not (self.should_stop or fetcher.should_stop):
                await self._drain_once()
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise
        except GroupRefused as error:
            await self.app.fail(str(error), error)
        except Exception as error:
            await self.app.fail(f"Records cannot be fetched: {in_words(error)}.", error)

    async def _drain_once(self) -> None:
        if not self.flow_active:
            await self.wait(cast(Any, self.can_resume_flow))
            return
        await self._await_room()
        # The budget of then: a rebalance may replace it while this waits.
        fetched = await self._thread.fetch(lambda topic: self._budget.has_room(topic))
        for tp, more in by_partition(fetched, self.app.reader_of):
            await self._deliver(TP(*tp), *fetched[tp], more)
        await asyncio.sleep(0)

    def rest(self, records: int) -> Coroutine[Any, Any, None]:
        """Give way after so many were folded; what is fetched meanwhile is in the budget."""
        most_per_s = self.app.most_events_per_s
        return self._ration.rest(records, lambda: most_per_s() if self.flow_active else 0)

    async def _await_room(self) -> None:
        """Return once somebody may have more."""
        while self.flow_active and self._thread.epochs:
            # Each time anew: a rebalance replaces it.
            if await self._budget.some_room(topic for topic, _ in list(self._thread.epochs)):
                return

    async def _watch_agents(self) -> None:
        def may_wait() -> bool:
            is_away = monotonic() - self.confirmed_at() > STUCK_S / 4
            return is_away or not self.flow_active or self._ration.rest_s() > 0

        await watch_agents(lambda: self._budget, may_wait, self.app.fail)

    def start_anew(self) -> None:
        """Faust has just cleared its queues: nothing that was delivered will be acknowledged.

        Its compiled stream does not acknowledge what it skips (0.15.3, _cython/streams.pyx).
        """
        self._budget = Undone(self.app.reader_of, lambda: self._thread.look_again())

    async def _deliver(self, tp: TP, part: Fetched, epoch: int, more: bool) -> None:
        if not self.flow_active:
            return  # read again after the next seek
        if part.error is not None:
            await self._on_fetch_error(tp, part.error)
            return
        here = self.app.most_events_per_s() > 0  # it takes one core at a time, and not two
        batch = self.app.decoder.batch(tp.topic, tp.partition, part, epoch, more, here)
        message = BatchMessage(
            topic=tp.topic,
            partition=tp.partition,
            offset=part.start,
            timestamp=time.time(),
            timestamp_type=0,
            headers=None,
            key=None,
            value=cast(Any, batch),
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=batch.nbytes,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.budget = self._budget
        self._budget.take(tp.topic, batch.nbytes)
        self.app.topics.deliver(tp, message)

    async def _on_fetch_error(self, tp: TP, error: KafkaError) -> None:
        if isinstance(error, OffsetOutOfRangeError):
            await self.app.stand_still(
                tp.topic,
                tp.partition,
                f"Topic {tp.topic} no longer holds the next offset of partition {tp.partition}: "
                "it was cut or recreated. Restore it, or count anew with the next ONHAND_VERSION.",
            )
        else:
            log.warning("Partition %s: fetch failed (%s); it is repeated.", tp, in_words(error))

    def ack(self, message: Any) -> bool:
        """Free the batch's share of the budget; positions are the meta record's business."""
        budget = getattr(message, "budget", None)
        if budget is None or message.acked:
            return False
        message.acked = True
        budget.free(message.topic, message.serialized_value_size)
        return True

    # ---- the group's offsets, for lag tools

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (TP(*place) for place in self.app.group_offsets())

    def _new_offset(self, tp: TP) -> int | None:
        return self.app.group_offsets().get((tp.topic, tp.partition))

    async def _commit_offsets(
        self, offsets: Mapping[TP, int], start_new_transaction: bool = True
    ) -> bool:
        assigned = self.assignment()
        mine = {tp: offset for tp, offset in offsets.items() if tp in assigned}
        # Only what was committed counts as committed (upstream: FS#316).
        if not mine or not await self._commit(mine):
            return False
        self._committed_offset.update(mine)
        return True

    # ---- rebalance

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        try:
            await self.app.on_revoked()
        except Exception as error:
            # aiokafka would log it and join all the same (group_coordinator.py).
            await self.app.fail(f"Partitions could not be given back: {in_words(error)}.", error)
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Positions come from each partition's take-over, not from the group."""


class BatchTransport(driver.Transport):
    """Plugs the consumer and the conductor into Faust."""

    Consumer = BatchConsumer
    Conductor = BatchConductor
