"""Kafka transactions of many transactional ids over a few shared connections.

aiokafka's producer serves one transactional id, with tasks, a metadata refresh and two
connections of its own. Twelve of them cost 0.9 ms of CPU for each commit, and one that was
fenced or met a silent broker could only be closed by its private parts. A group commit
needs less: its record batches are whole before the first is sent, and there is one commit
at a time for each id. So here are the five requests of KIP-98 over aiokafka's client:

    FindCoordinator, InitProducerId        once: fences every older producer of the id
    AddPartitionsToTxn, Produce…, EndTxn   for each commit

Where the cluster has agreed on KIP-890's second part, the first of the latter three is left out,
and each transaction has an epoch of its own (`wire/requests/twosteps.py`): a commit that comes
late, over a connection that was given up, ends no later transaction.

Whatever may pass is asked again, with the same sequence numbers, for as long as it takes:
the caller sets deadlines. Whatever may not is raised, and leaves the transaction open: the
next initialiser of the id aborts it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import TopicPartition
from aiokafka.client import AIOKafkaClient, CoordinationType
from aiokafka.errors import (
    ConcurrentTransactions,
    DuplicateSequenceNumber,
    InvalidProducerEpoch,
    KafkaError,
    NoError,
    OperationNotAttempted,
    ProducerFenced,
    for_code,
)
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
)
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from core.words import in_words
from wire.requests.topicids import TopicNow, topics_now
from wire.requests.twosteps import EndAndMoveOn, FeaturesRequest, ProduceAndAdd, ends_in_two_steps

log = logging.getLogger(__name__)

#: Of each record: the broker's clock says when, not ours, since our topics have LogAppendTime.
#: One with CreateTime takes this too, and would refuse the time of a clock an hour ahead.
NO_TIME_MS = -1
_BACKOFF_S = 0.1
#: The last transaction's markers are still being written: usually for a few milliseconds.
_MARKERS_S = 0.005
_TRIES_UNTIL_LOGGED = 20
#: How long a broker waits for its replicas; below the client's own 40 s.
_REPLICATION_MS = 30_000
#: From this size on, compressing holds the loop for longer than a thread costs.
_LARGE_BYTES = 64 * 1024
#: What one request carries at most, before compression; a broker takes 100 MiB.
_TOGETHER_BYTES = 16 * 2**20
_ZSTD = 4
_SEQUENCES = 2**31
_PRODUCER_FENCED = 90  # newer brokers; aiokafka 0.14.0 does not know it


class Brokers:
    """The connections that all transactional ids of a worker share.

    A broker answers one request of a connection at a time, and a produce request only when
    its replicas have it: so a few connections to each broker, not one, and others for what
    the coordinator is asked.

    Args:
        kafka: keyword arguments of an aiokafka client.
        topics: that will be written.
    """

    LANES = 3

    def __init__(self, kafka: Mapping[str, Any], topics: Sequence[str]) -> None:
        self._kafka, self._topics = kafka, topics
        self._client: AIOKafkaClient | None = None

    async def start(self) -> None:
        """Connect; raises KafkaError where no broker answers."""
        client = AIOKafkaClient(**self._kafka)
        client.set_topics(self._topics)
        await client.bootstrap()
        self._client = client

    async def stop(self) -> None:
        """Close all connections; who still waits for an answer gets a KafkaError."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def topics(self, names: Iterable[str]) -> dict[str, TopicNow]:
        """What Kafka says of these topics now; leaves out what does not exist."""
        return await topics_now(self.client, names)

    @property
    def client(self) -> AIOKafkaClient:
        """Raises KafkaError after `stop`."""
        if self._client is None:
            raise KafkaError("the connections are closed")  # not to be tried again
        return self._client

    async def leader(self, tp: TopicPartition) -> int:
        """Id of the broker that leads a partition; waits for one."""
        while (node := self.client.cluster.leader_for_partition(tp)) in (None, -1):
            await self.client.force_metadata_update()
            await asyncio.sleep(_BACKOFF_S)
        return int(node)


class RecordBatch(NamedTuple):
    """Records of one partition, ready to be sent; `size` of them."""

    tp: TopicPartition
    builder: DefaultRecordBatchBuilder
    size: int


class _Built(NamedTuple):
    """A batch as it is sent, and the number of the first record of the one behind it."""

    data: bytes
    next_sequence: int


def batch_builder(limit: int) -> DefaultRecordBatchBuilder:
    """An empty batch of at most `limit` bytes before compression, by zstd."""
    return DefaultRecordBatchBuilder(
        magic=2,
        compression_type=_ZSTD,
        is_transactional=1,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=limit,
    )


class TransactionalProducer:
    """The newest producer of one transactional id. Create with `open`."""

    def __init__(self, brokers: Brokers, transactional_id: str, lane: int) -> None:
        self._brokers, self._id = brokers, transactional_id
        lane %= Brokers.LANES
        # A connection is known by its broker and a number of our choice.
        self._data, self._control = 2 * lane, 2 * lane + 1
        self._producer: tuple[int, int] = -1, -1  # producer id, epoch
        self._coordinator: int | None = None
        self._sequences: dict[TopicPartition, int] = {}
        #: Records add their partition, and the answer to the end brings the next epoch.
        self._two_steps = False
        #: A transaction was begun and not ended.
        self._is_open = False

    @classmethod
    async def open(
        cls, brokers: Brokers, transactional_id: str, timeout_ms: int, lane: int
    ) -> TransactionalProducer:
        """Initialise the id: abort its open transaction and fence its older producers.

        Args:
            brokers: started.
            transactional_id: see the class.
            timeout_ms: the broker aborts a transaction that stays open for longer.
            lane: which of the shared connections; any number.

        Raises:
            KafkaError: for good, such as no authorisation.
        """
        producer = cls(brokers, transactional_id, lane)
        producer._two_steps = await producer._has_two_steps()
        request = InitProducerIdRequest(transactional_id, timeout_ms)
        answer = await producer._ask_coordinator(request, lambda response: [response.error_code])
        producer._producer = answer.producer_id, answer.producer_epoch
        return producer

    async def commit(
        self,
        batches: Sequence[RecordBatch],
        check: Callable[[Sequence[int]], None] = lambda offsets: None,
    ) -> list[int]:
        """Write these batches in one transaction, those of a partition in their order.

        Those of different partitions travel together: a broker waits for the replicas of all of a
        request at once, and of one request of a connection after the other.

        Args:
            batches: at least one.
            check: is told, before the commit, what will be returned; what it raises ends this
                producer with its transaction open.

        Returns:
            The offset of each one's first record, or -1 where the broker has the batch
            from an earlier try and no longer knows where.

        Raises:
            KafkaError: whether the transaction landed is unknown.
        """
        if self._is_open:
            raise KafkaError("an earlier transaction of this producer was refused")
        self._is_open = True
        if not self._two_steps:
            await self._add(batch.tp for batch in batches)
        offsets = await self._produce_all(batches)
        check(offsets)
        await self._end(True)
        return offsets

    async def abort(self) -> None:
        """End a transaction that was refused a batch; the next `commit` begins another.

        Raises:
            KafkaError: for good. The next initialiser of the id aborts it then.
        """
        await self._end(False)

    async def _has_two_steps(self) -> bool:
        """Whether the cluster does it now; asked of the coordinator, before each first use."""
        try:
            answer = await self._ask_coordinator(
                FeaturesRequest(), lambda response: [response.error_code]
            )
        except NotImplementedError:  # aiokafka's word for a version it cannot agree on
            return False
        return ends_in_two_steps(answer)

    async def _add(self, tps: Iterable[TopicPartition]) -> None:
        topics: dict[str, list[int]] = {}
        for tp in dict.fromkeys(tps):
            topics.setdefault(tp.topic, []).append(tp.partition)
        await self._ask_coordinator(
            AddPartitionsToTxnRequest(self._id, *self._producer, list(topics.items())),
            lambda response: [code for _, codes in response.errors for _, code in codes],
        )

    async def _end(self, is_commit: bool) -> None:
        """Asked again with the epoch that it began with: the broker knows it as the same end."""
        end = EndAndMoveOn if self._two_steps else EndTxnRequest
        answer = await self._ask_coordinator(
            end(self._id, *self._producer, is_commit), lambda response: [response.error_code]
        )
        if self._two_steps:
            # An epoch counts from 0; where it was the last of its producer id, that is new, too.
            self._producer = answer.producer_id, answer.producer_epoch
            self._sequences.clear()
        self._is_open = False

    async def _produce_all(self, batches: Sequence[RecordBatch]) -> list[int]:
        """The offset of each."""
        waiting: dict[TopicPartition, list[RecordBatch]] = {}
        for batch in reversed(batches):
            waiting.setdefault(batch.tp, []).append(batch)
        found: dict[TopicPartition, list[int]] = {tp: [] for tp in waiting}
        while any(waiting.values()):
            # Of a partition a broker takes one batch in a request.
            together: dict[TopicPartition, _Built] = {}
            size = 0
            for tp, its in waiting.items():
                if its and (not together or size + its[-1].builder.size() <= _TOGETHER_BYTES):
                    size += its[-1].builder.size()
                    together[tp] = await self._built(its.pop())
            await self._produce(together, found)
        return [found[batch.tp].pop(0) for batch in batches]

    async def _built(self, batch: RecordBatch) -> _Built:
        sequence = self._sequences.get(batch.tp, 0)
        batch.builder.set_producer_state(*self._producer, sequence)
        build = batch.builder.build
        large = batch.builder.size() > _LARGE_BYTES
        data = bytes(await asyncio.to_thread(build) if large else build())
        return _Built(data, (sequence + batch.size) % _SEQUENCES)

    async def _produce(
        self, left: dict[TopicPartition, _Built], found: Mapping[TopicPartition, list[int]]
    ) -> None:
        """Send all that is `left`, until nothing is; what was taken is asked for no more."""

        async def to(node: int, tps: Sequence[TopicPartition]) -> list[KafkaError]:
            topics: dict[str, list[tuple[int, bytes]]] = {}
            for tp in tps:
                topics.setdefault(tp.topic, []).append((tp.partition, left[tp].data))
            produce = ProduceAndAdd if self._two_steps else ProduceRequest
            request = produce(self._id, -1, _REPLICATION_MS, list(topics.items()))
            response = await self._brokers.client.send(node, request, group=self._data)
            refused = []
            for topic, answers, *_ in response.topics:
                for partition, code, offset, *_ in answers:
                    if (error := for_code(code)) in (NoError, DuplicateSequenceNumber):
                        tp = TopicPartition(topic, partition)
                        found[tp].append(int(offset) if error is NoError else -1)
                        # One refused for good used up no numbers: the next batch takes them.
                        self._sequences[tp] = left.pop(tp).next_sequence
                    else:
                        refused.append(code)
            return _errors(refused)

        async def send() -> None:
            by_leader: dict[int, list[TopicPartition]] = {}
            for tp in left:
                by_leader.setdefault(await self._brokers.leader(tp), []).append(tp)
            # All of them, whatever becomes of one: what a broker took is not to be sent again.
            answers = await asyncio.gather(
                *(to(*each) for each in by_leader.items()), return_exceptions=True
            )
            _raise_worst(
                error
                for answer in answers
                for error in ([answer] if isinstance(answer, BaseException) else answer)
            )

        await self._until_answered(send)

    async def _ask_coordinator(self, request: Any, codes: Callable[[Any], list[int]]) -> Any:
        async def ask() -> Any:
            client = self._brokers.client
            if self._coordinator is None:
                self._coordinator = await client.coordinator_lookup(
                    CoordinationType.TRANSACTION, self._id
                )
            response = await client.send(self._coordinator, request, group=self._control)
            _raise_worst(_errors(codes(response)))
            return response

        return await self._until_answered(ask)

    async def _until_answered(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        tries, markers_s = 0, _MARKERS_S
        while True:
            try:
                return await ask()
            except ConcurrentTransactions:
                await asyncio.sleep(markers_s)
                markers_s = min(2 * markers_s, _BACKOFF_S)  # a leader may be away
            except KafkaError as error:
                if not error.retriable:
                    raise
                tries += 1
                if tries % _TRIES_UNTIL_LOGGED == 0:
                    log.warning("%s waits for Kafka (%s).", self._id, in_words(error))
                # Whoever led or coordinated may do so no longer.
                self._coordinator = None
                await self._brokers.client.force_metadata_update()
                await asyncio.sleep(_BACKOFF_S)


def _errors(codes: Iterable[int]) -> list[KafkaError]:
    """What went wrong, if anything did."""
    found: list[KafkaError] = []
    for code in codes:
        error = for_code(code)
        if error is InvalidProducerEpoch or code == _PRODUCER_FENCED:
            found.append(ProducerFenced())
        # The latter says that another partition of the request has an error.
        elif error not in (NoError, OperationNotAttempted):
            found.append(error(f"error code {code}"))
    return found


def _raise_worst(errors: Iterable[BaseException]) -> None:
    """Raise one of them, if there are any: what no trying again mends comes first."""
    worst: BaseException | None = None
    for error in errors:
        if not isinstance(error, KafkaError) or not error.retriable:
            raise error
        worst = worst or error
    if worst is not None:
        raise worst
