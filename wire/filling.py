"""Record batches of a transaction, filled one record after the other for each topic-partition."""

from __future__ import annotations

from typing import Any, Final

from aiokafka import TopicPartition

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

    def add(
        self, tp: TopicPartition, key: bytes | None, value: bytes | None, headers: Headers
    ) -> None:
        """Append one record; headers may have names of any bytes."""
        # aiokafka cannot write a header's name that is not UTF-8.
        new = AnyHeaders if any(is_escaped(name) for name, _ in headers) else batch_builder
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
