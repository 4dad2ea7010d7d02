"""How much of a long read is done in one pass of the event loop, counted instead of timed."""

import asyncio

import pytest


class Passes:
    """The clock of long reads (web/http/pacing.py): it goes on by so much at each look.

    work: looks at it in each pass of the event loop since `beside` began. Whoever does not look
    does not give way, either.
    """

    def __init__(self, patch: pytest.MonkeyPatch, a_look_s: float) -> None:
        self.work = [0]
        self._now, self._a_look_s = 0.0, a_look_s
        patch.setattr("web.http.pacing.time", self)

    def perf_counter(self) -> float:
        """Seconds."""
        self.work[-1] += 1
        self._now += self._a_look_s
        return self._now

    async def beside(self, task: asyncio.Task[object]) -> None:
        """Count until it is done."""
        while not task.done():
            self.work.append(0)
            await asyncio.sleep(0)
