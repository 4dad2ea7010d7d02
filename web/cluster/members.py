"""Membership of our own: heartbeats on `{name}-members`, faster than the consumer group.

Every worker writes what it holds twice a second, at once when that changes, and reads
what all write. Nothing here ever blocks an answer: with Kafka away the last roster
stays as it is, and both loops come back by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Protocol

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from core.records import Record
from core.stages import Role
from core.words import in_words
from tables.ports import Fail
from tables.reading import PartitionStatus
from tables.tasks import Final, Tasks
from web.access.access import OPEN, Access
from web.cluster.heartbeats import Claim, Heartbeat, HeldUp, WorkerState, beat_of, bytes_of
from web.cluster.roster import AddressWatch, Roster, WorkerView
from wire import clients
from wire.batches import pieces
from wire.fetch import Fetched, fetch

log = logging.getLogger(__name__)

#: All send at the same moments of the clock (if theirs agree), so that one fetch brings
#: many heartbeats: round trips cost more than heartbeats.
INTERVAL_S = 0.5
_GATHER_S = 0.1
#: Changes come in bursts at a rebalance: a heartbeat goes out for each, but not more often.
LEAST_INTERVAL_S = 0.05
#: How far back a new worker reads, to know the others before their next heartbeat.
LOOK_BACK_S = 10.0
_RETRY_S = 0.5
#: What one fetch takes at most; whoever is further behind takes several.
MAX_RECORDS = 5_000
#: A heartbeat that Kafka has not taken for this long is given up: the next one says more.
SEND_TIMEOUT_MS = 3000
GOODBYE_TIMEOUT_S = 1.0
_AT_END = -1


class WhatIsHeld(Protocol):
    """What a heartbeat tells of the partitions that a process holds: `Reading`, or nothing.

    listeners: are called when that changes.
    """

    listeners: list[Callable[[], None]]

    def status(self) -> Sequence[PartitionStatus]:
        """One entry for each partition held."""


class NothingHeld:
    """What a process holds that answers for no partition of its own."""

    def __init__(self) -> None:
        self.listeners: list[Callable[[], None]] = []

    def status(self) -> list[PartitionStatus]:
        """Nothing."""
        return []


class Members:
    """Tells the others about this worker and keeps the roster of all.

    `kafka`: keyword arguments of an aiokafka client. `fail`: ends the worker, where another one
    has its address. `access`: signs and judges heartbeats. `epoch`: of the record of versions, as
    far as this worker has read it. `behind`: see `Heartbeat`. `me`: version, rules, build, url,
    window, kind.
    """

    def __init__(
        self,
        kafka: Mapping[str, Any],
        topic: str,
        table: WhatIsHeld,
        *,
        interval_s: float = INTERVAL_S,
        fail: Fail | None = None,
        epoch: Callable[[], int | None] = lambda: None,
        access: Access = OPEN,
        behind: Callable[[], bool] = lambda: False,
        **me: Any,
    ) -> None:
        self._kafka = dict(kafka)
        self._partition = TopicPartition(topic, 0)
        self._table = table
        self._interval_s = interval_s
        self._epoch, self._behind = epoch, behind
        self._beats = access.beats(topic)
        self._me = Heartbeat(instance=secrets.token_hex(8), sequence=0, **me)
        self.roster = Roster(self._me)
        self._unreadable = 0
        self._changed = asyncio.Event()
        self._tasks = Tasks() if fail is None else Tasks(fail)
        self._address = AddressWatch(self._me)
        self._is_running = False
        self._producer: AIOKafkaProducer | None = None
        self._next_offset: int | None = None
        #: The broker's time when it took this worker's first heartbeat, ms since the epoch.
        self._first_ms: asyncio.Future[int] | None = None
        self._is_away = False

    async def start(self) -> None:
        """Begin both loops; returns at once, with or without a broker."""
        self._table.listeners.append(self.announce)
        self._first_ms = asyncio.get_running_loop().create_future()
        self._is_running = True
        self._tasks.keep(self._keep_telling, "heartbeats out", _RETRY_S)
        self._tasks.keep(self._keep_hearing, "heartbeats in", _RETRY_S)

    def judge_by(self, rules: int) -> None:
        """Say so from the next heartbeat on; workers with others are not asked."""
        self._me = msgspec.structs.replace(self._me, rules=rules)
        self.roster.judge_by(rules)

    def announce(self) -> None:
        """Send a heartbeat now, not at the next turn."""
        self._changed.set()

    async def leave(self) -> None:
        """Ask the others to prefer somebody else from now on: this worker drains."""
        if self._me.state is WorkerState.RUNNING:
            await self._say_now(WorkerState.LEAVING)

    async def stop(self) -> None:
        """Say goodbye, so that nobody asks any more, and end. May be called twice."""
        if not self._is_running:
            return
        self._is_running = False
        with suppress(ValueError):
            self._table.listeners.remove(self.announce)
        await self._say_now(WorkerState.GONE)
        await self._tasks.cancel()

    def workers(self) -> list[WorkerView]:
        """All workers heard of, for the cluster view; this one as it is now."""
        mine = WorkerView(self._beat(), alive=True, routed=True, silent_s=0.0, this=True)
        return sorted([*self.others(), mine], key=lambda view: view.beat.url)

    def others(self) -> list[WorkerView]:
        """The same without this one: to say how that is takes as long as to answer a request."""
        return [view for view in self.roster.workers() if not view.this]

    def unreadable(self) -> int:
        """How many records, or batches of them, were passed over since the start."""
        return self._unreadable

    def _beat(self) -> Heartbeat:
        claims = tuple(claim_of(status) for status in self._table.status())
        said = {"claims": claims, "epoch": self._epoch(), "behind": self._behind()}
        return msgspec.structs.replace(self._me, **said)

    # ---- telling

    async def _say_now(self, state: WorkerState) -> None:
        """One heartbeat past the loop's own turn, given up after `GOODBYE_TIMEOUT_S`."""
        self._me = msgspec.structs.replace(self._me, state=state)
        if self._producer is None:
            return  # Kafka is away: silence says it too
        with suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(GOODBYE_TIMEOUT_S):
                await self._say(self._producer)

    async def _say(self, producer: AIOKafkaProducer) -> None:
        self._me = msgspec.structs.replace(self._me, sequence=self._me.sequence + 1)
        topic, partition = self._partition
        value = bytes_of(self._beat())
        receipt = await producer.send_and_wait(
            topic, value, partition=partition, headers=self._beats.headers(value)
        )
        if self._first_ms is not None and not self._first_ms.done():
            self._first_ms.set_result(receipt.timestamp)

    async def _keep_telling(self) -> None:
        while True:
            # Not the producer of facts: a load of POSTs must not delay heartbeats. Not
            # idempotent: a lost or doubled heartbeat does no harm, and one that is stuck
            # must expire.
            producer = AIOKafkaProducer(
                **self._kafka, acks=1, linger_ms=0, request_timeout_ms=SEND_TIMEOUT_MS
            )
            try:
                await clients.start(producer)
                self._producer = producer
                await self._tell(producer)
            except (KafkaError, OSError) as error:
                if not self._is_away:
                    self._is_away = True
                    log.warning(
                        "Kafka takes no heartbeats: who is alive is not known (%s).",
                        in_words(error),
                    )
            finally:
                self._producer = None
                await clients.let_go(producer, GOODBYE_TIMEOUT_S)
            await asyncio.sleep(_RETRY_S)

    async def _tell(self, producer: AIOKafkaProducer) -> None:
        while True:
            self._changed.clear()
            await self._say(producer)
            if self._is_away:
                self._is_away = False
                log.info("Kafka takes heartbeats again.")
            await asyncio.sleep(LEAST_INTERVAL_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s - time.time() % self._interval_s):
                    await self._changed.wait()

    # ---- hearing

    async def _keep_hearing(self) -> None:
        while True:
            consumer = AIOKafkaConsumer(
                **self._kafka,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="latest",
                request_timeout_ms=2 * SEND_TIMEOUT_MS,
            )
            try:
                await clients.start(consumer)
                await self._seek(consumer)
                await self._hear(consumer)
            except (KafkaError, OSError) as error:
                log.debug("Cannot read heartbeats: %s", error)  # the other loop says it
            except Final:
                raise
            except Exception:
                self._next_offset = _AT_END  # whatever it was would be met again
                raise
            finally:
                await clients.let_go(consumer, GOODBYE_TIMEOUT_S)
            await asyncio.sleep(_RETRY_S)

    async def _seek(self, consumer: AIOKafkaConsumer) -> None:
        consumer.assign([self._partition])
        if self._next_offset not in (None, _AT_END):
            consumer.seek(self._partition, self._next_offset)
            return
        # The end first: a heartbeat written between the two questions is not to be missed.
        start = (await consumer.end_offsets([self._partition]))[self._partition]
        # By the broker's clock, which ours need not agree with.
        if self._next_offset is None and (now_ms := await self._broker_ms()) is not None:
            since_ms = now_ms - int(LOOK_BACK_S * 1000)
            found = (await consumer.offsets_for_times({self._partition: since_ms}))[self._partition]
            start = start if found is None else min(start, found.offset)
        self._next_offset = start
        consumer.seek(self._partition, start)

    async def _broker_ms(self) -> int | None:
        """When it took our first heartbeat; None where it takes none: then we do not look back."""
        assert self._first_ms is not None
        await asyncio.wait([self._first_ms], timeout=2 * SEND_TIMEOUT_MS / 1000)
        return self._first_ms.result() if self._first_ms.done() else None

    async def _hear(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            fetched = await fetch(consumer, 1.0, MAX_RECORDS)
            for part in fetched.values():
                if part.error is not None:
                    raise part.error
                self._next_offset = part.next_offset
                self._take(part)
            if fetched:
                await asyncio.sleep(_GATHER_S)

    def _take(self, part: Fetched) -> None:
        """Hear what was fetched; one record, or batch, that cannot be read stops no other."""
        for piece in _batches(part.data):
            try:
                for record in chain.from_iterable(pieces(piece, part.start)):
                    self._hear_one(record)
            except Final:
                raise
            except Exception as error:
                # Anybody may write to a topic, and aiokafka has no one exception for what
                # it cannot unpack.
                self._cannot_read(error)

    def _hear_one(self, record: Record) -> None:
        _, log_ms, _, value, headers = record
        beat = beat_of(value)
        if beat is None or value is None:
            self._cannot_read(None)
        elif self._beats.is_heard(value, headers, log_ms, beat.instance, beat.sequence):
            self._address.hear(beat)
            if self.roster.hear(beat, log_ms):
                self._log_change(beat)

    def _cannot_read(self, error: Exception | None) -> None:
        self._unreadable += 1
        if self._unreadable == 1:
            topic = self._partition.topic
            why = "not in our format" if error is None else in_words(error)
            log.warning("%s holds what is no heartbeat: passed over (%s).", topic, why)

    def _log_change(self, beat: Heartbeat) -> None:
        if beat.instance == self._me.instance:
            return
        roles = [claim.role for claim in beat.claims]
        log.debug(
            "%s (version %d) is %s: active for %d partitions, standby for %d.",
            beat.url,
            beat.version,
            beat.state,
            roles.count(Role.ACTIVE),
            roles.count(Role.STANDBY),
        )


def claim_of(status: PartitionStatus) -> Claim:
    """What a heartbeat says of one partition."""
    restore = status.restore
    return Claim(
        partition=status.partition,
        state=status.state,
        role=status.role,
        epoch=status.epoch,
        handled=sum(status.offsets.values()),
        position=status.position,
        lag_events=status.lag_events,
        as_of_ms=status.as_of_ms,
        standby_lag_records=status.standby_lag_records or 0,
        restore_done=None if restore is None else restore.done,
        restore_total=None if restore is None else restore.total,
        held_up=tuple(
            HeldUp(topic, hold.offset, hold.cause, hold.since_ms)
            for topic, hold in sorted(status.holds.items())
        ),
        stopped_because=status.stopped_because,
    )


def _batches(data: bytes) -> Iterator[bytes]:
    """Whole record batches, one by one: their lengths stand behind their offsets."""
    at = 0
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at + 8 : at + 12])
        yield data[at:end]
        at = end
