"""Record batches, filled one record after the other for each topic-partition.

`BatchFiller` fills those of a transaction. `Joining` puts records into those that an
`AIOKafkaProducer` is about to send: its own `send` makes a coroutine and a future for every record,
which is most of what a record costs that comes alone (aiokafka 0.14), and a batch has one future
already. The private names that this takes are held by tests/integration/wire/test_joining.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaProducer, TopicPartition

from core.records import Headers
from wire.packing import AnyHeaders, is_escaped
from wire.transactions import NO_TIME_MS, RecordBatch, batch_builder

#: A record batch before compression; the source topics take 1 MiB after it.
SOURCE_BATCH_BYTES: Final = 2**20 - 64 * 1024


class BatchFiller:
    """Batches of at most `limit` bytes, unless one record alone is larger."""

    def __init__(self, limit: int = SOURCE_BATCH_BYTES) -> None:
        self._limit = limit
        self._full: list[RecordBatch] = []
        self._open: dict[TopicPartition, tuple[Any, int]] = {}
        #: The last headers, and whether each name of them is UTF-8: most records have the same.
        self._headers: Headers = ()
        self._are_plain = True

    def add(
        self, tp: TopicPartition, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        """Append one record; headers may have names of any bytes."""
        if headers is not self._headers:
            # aiokafka cannot write a header's name that is not UTF-8.
            self._are_plain = not any(is_escaped(name) for name, _ in headers)
            self._headers = headers
        new = batch_builder if self._are_plain else AnyHeaders
        builder, count = self._open.get(tp, (None, 0))
        if builder is None or (new is AnyHeaders and not isinstance(builder, AnyHeaders)):
            self._close(tp)
            builder, count = new(self._limit), 0
        fields = [*headers] if headers else _NONE
        if builder.append(count, NO_TIME_MS, key, value, fields) is None:  # it is full
            self._close(tp)
            builder, count = new(self._limit), 0
            builder.append(count, NO_TIME_MS, key, value, fields)
        self._open[tp] = builder, count + 1

    def _close(self, tp: TopicPartition) -> None:
        if tp in self._open:
            self._full.append(RecordBatch(tp, *self._open.pop(tp)))

    def all(self) -> list[RecordBatch]:
        """All that were added, in order for each topic-partition."""
        return [*self._full, *(RecordBatch(tp, *rest) for tp, rest in self._open.items())]


_NONE: list[Any] = []  # never changed; the builder insists on a list


#: Of the batch, whose result tells the offset of its first record; and which record of it this is.
Joined: TypeAlias = tuple["asyncio.Future[Any]", int]
#: Of the batch; which record of it is the first of these; and how many of them it took.
JoinedAll: TypeAlias = tuple["asyncio.Future[Any]", int, int]


class Joining:
    """For one producer that was started, without transactions and serialisers."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._waiting = producer._message_accumulator  # noqa: SLF001  no public name
        self._leader = producer.client.cluster.leader_for_partition
        self._places: dict[tuple[str, int], TopicPartition] = {}

    def join(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
    ) -> Joined | None:
        """As `send` does where it has to wait for nothing; None: use `send`, nothing was done.

        It may then have to learn where the topic is, to wait for room, or to raise.
        """
        batch = self._batch(topic, partition)
        if batch is None:
            return None
        # None too for a batch that is sent again: it is closed.
        put = batch._builder.append(  # noqa: SLF001  see above
            timestamp=None, key=key, value=value, headers=headers
        )
        return None if put is None else (batch.future, put.offset)

    def join_all(
        self,
        topic: str,
        partition: int,
        records: Iterable[tuple[bytes, bytes]],
        headers: Sequence[tuple[str, bytes]],
    ) -> JoinedAll | None:
        """As `join`, for keys and values in their order, in one batch: as many as it takes.

        All have one time, and the layers between are left out: a third of the time for each.
        """
        batch = self._batch(topic, partition)
        if batch is None or batch._builder.closed():  # noqa: SLF001  see above
            return None
        builder = batch._builder  # noqa: SLF001  see above
        append = builder._builder.append  # noqa: SLF001  see above
        first = at = builder.record_count()
        now_ms = int(time.time() * 1000)
        try:
            for key, value in records:
                if append(at, now_ms, key, value, headers) is None:
                    builder.close()
                    break
                at += 1
        finally:
            builder._relative_offset = at  # noqa: SLF001  see above
        return None if at == first else (batch.future, first, at - first)

    def _batch(self, topic: str, partition: int) -> Any | None:
        """The one of this place that is sent next; None where something has to be waited for."""
        place = self._places.get((topic, partition))
        if place is None:
            place = self._places[topic, partition] = TopicPartition(topic, partition)
        waiting = self._waiting
        if waiting._closed or waiting._exception is not None:  # noqa: SLF001  see above
            return None
        if self._leader(place) in (None, -1):
            return None
        batches = waiting._batches.get(place)  # noqa: SLF001  see above
        if batches:
            return batches[-1]
        return waiting._append_batch(waiting.create_builder(), place)  # noqa: SLF001  see above
