"""Whole record batches from aiokafka's fetcher, as they came, and as light tuples.

aiokafka builds a ConsumerRecord per record and resolves a future per poll; at
hundreds of thousands of records a second that is most of the cost. This module hands on
its fetch buffers by record batch instead, still compressed.

**It touches private names of aiokafka 0.14.0** (`AIOKafkaConsumer._fetcher`,
`Fetcher._records`, `FetchResult`, `PartitionRecords`, `SubscriptionState`), which is
why the version is pinned; nobody else does. `tests/integration/wire/test_fetch_contract.py`
says what broke after an upgrade.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from copy import copy
from math import exp
from time import monotonic
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import FetchResult, PartitionRecords
from aiokafka.errors import ConsumerStoppedError, KafkaError, RecordTooLargeError
from aiokafka.record.memory_records import MemoryRecords

from core.records import Headers
from wire.batches import Packed, Unreadable, aborts, batches, next_batch, pieces

#: No broker's id, and none of those that mean "ask for metadata".
_NOBODY = -2
#: Shorter than any batch.
_CUT_SHORT = b"\x00"


class Fetched:
    """What came of one partition: whole record batches, perhaps without a record.

    data: visible batches as the broker sent them; `wire.batches.pieces` reads them.
    start: offset that the fetch began at; a gap to what came before means a lost batch.
    next_offset moves past what holds no record for us too (transaction markers,
    aborted batches, compacted records): whoever waits for an end offset must look
    at it, not at the last record.
    """

    def __init__(
        self, data: bytes, start: int, next_offset: int, error: KafkaError | None = None
    ) -> None:
        self.data, self.start, self.next_offset, self.error = data, start, next_offset, error

    def batches(self) -> Iterator[Packed]:
        """Its record batches, each checked when its turn comes; raises Unreadable."""
        return batches(self.data)


#: The dead-letter topic takes half as much; what is larger was put there by a stranger.
_LARGEST_STORED = 4 * 2**20


class Stored(NamedTuple):
    """One record as it lies in a topic; `timestamp` in ms since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def stored(tp: TopicPartition, part: Fetched) -> Iterator[Stored]:
    """Records one by one, with their place; raises Unreadable."""
    for piece in pieces(part.data, part.start, _LARGEST_STORED):
        for record in piece:
            yield Stored(tp.topic, tp.partition, *record)


class _KeptRecords(MemoryRecords):  # type: ignore[misc]  # untyped
    """Keeps what it was made of, so that batches can be handed on as they came."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.data = data
        self.at = 0

    def next(self) -> Packed | None:
        """The next batch; None behind the last whole one. Raises Unreadable."""
        batch = next_batch(self.data, self.at)
        if batch is not None:
            self.at += len(batch.raw)
        return batch


fetcher.MemoryRecords = _KeptRecords  # made in `Fetcher._proc_fetch_request`


class End(NamedTuple):
    """What the last fetch response said of a partition.

    offset: end for a committed reader (last stable offset), None before any response.
    at_ms: when, wall clock of this machine in ms since the epoch; 0 for never.
    position: next offset that the consumer will deliver, None before a seek.
    high: the high watermark. From `offset` to it lies what was acknowledged and is held
        back by an open transaction; None as `offset`.
    """

    offset: int | None
    at_ms: int
    position: int | None
    high: int | None = None


async def fetch(
    consumer: AIOKafkaConsumer,
    timeout_s: float,
    max_records: int,
    wanted: Container[TopicPartition] | None = None,
    proceed: Callable[[], bool] = lambda: True,
) -> dict[TopicPartition, Fetched]:
    """Wait up to `timeout_s` for records and take at most about `max_records`.

    Args:
        consumer: started, with an assignment.
        timeout_s: longest wait where there is nothing yet.
        max_records: stop taking after this many; whole batches only.
        wanted: partitions to take from; None means all assigned ones.
        proceed: asked again after every wait; False ends the call at once.

    Returns:
        By partition, whole record batches.

    Raises:
        ConsumerStoppedError: the consumer was closed meanwhile.
    """
    buffers = consumer._fetcher
    subscriptions = consumer._subscription
    if consumer._closed or buffers._closed:
        raise ConsumerStoppedError()
    deadline = monotonic() + timeout_s
    # The context also tells the coordinator that we are alive, so that a worker
    # without partitions can rejoin after max.poll.interval (aiokafka #1187).
    with subscriptions.fetch_context():
        while proceed():
            taken = _take_all(buffers, max_records, wanted)
            remaining = deadline - monotonic()
            if taken or remaining <= 0:
                return taken
            waiter = buffers._create_fetch_waiter()
            done, pending = await asyncio.wait([waiter], timeout=remaining)
            for waiting in pending:
                waiting.cancel()
            if buffers._closed:
                raise ConsumerStoppedError()
            if not done:
                return {}
            waiter.result()
    return {}


class Pace:
    """How a consumer asks: often and at once, or seldom and much.

    Where more than `BUSY_PER_S` batches come in a second, the broker answers when it has
    `BUSY_BYTES` or after a wait: traffic over many partitions then costs a round trip for
    each wait, not for each record. The wait is longer than a commit interval of up to 100 ms,
    so that what a fetch brings need not wait for its commit, and each fetch is one commit.
    Where fewer come the broker answers with the first byte or after `LONGEST_WAIT_MS`, which
    is both quicker and cheaper; not longer, since a broker answers one request per
    connection at a time, and a partition that is resumed waits behind this one. For the same
    reason it hardly waits at all while a restore gets on, which seeks and ends with little.
    """

    BUSY_BYTES = 256 * 1024
    BUSY_PER_S = 30.0
    LONGEST_WAIT_MS = 150
    URGENT_WAIT_MS = 5

    def __init__(self, consumer: AIOKafkaConsumer, commit_interval_s: float) -> None:
        self._fetcher = consumer._fetcher
        self._busy_wait_ms = min(int(1_500 * commit_interval_s), self.LONGEST_WAIT_MS)
        self._per_s, self._at = 0.0, monotonic()
        self.saw(0)

    def saw(self, batches: int, urgent: bool = False) -> None:
        """Tell what a fetch brought, and for whom; the next request may be another kind."""
        now = monotonic()
        # What came a second ago counts 1/e of what comes now.
        self._per_s = self._per_s * exp(self._at - now) + batches
        self._at = now
        busy = self._per_s > self.BUSY_PER_S
        wait_ms = self._busy_wait_ms if busy else self.LONGEST_WAIT_MS
        self._fetcher._fetch_min_bytes = self.BUSY_BYTES if busy and not urgent else 1
        self._fetcher._fetch_max_wait_ms = self.URGENT_WAIT_MS if urgent and batches else wait_ms


class Ration:
    """How long to rest, so that no more than so many records a second are taken in.

    Asked after a few hundred at a time: who shares the cores waits for all that is done at once.
    """

    LOOK_S = 0.1

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._until = clock()

    def took(self, records: int, per_s: int) -> None:
        """So many were taken; per_s: how many may be, 0: no bound."""
        now = self._clock()
        # What nobody used before is not made up for.
        self._until = max(self._until, now) + records / per_s if per_s else now

    def rest_s(self) -> float:
        """Until more may be taken; 0 or less: now."""
        return self._until - self._clock()

    async def rest(self, records: int, per_s: Callable[[], int]) -> None:
        """Give way after so many, for as long as they may last, or until there is no bound."""
        self.took(records, per_s())
        await asyncio.sleep(0)
        while True:
            rest_s = self.rest_s()
            if rest_s <= 0 or not per_s():
                return
            await asyncio.sleep(min(rest_s, self.LOOK_S))


def assign_paused(consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition]) -> None:
    """Assign for good what will be fetched now and then, each once it is sought and resumed.

    A new assignment would drop what is being fetched for the others, and ask for metadata.
    """
    consumer.assign(tps)
    for tp in tps:
        consumer.seek(tp, 0)
    consumer.pause(*tps)
    # While an assigned partition has no leader, aiokafka asks for metadata as fast as it is
    # answered, for a paused one too (0.14.0, fetcher.py:612): those are asked of nobody.
    assignment = consumer._subscription.subscription.assignment
    select = consumer._fetcher._select_read_replica
    consumer._fetcher._select_read_replica = lambda tp: (
        _NOBODY if assignment.state_value(tp).paused else select(tp)
    )


def pause(consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]) -> None:
    """Pause, and drop what was fetched of them: aiokafka would wait for who takes it (50 ms)."""
    for tp in tps:
        consumer.pause(tp)
        if tp in consumer._fetcher._records:
            _drop(consumer._fetcher, tp)


async def leaderless(
    consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]
) -> set[TopicPartition]:
    """Those of them that no broker answers for now; one would hold up a question for all."""
    cluster = consumer._client.cluster
    lost = {tp for tp in tps if cluster.leader_for_partition(tp) in (None, -1)}
    if lost:
        await consumer._client.force_metadata_update()
    return {tp for tp in lost if cluster.leader_for_partition(tp) in (None, -1)}


def interrupt(consumer: AIOKafkaConsumer) -> None:
    """Make a `fetch` that waits ask `proceed` now."""
    for waiter in list(consumer._fetcher._fetch_waiters):
        consumer._fetcher._notify(waiter)


def end_of(consumer: AIOKafkaConsumer, tp: TopicPartition) -> End:
    """What is known of a partition without asking anybody."""
    subscription = consumer._subscription.subscription
    assignment = subscription.assignment if subscription is not None else None
    if assignment is None or tp not in assignment.tps:
        return End(None, 0, None)
    state = assignment.state_value(tp)
    position = state.position if state.has_valid_position else None
    return End(state.lso, state.timestamp or 0, position, state.highwater)


async def end_offsets(
    consumer: AIOKafkaConsumer, tps: Sequence[TopicPartition], *, committed: bool
) -> dict[TopicPartition, int]:
    """Ends as a broker says them now; raises KafkaError.

    Args:
        consumer: started, whatever its own isolation level is.
        tps: partitions to ask for.
        committed: where a committed reader ends, before any open transaction; else the high
            watermark.
    """
    # aiokafka asks as its fetcher reads. A copy shares all but this, and only to ask.
    asking = copy(consumer._fetcher)
    asking._isolation_level = fetcher.READ_COMMITTED if committed else fetcher.READ_UNCOMMITTED
    ends: dict[TopicPartition, int] = await asking.end_offsets(tps, consumer._request_timeout_ms)
    return ends


def _take_all(
    fetcher: Any, limit: int, wanted: Container[TopicPartition] | None
) -> dict[TopicPartition, Fetched]:
    taken: dict[TopicPartition, Fetched] = {}
    for tp in list(fetcher._records):
        if wanted is not None and tp not in wanted:
            if not fetcher._subscriptions.is_assigned(tp):
                _drop(fetcher, tp)
            continue
        result = fetcher._records[tp]
        if not isinstance(result, FetchResult):
            _drop(fetcher, tp)
            taken[tp] = _failed(fetcher, tp, result._error)
            continue
        part = _take(result, tp, limit)
        if not result.has_more():
            _drop(fetcher, tp)
        if part is not None:
            taken[tp], count = part
            limit -= count
            if limit <= 0:
                break
    return taken


def _drop(fetcher: Any, tp: TopicPartition) -> None:
    del fetcher._records[tp]
    fetcher._notify(fetcher._wait_consume_future)


def _take(result: FetchResult, tp: TopicPartition, limit: int) -> tuple[Fetched, int] | None:
    # check_assignment drops what was fetched before a seek, a pause or a rebalance.
    if not result.has_more() or not result.check_assignment(tp):
        return None
    buffered = result._partition_records
    start = position = buffered.next_fetch_offset
    visible: list[bytes] = []
    count = 0
    found: _KeptRecords = buffered._records
    # It holds the buffer that holds it: all fetched bytes would wait for the collector of
    # cycles, which may take minutes (180 MB after 4,000,000 records). Nobody iterates here.
    buffered._records_iterator = None
    try:
        while (batch := found.next()) is not None:
            if _is_visible(buffered, batch):
                visible.append(batch.raw)
                count += batch.count
            position = buffered.next_fetch_offset = batch.next_offset
            if count >= limit:
                break
        else:
            result._partition_records = None
    except Unreadable:
        # Whoever unpacks it comes to the same and says so.
        visible.append(found.data[found.at :])
        result._partition_records = None
    _state(result, tp).consumed_to(position)
    if position == start and not visible:
        return None
    return Fetched(b"".join(visible), start, position), count


def _state(result: FetchResult, tp: TopicPartition) -> Any:
    return result._assignment.state_value(tp)


def _failed(fetcher: Any, tp: TopicPartition, error: KafkaError) -> Fetched:
    if not isinstance(error, RecordTooLargeError):
        return Fetched(b"", -1, -1, error)
    # A broker always sends a whole batch (KIP-74): this one says that it is larger than what
    # came. aiokafka would go on one offset further (0.14.0, fetcher.py, _set_error).
    assignment = fetcher._subscriptions.subscription.assignment
    at = assignment.state_value(tp).position - 1
    return Fetched(_CUT_SHORT, at, at)


def _is_visible(buffered: PartitionRecords, batch: Packed) -> bool:
    """Committed data. Follows PartitionRecords._unpack_records, aiokafka 0.14.0.

    What is not to be believed is visible: whoever unpacks it says what is wrong.
    """
    hidden = batch.is_control
    if batch.producer_id != -1:
        buffered._consume_aborted_up_to(batch.base_offset)
        if batch.is_control:
            if not batch.is_sound():
                return True
            if aborts(batch):
                buffered._aborted_producers.discard(batch.producer_id)
        elif batch.is_transactional:
            hidden = batch.producer_id in buffered._aborted_producers
    return not hidden or not batch.is_sound()
