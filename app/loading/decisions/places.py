"""Where in the sources the facts of a document lie, so that they can be read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aiokafka import TopicPartition

from wire.transactions import RecordBatch


class SentPlaces:
    """Of each `role-partition` an offset that is not behind a document's first fact, and how many.

    Args:
        roles: of each source topic.
        ends: of each partition, at a moment when nobody else may load: what is sent comes behind.
        before: what was sent of documents by earlier loads.
    """

    def __init__(
        self,
        roles: Mapping[str, str],
        ends: Mapping[TopicPartition, int],
        before: Mapping[str, dict[str, tuple[int, int]]],
    ) -> None:
        self._roles, self._ends = roles, dict(ends)
        self._sent = {identity: dict(places) for identity, places in before.items()}

    def add(self, identity: str, tp: TopicPartition, facts: int) -> None:
        """So many facts of a document are about to be sent."""
        places = self._sent.setdefault(identity, {})
        name = f"{self._roles[tp.topic]}-{tp.partition}"
        begin, count = places.get(name, (self._ends[tp], 0))
        places[name] = begin, count + facts

    def of(self, identity: str) -> dict[str, tuple[int, int]]:
        """As it is remembered."""
        return dict(self._sent.get(identity, {}))

    def forget(self, identity: str) -> None:
        """A document of which nothing more is sent; there may be 100,000."""
        self._sent.pop(identity, None)

    def committed(self, batches: Sequence[RecordBatch], offsets: Sequence[int]) -> None:
        """What comes now comes behind these; offsets: of their first records, -1 if unknown."""
        for batch, offset in zip(batches, offsets, strict=True):
            if batch.tp in self._ends and offset >= 0:
                self._ends[batch.tp] = offset + batch.size
