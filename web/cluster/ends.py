"""Where the source topics end now, as a broker says: no position beyond can be waited for.

What fetches tell on the way is older than the request that asks, be it by a millisecond:
somebody's event may have got its position in between. So the broker is asked after the
request came, once for all that come within `_GATHER_S`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from core.positions import Place
from tables.tasks import Tasks
from wire import clients

log = logging.getLogger(__name__)

#: Least time from one question to the next.
_GATHER_S = 0.05
#: No answer within this is none: who waits goes on waiting, as without the question.
ASK_TIMEOUT_S = 2.0
START_TIMEOUT_S = 10.0
#: A broker that did not answer is not asked for this long.
_RETRY_S = 1.0
_CLOSE_TIMEOUT_S = 1.0


class Ends(Protocol):
    """Tells where topic-partitions end."""

    async def of(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """The offset that the next record gets, by place, learnt after this call began.

        Of these places and no others; those that nobody can tell are left out.
        """


class NoEnds:
    """Where there is no broker: nothing is known, so everything is waited for."""

    async def of(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """Nothing."""
        return {}


class BrokerEnds:
    """Asks Kafka, over one client that is made with the first question.

    Args:
        kafka: keyword arguments of an aiokafka client.
    """

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        self._kafka = dict(kafka)
        self._consumer: AIOKafkaConsumer | None = None
        self._wanted: dict[Place, None] = {}
        self._answer: asyncio.Future[Mapping[Place, int]] | None = None
        self._tasks = Tasks()
        self._is_asking = False
        self._asked_at = 0.0
        self._away_until = 0.0

    async def of(self, places: Iterable[Place]) -> Mapping[Place, int]:
        """As the protocol says: this call is in a question that has not been sent yet."""
        mine = tuple(places)
        if time.monotonic() < self._away_until:
            return {}  # aiokafka has a line in the log for each vain attempt
        self._wanted.update(dict.fromkeys(mine))
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
        answer = self._answer
        if not self._is_asking:
            self._is_asking = True
            self._tasks.start(self._ask(), "ends of the sources")
        ends = await asyncio.shield(answer)
        return {place: ends[place] for place in mine if place in ends}

    async def stop(self) -> None:
        """Ask no more. May be called twice."""
        await self._tasks.cancel()
        await self._close()

    async def _ask(self) -> None:
        try:
            while self._answer is not None:
                await asyncio.sleep(self._asked_at + _GATHER_S - time.monotonic())
                self._asked_at = time.monotonic()
                wanted, self._wanted = self._wanted, {}
                answer, self._answer = self._answer, None
                await self._ask_for(wanted, answer)
        finally:
            self._is_asking = False

    async def _ask_for(
        self, wanted: Iterable[Place], answer: asyncio.Future[Mapping[Place, int]]
    ) -> None:
        ends: Mapping[Place, int] = {}
        try:
            ends = await self._ends(wanted)
        except (KafkaError, OSError, TimeoutError) as error:
            # P8: without a broker nothing is beyond the end. Others say that it is away.
            log.debug("The ends of the sources are not known (%r).", error)
            self._away_until = time.monotonic() + _RETRY_S
            await self._close()
        finally:
            answer.set_result(ends)

    async def _ends(self, wanted: Iterable[Place]) -> Mapping[Place, int]:
        if self._consumer is None:
            self._consumer = AIOKafkaConsumer(
                **self._kafka, group_id=None, enable_auto_commit=False
            )
            async with asyncio.timeout(START_TIMEOUT_S):
                await clients.start(self._consumer)
        async with asyncio.timeout(ASK_TIMEOUT_S):
            found = await self._consumer.end_offsets([TopicPartition(*each) for each in wanted])
        return {(place.topic, place.partition): end for place, end in found.items()}

    async def _close(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await clients.let_go(consumer, _CLOSE_TIMEOUT_S)
