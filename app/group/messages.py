"""A fetched batch as Faust carries it from the consumer to the agent.

Private names of faust-streaming 0.15.3: see `app/group/transport.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from aiokafka import TopicPartition
from faust.transport.conductor import Conductor
from faust.types import TP, ConsumerMessage

from app.group.ports import Worker
from app.group.shares import Undone


class BatchMessage(ConsumerMessage):
    """A delivered batch; acknowledging it frees its share of the budget."""

    __slots__ = ("budget",)
    budget: Undone


class BatchConductor(Conductor):
    """Puts a batch on the queues of the agents that read its topic, undecoded."""

    app: Worker  # type: ignore[assignment]  # Faust's App, and ours

    def deliver(self, tp: TP, message: BatchMessage) -> None:
        """Synchronous: no rebalance slips in between check and hand-over."""
        channels = self._tp_index.get(tp, ())
        message.incref(len(channels))
        for channel in channels:
            event = self.app.create_event(None, message.value, None, message)
            channel.queue.force_put_nowait(event)


def by_partition(
    tps: Iterable[TopicPartition], reader_of: Callable[[str], str]
) -> Iterator[tuple[TopicPartition, bool]]:
    """One reader's topics of a partition one after the other, and whether another one follows.

    So that one fetch is one commit of a reader's partition, not one for each topic.
    """

    def group(tp: TopicPartition) -> tuple[int, str]:
        return tp.partition, reader_of(tp.topic)

    last: TopicPartition | None = None
    for tp in sorted(tps, key=group):
        if last is not None:
            yield last, group(last) == group(tp)
        last = tp
    if last is not None:
        yield last, False
