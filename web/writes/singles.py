"""Facts that come alone, many from many clients: they share batches, futures and one clock.

A task, a future and a timer for each would cost more than all checks of a fact. So each joins
the batch of its partition that is sent next (`wire/filling.py`), and when that is acknowledged
all of its facts are answered, one after the other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, TypeAlias

from aiokafka import AIOKafkaProducer
from msgspec import Struct

from web.writes.acknowledged import first_offset, why_refused
from wire.filling import Joining

#: Is given the offset of a fact; or None, and a sentence: it may be in the log, now or later.
TellOffset: TypeAlias = Callable[[int | None, str | None], None]


class _Single(Struct, gc=False):
    """One that waits; at: which record of its batch; tell: None once it was told."""

    at: int
    deadline: float
    tell: TellOffset | None


class Singles:
    """Of one worker.

    Args:
        timeout_s: after it a fact is told that Kafka did not confirm it.
        settle: is shown each producer with what became of a batch.
    """

    def __init__(
        self, timeout_s: float, settle: Callable[[AIOKafkaProducer, asyncio.Future[Any]], None]
    ) -> None:
        self._timeout_s, self._settle = timeout_s, settle
        self._joining: tuple[AIOKafkaProducer, Joining] | None = None
        self._batches: dict[asyncio.Future[Any], list[_Single]] = {}
        #: All that wait, the oldest first; and some that were told.
        self._waiting: deque[_Single] = deque()
        self._clock: asyncio.TimerHandle | None = None
        #: Not that of the request that happens to be the first of its batch.
        self._context = copy_context()

    def put(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
        tell: TellOffset,
    ) -> bool:
        """Send one. `tell` is called once, later; False: it has to be sent in another way."""
        if self._joining is None or self._joining[0] is not producer:
            self._joining = producer, Joining(producer)
        joined = self._joining[1].join(topic, partition, key, value, headers)
        if joined is None:
            return False
        batch, at = joined
        loop = asyncio.get_running_loop()
        single = _Single(at, loop.time() + self._timeout_s, tell)
        its = self._batches.get(batch)
        if its is None:
            its = self._batches[batch] = []
            batch.add_done_callback(self._done, context=self._context)
            batch.add_done_callback(
                lambda done: self._settle(producer, done), context=self._context
            )
        its.append(single)
        self._waiting.append(single)
        if self._clock is None:
            self._clock = loop.call_at(single.deadline, self._ring, context=self._context)
        return True

    def _done(self, batch: asyncio.Future[Any]) -> None:
        """Tell all that were in it."""
        first = first_offset(batch)
        trouble = why_refused([batch]) if first is None else None
        for single in self._batches.pop(batch):
            tell, single.tell = single.tell, None
            if tell is not None:
                tell(None if first is None else first + single.at, trouble)
        waiting = self._waiting
        while waiting and waiting[0].tell is None:
            waiting.popleft()

    def _ring(self) -> None:
        """Tell those whose time is over; their batches may land later."""
        loop, waiting = asyncio.get_running_loop(), self._waiting
        now, self._clock = loop.time(), None
        while waiting and (waiting[0].tell is None or waiting[0].deadline <= now):
            single = waiting.popleft()
            tell, single.tell = single.tell, None
            if tell is not None:
                tell(None, f"Kafka did not confirm within {self._timeout_s:g} s.")
        if waiting:
            self._clock = loop.call_at(waiting[0].deadline, self._ring, context=self._context)
