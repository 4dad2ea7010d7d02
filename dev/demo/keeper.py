"""Whoever looks after the demo's workers: how each is, killed when a visitor says so, and back."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dev.workers import Worker, status_of

#: Long enough to see the other worker take over first, which takes the session's 10 s.
BACK_AFTER_S = 15.0
LOOK_EVERY_S = 0.25


class NotNow(Exception):
    """This worker cannot be killed; says why."""


@dataclass
class Life:
    """One worker, as it was last seen.

    Attributes:
        died: when its process was found dead, as time.monotonic(); None: it runs.
        is_ready: whether it answers.
        is_awaited: it died, and has not answered since. A slow answer alone is no death.
        kills: how often a visitor killed it.
    """

    worker: Worker
    died: float | None = None
    is_ready: bool = False
    is_awaited: bool = False
    kills: int = 0


@dataclass
class Keeper:
    """Looks at each worker all the time.

    Attributes:
        say: told of each change, as a line for people.
        is_open: visitors may kill, and what died is started again. Before that somebody else does
            both.
    """

    workers: Sequence[Worker]
    say: Callable[[str], None]
    back_after_s: float = BACK_AFTER_S
    is_open: bool = False
    _lives: dict[str, Life] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lives = {worker.name: Life(worker, is_ready=True) for worker in self.workers}

    async def run(self) -> None:
        """Look, for ever; in the main thread, with which the workers end."""
        while True:
            for life in self._lives.values():
                await self._look(life)
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, life: Life) -> None:
        worker = life.worker
        if not worker.alive:
            life.is_ready, life.is_awaited = False, True
            if life.died is None:
                life.died = time.monotonic()
                if self.is_open:
                    self.say(f"worker {worker.name} is gone (pid {worker.pid})")
            elif self.is_open and self._back_in_s(life) == 0:
                worker.start()
                self.say(f"worker {worker.name} started again (pid {worker.pid})")
            return
        life.died = None
        life.is_ready = await status_of(f"{worker.url}/ready") == 200
        if life.is_ready and life.is_awaited:
            life.is_awaited = False
            if self.is_open:
                self.say(f"worker {worker.name} answers again")

    def _back_in_s(self, life: Life) -> float:
        return max(0.0, (life.died or 0.0) + self.back_after_s - time.monotonic())

    def kill(self, name: str) -> None:
        """`kill -9`.

        Raises:
            KeyError: no worker has this name.
            NotNow: it is dead, or it is not the visitor's turn.
        """
        life = self._lives[name]
        if not self.is_open:
            raise NotNow("The demo is still at its own kill and comparison. Wait for its end.")
        if not life.worker.alive:
            raise NotNow(f"Worker {name} is dead already. It is started again by itself.")
        life.worker.kill()
        life.kills += 1
        life.died, life.is_ready = time.monotonic(), False
        self.say(f"kill -9 worker {name} (pid {life.worker.pid}), by the page")

    @property
    def urls(self) -> list[str]:
        """Whom to ask: those that answer, then the others that run."""
        living = [life for life in self._lives.values() if life.worker.alive]
        return [life.worker.url for life in sorted(living, key=lambda life: not life.is_ready)]

    def told(self) -> list[dict[str, Any]]:
        """Each worker, for a page: state is `answers`, `starts` or `dead`; back_in_s or null."""
        return [self._told(life) for life in self._lives.values()]

    def _told(self, life: Life) -> dict[str, Any]:
        worker = life.worker
        state = "dead" if not worker.alive else "answers" if life.is_ready else "starts"
        is_coming = state == "dead" and self.is_open and life.died is not None
        return {
            "name": worker.name,
            "url": worker.url,
            "pid": worker.pid,
            "state": state,
            "kills": life.kills,
            "back_in_s": self._back_in_s(life) if is_coming else None,
        }
