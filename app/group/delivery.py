"""What the table asks of the transport, once Faust has made its consumer."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from app.group.ports import Worker
from app.group.transport import BatchConsumer
from wire.fetch import End


class ConsumerDelivery:
    """`tables.takeover.Delivery` and `Membership` over the app's consumer, once there is one."""

    def __init__(self, app: Worker) -> None:
        self._app = app

    def _consumer(self) -> BatchConsumer:
        consumer: BatchConsumer = self._app.consumer
        return consumer

    def start(
        self, partition: int, positions: dict[str, int], epoch: int
    ) -> Coroutine[Any, Any, None]:
        return self._consumer().start_delivery(partition, positions, epoch)

    def stop(self, partition: int) -> Coroutine[Any, Any, None]:
        return self._consumer().stop_delivery(partition)

    def end(self, topic: str, partition: int) -> End:
        return self._consumer().end(topic, partition)

    def confirmed_at(self) -> float:
        return self._consumer().confirmed_at()

    def confirm(self) -> Coroutine[Any, Any, None]:
        return self._consumer().confirm()
