"""One Faust message per fetched Kafka batch, and a consumer that steers by partition.

Faust pays about 250 µs per record on its way from fetch to agent; here it pays that
per batch of thousands. Kept from Faust: group membership, assignor, rebalance
callbacks, streams and agents. Replaced: fetching, acknowledging, seeking, committing.

**It touches private names of faust-streaming 0.15.3 and aiokafka 0.14.0**: pinned, and
covered by `tests/integration/test_transport_contract.py`, which says what broke.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Iterable, Mapping
from time import monotonic
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from domain.records import Batch
from tables.fetch import End, Fetched, end_of, fetch
from tables.takeover import NotAMember

log = logging.getLogger(__name__)
#: For what Faust's services say of themselves ("Starting…"), by class.
FAUST_LOG = logging.getLogger("faust.service")

#: Values of delivered batches that no agent has finished with, in bytes. A record costs
#: about 2.5 times its value in memory.
BUDGET_BYTES = 24 * 2**20
MAX_POLL_RECORDS = 5_000
MAX_PARTITION_FETCH_BYTES = 2**20
#: The broker answers when it has this much, or after the wait: thin traffic then costs
#: few round trips, whatever the number of records.
FETCH_MIN_BYTES = 256 * 1024
_POLL_S = 0.5
_STUCK_S = 60.0


class BatchMessage(ConsumerMessage):
    """A delivered batch; acknowledging it frees its share of the budget."""

    __slots__ = ("budget",)


class Budget:
    """Bytes delivered and not yet acknowledged; a rebalance starts a new one."""

    def __init__(self) -> None:
        self.used = 0
        self.room = asyncio.Event()
        self.room.set()

    def take(self, nbytes: int) -> None:
        self.used += nbytes
        if self.used >= BUDGET_BYTES:
            self.room.clear()

    def free(self, nbytes: int) -> None:
        self.used -= nbytes
        if self.used < BUDGET_BYTES:
            self.room.set()


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer, in Faust's thread: heartbeats go on while the loop folds."""

    logger = FAUST_LOG

    confirmed_at = 0.0

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Read at start(). Faust hard-codes 1,500 ms; one fetch is under way per broker,
        # and a long poll over idle partitions would hold up those that have records.
        consumer._fetch_max_wait_ms = self.app.settings.fetch_wait_ms
        consumer._fetch_min_bytes = FETCH_MIN_BYTES
        # An aborted fact is no fact; Faust only sets this for its exactly_once.
        consumer._isolation_level = "read_committed"
        return consumer

    async def on_start(self) -> None:
        await super().on_start()
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
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in assigned))
        self.confirmed_at = monotonic()
        await super().on_partitions_assigned(assigned, generation_id)

    async def confirm(self) -> None:
        """Ask the coordinator whether we are a member of this generation."""
        await self.call_thread(self._confirm)

    async def _confirm(self) -> None:
        coordinator = self._ensure_consumer()._coordinator
        before = self.confirmed_at
        if coordinator.coordinator_id is None or not await coordinator._do_heartbeat():
            raise NotAMember
        if self.confirmed_at <= before:
            raise NotAMember

    async def seek_and_resume(self, positions: Mapping[TP, int]) -> None:
        await self.call_thread(self._seek_and_resume, positions)

    async def _seek_and_resume(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in positions.items():
            consumer.seek(TopicPartition(*tp), offset)
            consumer.resume(TopicPartition(*tp))

    async def pause(self, tps: Iterable[TP]) -> None:
        await self.call_thread(self._pause, tps)

    async def _pause(self, tps: Iterable[TP]) -> None:
        consumer = self._ensure_consumer()
        consumer.pause(*{TopicPartition(*tp) for tp in tps} & consumer.assignment())

    async def fetch(self, wanted: set[TP]) -> dict[TopicPartition, Fetched]:
        fetched: dict[TopicPartition, Fetched] = await self.call_thread(self._fetch, wanted)
        return fetched

    async def _fetch(self, wanted: set[TP]) -> dict[TopicPartition, Fetched]:
        consumer = self._ensure_consumer()
        # Raises what ended the coordination task. Faust never asks, and a worker whose
        # coordination has died would own its partitions in silence.
        consumer._coordinator.check_errors()
        return await fetch(
            consumer, _POLL_S if wanted else 0.0, MAX_POLL_RECORDS, wanted,
            lambda: self.consumer.flow_active,
        )

    def end(self, tp: TP) -> End:
        # Read from the other thread: three attribute reads, each atomic.
        return end_of(self._ensure_consumer(), TopicPartition(*tp))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        # Faust crashes the worker when a commit fails (0.15.3, drivers/aiokafka.py). The
        # group's offsets are for lag tools only; the meta record is the truth.
        consumer = self._ensure_consumer()
        try:
            async with asyncio.timeout(5):
                await consumer.commit({TopicPartition(*tp): at for tp, at in offsets.items()})
        except (KafkaError, TimeoutError) as error:
            log.info("Offsets for lag tools not committed (%r); tried again later.", error)
            return False
        return True

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust warns of partitions that it does not fetch; ours are paused on purpose."""


class BatchConsumer(driver.Consumer):
    """Delivers batches of the partitions that were taken over, and no others."""

    logger = FAUST_LOG

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._delivering: dict[TP, int] = {}  # epoch by topic-partition
        self._some = asyncio.Event()
        self._budget = Budget()
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # ---- tables.takeover.Membership and Delivery

    def confirmed_at(self) -> float:
        return self._thread.confirmed_at

    async def confirm(self) -> None:
        await self._thread.confirm()

    async def start_delivery(self, partition: int, positions: dict[str, int], epoch: int) -> None:
        tps = {TP(topic, partition): offset for topic, offset in positions.items()}
        await self._thread.seek_and_resume(tps)
        self._delivering.update(dict.fromkeys(tps, epoch))
        self._some.set()

    async def stop_delivery(self, partition: int) -> None:
        gone = [tp for tp in self._delivering if tp.partition == partition]
        for tp in gone:
            del self._delivering[tp]
        if gone and not self.should_stop:
            await self._thread.pause(gone)

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
        except Exception as error:
            await self.app.fail(f"Records cannot be fetched: {error!r}.", error)

    async def _drain_once(self) -> None:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
            return
        await self._await_room()
        # What was fetched under one assignment is never delivered under another.
        delivering = dict(self._delivering)
        if not delivering:
            self._some.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._some.wait(), 1.0)
        for tp, part in (await self._thread.fetch(set(delivering))).items():
            epoch = delivering[TP(*tp)]
            if self._delivering.get(TP(*tp)) == epoch:
                await self._deliver(TP(*tp), part, epoch)
        await asyncio.sleep(0)

    async def _await_room(self) -> None:
        budget, since = self._budget, monotonic()
        while not budget.room.is_set() and self.flow_active:
            try:
                await asyncio.wait_for(budget.room.wait(), 1.0)
            except TimeoutError:
                # With Kafka away commits wait, and so do we; otherwise this is a stall
                # that would look healthy from outside.
                answered = monotonic() - self.confirmed_at() < _STUCK_S / 4
                if monotonic() - since > _STUCK_S and answered:
                    await self.app.fail(
                        f"The agent has not finished a batch for {_STUCK_S:.0f} s with "
                        f"{budget.used / 2**20:.0f} MiB waiting.", None,
                    )
                    return

    async def _deliver(self, tp: TP, part: Fetched, epoch: int) -> None:
        if part.error is not None:
            await self._on_fetch_error(tp, part.error)
            return
        batch = Batch(
            topic=tp.topic, partition=tp.partition, records=part.records, start=part.start,
            next_offset=part.next_offset, nbytes=part.nbytes, epoch=epoch,
        )
        message = BatchMessage(
            tp.topic, tp.partition, part.start, time.time(), 0, (), None, batch, None, 0,
            part.nbytes, tp, generation_id=self.app.consumer_generation_id,
        )
        message.budget = self._budget
        self._budget.take(part.nbytes)
        self.app.topics.deliver(tp, message)

    async def _on_fetch_error(self, tp: TP, error: KafkaError) -> None:
        if isinstance(error, OffsetOutOfRangeError):
            await self.app.fail(
                f"Topic {tp.topic} no longer holds the next offset of partition {tp.partition}: it was "
                "cut or recreated. Restore it, or count anew with the next ONHAND_VERSION.", error,
            )
        else:
            log.warning("Partition %s: fetch failed (%r); it is repeated.", tp, error)

    def ack(self, message: Any) -> bool:
        """Free the batch's share of the budget; positions are the meta record's business."""
        budget = getattr(message, "budget", None)
        if budget is None or message.acked:
            return False
        message.acked = True
        budget.free(message.serialized_value_size)
        return True

    # ---- the group's offsets, for lag tools

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> list[TP]:
        return [TP(topic, partition) for topic, partition in self.app.group_offsets()]

    def _new_offset(self, tp: TP) -> int | None:
        offset: int | None = self.app.group_offsets().get((tp.topic, tp.partition))
        return offset

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
        await self.app.on_revoked()
        self._budget = Budget()  # Faust drops what is queued
        await super().on_partitions_revoked(revoked)

    async def perform_seek(self) -> None:
        """Positions come from each partition's take-over, not from the group."""


class BatchConductor(Conductor):
    """Puts a batch on the queues of the agents that read its topic, undecoded."""

    def deliver(self, tp: TP, message: BatchMessage) -> None:
        """Synchronous: no rebalance slips in between check and hand-over."""
        channels = self._tp_index.get(tp, ())
        message.incref(len(channels))
        for channel in channels:
            channel.queue.force_put_nowait(self.app.create_event(None, message.value, (), message))


class BatchTransport(driver.Transport):
    Consumer = BatchConsumer
    Conductor = BatchConductor


class ConsumerDelivery:
    """`tables.takeover.Delivery` and `Membership` over the app's consumer, once there is one."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def _consumer(self) -> BatchConsumer:
        consumer: BatchConsumer = self._app.consumer
        return consumer

    def start(self, partition: int, positions: dict[str, int], epoch: int) -> Awaitable[None]:
        return self._consumer().start_delivery(partition, positions, epoch)

    def stop(self, partition: int) -> Awaitable[None]:
        return self._consumer().stop_delivery(partition)

    def end(self, topic: str, partition: int) -> End:
        return self._consumer().end(topic, partition)

    def confirmed_at(self) -> float:
        return self._consumer().confirmed_at()

    def confirm(self) -> Awaitable[None]:
        return self._consumer().confirm()
