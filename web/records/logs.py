"""Read Kafka for a question of a person: a consumer for each, a few at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from core.words import in_words
from web.http.parameters import BadRequest
from web.http.problems import Problem, problem
from web.http.replies import Observe
from wire import clients
from wire.lookback import Look
from wire.whole import committed_reader

#: Such questions answered at once by one worker: each holds a few megabytes.
AT_ONCE = 4
#: How long one waits for its turn, and then for Kafka, in seconds.
TURN_S = 2.0
_ANSWER_S = 5.0
_CLOSE_S = 2.0


class LogUnavailable(Exception):
    """Kafka did not answer, or too many ask at once; carries the answer to give."""

    def __init__(self, name: Problem, detail: str) -> None:
        super().__init__(detail)
        self._name, self._detail = name, detail

    def reply(self) -> web.Response:
        """The 503."""
        return problem(self._name, self._detail)


async def answered(answer: Awaitable[web.Response], usual: str, observe: Observe) -> web.Response:
    """This answer, or why there is none.

    Args:
        answer: may raise BadRequest and LogUnavailable.
        usual: the outcome where it raises neither.
        observe: is told role, outcome and seconds.
    """
    started, outcome = time.perf_counter(), usual
    try:
        return await answer
    except BadRequest as bad:
        outcome = str(Problem.INVALID_REQUEST)
        return bad.reply()
    except LogUnavailable as unavailable:
        outcome = str(Problem.LOG_UNAVAILABLE)
        return unavailable.reply()
    finally:
        observe("none", outcome, time.perf_counter() - started)


class Logs:
    """`kafka`: connection settings for aiokafka."""

    def __init__(self, kafka: Mapping[str, Any]) -> None:
        self._kafka = dict(kafka)
        self._turns = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def look(self, partitions: Collection[TopicPartition]) -> AsyncIterator[Look]:
        """A look at these partitions.

        Raises:
            LogUnavailable: Kafka is away or too slow, or it is nobody's turn.
        """
        try:
            async with asyncio.timeout(TURN_S):
                await self._turns.acquire()
        except TimeoutError:
            detail = f"{AT_ONCE} questions that read the log are being answered."
            raise LogUnavailable(Problem.TOO_BUSY, detail) from None
        consumer = committed_reader(self._kafka)
        try:
            async with asyncio.timeout(_ANSWER_S):
                await clients.start(consumer)
                look = Look(consumer, partitions)
                await look.begin()
                yield look
        except (KafkaError, OSError, TimeoutError) as error:
            detail = f"Kafka could not be read: {in_words(error)}."
            raise LogUnavailable(Problem.LOG_UNAVAILABLE, detail) from error
        finally:
            await clients.let_go(consumer, _CLOSE_S)
            self._turns.release()
