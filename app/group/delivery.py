"""What a table asks of the transport, once Faust has made its consumer."""

from __future__ import annotations

from collections.abc import Collection, Coroutine
from typing import Any

from app.group.ports import Worker
from app.group.transport import BatchConsumer
from wire.fetch import End


class ConsumerDelivery:
    """`tables.ports.Delivery` and `Membership` over the app's consumer, once there is one.

    Args:
        app: whose consumer it is.
        topics: of the one who asks; what others in this worker read is not its business.
    """

    def __init__(self, app: Worker, topics: Collection[str]) -> None:
        self._app, self._topics = app, frozenset(topics)

    def _consumer(self) -> BatchConsumer:
        consumer: BatchConsumer = self._app.consumer
        return consumer

    def start(
        self, partition: int, positions: dict[str, int], epoch: int
    ) -> Coroutine[Any, Any, None]:
        return self._consumer().start_delivery(partition, positions, epoch)

    def stop(self, partition: int) -> Coroutine[Any, Any, None]:
        return self._consumer().stop_delivery(partition, self._topics)

    def rest(self, records: int) -> Coroutine[Any, Any, None]:
        return self._consumer().rest(records)

    def end(self, topic: str, partition: int) -> End:
        return self._consumer().end(topic, partition)

    def confirmed_at(self) -> float:
        return self._consumer().confirmed_at()

    def confirm(self) -> Coroutine[Any, Any, None]:
        return self._consumer().confirm()
