"""Many ask at once, and one round of requests answers all of them.

Take-overs come a dozen at a time. Each wants to know the same of its own partition, and a
broker tells it of all partitions in one answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from aiokafka.errors import KafkaTimeoutError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_GATHER_S = 0.005


class Rounds(Generic[K, V]):
    """Gathers questions for some milliseconds, then has them answered together.

    A question that comes while a round is under way belongs to the next one: what is told
    to whoever asked is never older than the question.

    Args:
        answer: what is known of each question, or the exception for whoever asked it.
        timeout_s: of one round; then all get a KafkaTimeoutError.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[K]], Awaitable[Mapping[K, V | Exception]]],
        timeout_s: float,
    ) -> None:
        self._answer, self._timeout_s = answer, timeout_s
        self._asked: dict[K, asyncio.Future[V]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, question: K) -> V:
        """Raises what `answer` gives or raises; KafkaTimeoutError where nobody answers."""
        asked = self._asked.setdefault(question, asyncio.get_running_loop().create_future())
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._run(), name="a round of questions")
        return await asyncio.shield(asked)

    async def _run(self) -> None:
        await asyncio.sleep(_GATHER_S)
        while self._asked:
            asked, self._asked = self._asked, {}
            answers: Mapping[K, V | Exception]
            try:
                async with asyncio.timeout(self._timeout_s):
                    answers = await self._answer(list(asked))
            except TimeoutError:
                answers = dict.fromkeys(asked, KafkaTimeoutError("Kafka does not answer"))
            except Exception as error:
                answers = dict.fromkeys(asked, error)
            for question, future in asked.items():
                answer = answers[question]
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                    future.exception()  # whoever asked may have gone
                else:
                    future.set_result(answer)
