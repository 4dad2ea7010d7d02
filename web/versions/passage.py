"""Asks the workers of another version: whom, for how long, and when again.

A machine that is far too busy delays heartbeats before it stops answering. So where all of a
version have fallen silent they are asked all the same, and where nobody answers, anew: as a read
of the own version has it (`web.cluster.routing`).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from core.stages import Role
from domain.lookup import TooBusy
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.heartbeats import Heartbeat, WorkerState
from web.cluster.hedging import first_good
from web.cluster.peers import Peers
from web.cluster.pool import PeerCrowded
from web.cluster.roster import REMEMBER_S, WorkerView

_TRIES = 3
#: Between two questions while nobody answers.
ASK_AGAIN_S = 0.05


class Crossing(NamedTuple):
    """One request for workers of another version.

    hop: the request, for the worker at a URL. try_s: for one worker's answer. again_s: while no
    longer than this has passed, all are asked anew where nobody has answered. hedge_s: until the
    next one is asked, too. waits: for a position that the caller named. is_read: a 503 of one
    worker is not the last word.
    """

    version: int
    hop: Callable[[str], bytes]
    try_s: float
    again_s: float
    hedge_s: float
    waits: bool
    is_read: bool


class Passage:
    """The way to workers of other versions.

    Args:
        peers: asks other workers. workers: all others that are known.
    """

    def __init__(self, peers: Peers, workers: Callable[[], Sequence[WorkerView]]) -> None:
        self._peers, self._workers = peers, workers
        #: When a worker did not answer, monotonic seconds by address.
        self._failed: dict[str, float] = {}

    async def answer(
        self, crossing: Crossing, partitions: Sequence[int]
    ) -> PeerAnswer | TooBusy | None:
        """The answer of a worker of that version; None where none gives one.

        partitions: whose rows are asked for.
        """
        until = time.monotonic() + crossing.again_s
        while True:
            answer = await self._answered(crossing, partitions)
            if isinstance(answer, PeerAnswer) or time.monotonic() >= until:
                return answer
            await asyncio.sleep(ASK_AGAIN_S)

    async def _answered(
        self, crossing: Crossing, partitions: Sequence[int]
    ) -> PeerAnswer | TooBusy | None:
        """The same, asked once."""

        async def attempt(url: str) -> PeerAnswer | TooBusy:
            try:
                async with asyncio.timeout(crossing.try_s):
                    answer = await self._peers.ask(url, crossing.hop(url), waits=crossing.waits)
            except PeerCrowded as crowd:
                return TooBusy(f"Of {url}: {crowd}", 1)  # that worker did nothing wrong
            except TimeoutError as error:
                self._note_failure(url)
                raise PeerFailed("It has not answered in time.") from error
            except PeerFailed:
                self._note_failure(url)
                raise
            if answer.status == 401:
                raise PeerFailed("It does not take this worker for one.")
            return answer

        def is_good(url: str, found: PeerAnswer | TooBusy) -> bool:
            return isinstance(found, PeerAnswer) and (found.status != 503 or not crossing.is_read)

        # Where one fails, the next one is asked: ids make it safe to repeat a POST.
        return await first_good(
            self.targets(crossing.version, partitions)[:_TRIES],
            attempt,
            good=is_good,
            better=lambda one, other: isinstance(other, PeerAnswer),
            failed=lambda url: None,
            hedge_s=crossing.hedge_s,
            until=time.monotonic() + _TRIES * crossing.try_s,
        )

    def targets(self, version: int, partitions: Sequence[int]) -> list[str]:
        """Whom to ask, best first: the owner of the key, then any, those that leave last.

        Where all are silent: those that have not failed since they were heard.
        """
        there = [
            view
            for view in self._workers()
            if view.beat.version == version and view.beat.state is not WorkerState.GONE
        ]
        found = [view.beat for view in there if view.alive]
        if not found:
            found = [view.beat for view in there if not self._has_failed(view)]
        random.shuffle(found)
        key = partitions[0] if len(partitions) == 1 else None

        def rank(beat: Heartbeat) -> tuple[bool, bool, bool]:
            owns = any(c.partition == key and c.role == Role.ACTIVE for c in beat.claims)
            holds = any(c.role is not None for c in beat.claims)
            return beat.state is not WorkerState.RUNNING, not holds, not owns

        return [beat.url for beat in sorted(found, key=rank)]

    def _note_failure(self, url: str) -> None:
        now = time.monotonic()
        # Who is gone for good will never be heard, nor asked, again.
        self._failed = {u: at for u, at in self._failed.items() if now - at <= REMEMBER_S}
        self._failed[url] = now

    def _has_failed(self, view: WorkerView) -> bool:
        """Whether it did not answer since it was heard last."""
        return self._failed.get(view.beat.url, -1.0) > time.monotonic() - view.silent_s
