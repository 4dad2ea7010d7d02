"""Tasks that nobody awaits: none is forgotten, and none fails in silence."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from tables.partition import Superseded
from tables.takeover import RulesDiffer


class Tasks:
    """Those of one table that have not ended.

    Args:
        fail: ends the worker with one sentence, where a task ends with an exception.
    """

    def __init__(self, fail: Callable[[str, BaseException | None], Awaitable[None]]) -> None:
        self._fail = fail
        self._running: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[asyncio.Task[None]]:
        return iter(self._running)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begin it at the loop's next pass."""
        task = asyncio.create_task(self._guard(work), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        # A task that is cancelled before its first step never comes to await it.
        task.add_done_callback(lambda _: work.close())
        return task

    async def cancel(self) -> None:
        """End all, and wait until they have."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _guard(self, work: Awaitable[None]) -> None:
        try:
            await work
        except (asyncio.CancelledError, Superseded):
            raise
        except RulesDiffer as error:
            await self._fail(str(error), error)
        except Exception as error:
            await self._fail(f"The table failed: {error!r}.", error)
