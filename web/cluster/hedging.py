"""Ask one, then the next if it fails or is slow, and take the first good answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from web.cluster.exchange import PeerFailed

T = TypeVar("T")
A = TypeVar("A")


async def first_good(
    targets: Sequence[T],
    attempt: Callable[[T], Awaitable[A]],
    *,
    good: Callable[[T, A], bool],
    better: Callable[[A, A], bool],
    failed: Callable[[T], None],
    hedge_s: float,
    until: float,
    dropped: Callable[[A], None] = lambda answer: None,
) -> A | None:
    """Race `attempt` over `targets`, best first; the next one starts after `hedge_s`.

    Args:
        targets: whom to ask.
        attempt: asks one; raises PeerFailed for no answer.
        good: whether an answer ends the race.
        better: of two answers that do not, whether the second says more.
        failed: told of each target that gave no answer, or was overtaken.
        hedge_s: seconds.
        until: monotonic time in seconds at which to give up.
        dropped: told of each answer that came together with a better one.
    """
    waiting = list(targets)
    running: dict[asyncio.Task[A], tuple[T, float]] = {}
    second_best: A | None = None
    next_start = 0.0
    try:
        while (now := time.monotonic()) < until:
            if waiting and now >= next_start:
                target = waiting.pop(0)
                task = asyncio.ensure_future(attempt(target))
                running[task] = (target, now)
                next_start = now + hedge_s
            if not running:
                break
            until_then = min(until, next_start) if waiting else until
            done, _ = await asyncio.wait(
                running, timeout=until_then - now, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                target, _ = running.pop(task)
                try:
                    answer = task.result()
                except PeerFailed:
                    failed(target)
                else:
                    if good(target, answer):
                        return answer
                    if second_best is None or better(second_best, answer):
                        second_best = answer
                next_start = 0.0
        return second_best
    finally:
        now = time.monotonic()
        for task, (target, started) in running.items():
            if now - started >= min(hedge_s, until - started):
                failed(target)
            task.add_done_callback(partial(_take_note, dropped))
            task.cancel()


def _take_note(dropped: Callable[[A], None], task: asyncio.Task[A]) -> None:
    """Nobody waits for it any more; unread exceptions would be logged as bugs."""
    if not task.cancelled() and task.exception() is None:
        dropped(task.result())
