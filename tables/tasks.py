"""Tasks that nobody awaits: the one guard for all of them, so that none ends in silence.

A task of asyncio that fails while nobody awaits it says so when it is collected as
garbage, which may be never; until then the worker looks healthy and is deaf, or blind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from core.words import in_words
from tables.ports import Fail

log = logging.getLogger(__name__)

Work = Coroutine[Any, Any, None]


class Final(Exception):
    """Ends the worker wherever it is met; its text says why, and what to do."""


async def _say(sentence: str, error: BaseException | None) -> None:
    log.error("%s", sentence, exc_info=error)


class Tasks:
    """Those of one part of the worker that have not ended.

    Args:
        fail: ends the worker with one sentence. Without it, a failure is only logged: for
            parts that begin all of their work anew, and without which reads go on.
        over: exceptions that say no more than that the work is not wanted any more.
    """

    def __init__(self, fail: Fail = _say, *over: type[Exception]) -> None:
        self._fail, self._over = fail, over
        self._running: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(self._running)

    def start(self, work: Work, name: str) -> asyncio.Task[None]:
        """Begin what comes to an end, at the loop's next pass; its failure ends the worker."""
        task = asyncio.create_task(self._guard(work, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A task that is cancelled before its first step never comes to await it.
        task.add_done_callback(lambda _: work.close())
        return task

    def keep(
        self, work: Callable[[], Work], name: str, again_s: float | None = None
    ) -> asyncio.Task[None]:
        """Begin what must go on for as long as the worker lives.

        Args:
            work: makes it.
            name: for the log.
            again_s: what fails, or ends, is said and begun anew after so many seconds; None:
                it ends the worker.
        """
        return self.start(self._keep(work, name, again_s), name)

    async def cancel(self) -> None:
        """End all, and wait until they have."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _guard(self, work: Awaitable[None], name: str) -> None:
        try:
            await self._uncancelled(work)
        except self._over:
            pass
        except Final as error:
            await self._fail(str(error), error)
        except Exception as error:
            await self._fail(f"The task {name!r} failed: {_why(error)}.", error)

    async def _keep(self, work: Callable[[], Work], name: str, again_s: float | None) -> None:
        while True:
            try:
                await self._uncancelled(work())
                raise _Ended("it has no reason to end")
            except Final:
                raise
            except Exception as error:
                if again_s is None:
                    raise
                log.error(
                    "The task %r failed and begins anew: %s.",
                    name,
                    _why(error),
                    exc_info=None if isinstance(error, _Ended) else error,
                )
            await asyncio.sleep(again_s)

    async def _uncancelled(self, work: Awaitable[None]) -> None:
        """Await it; only who cancels this very task may end it that way."""
        try:
            await work
        except asyncio.CancelledError:
            me = asyncio.current_task()
            if me is None or me.cancelling():
                raise
            raise _Ended("what it waited for was cancelled") from None


class _Ended(Exception):
    """A task came to an end that nobody asked for."""


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, _Ended) else in_words(error)
