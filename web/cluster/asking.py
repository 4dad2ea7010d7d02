"""One read of one partition: who is asked, one after the other, until somebody settles it.

An owner that fails is passed over at once; one that is slow is passed over after the hedge of
its patience: then the next is asked too, and the first good answer counts.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from core.stages import Freshness, Role
from domain.lookup import NotReady, TooBusy
from tables.home.store import StoreError
from web.cluster.admission import Asked, Unanswered, stale
from web.cluster.answers import is_soon_another, is_usable, problem_of, says_more, settles
from web.cluster.exchange import FromPeer, LargeAnswer, PeerAnswer, PeerFailed
from web.cluster.hedging import first_good
from web.cluster.pool import PeerCrowded
from web.cluster.roster import Holder
from web.cluster.routing import KEY_PATIENCE, Router, Target, again
from web.http.problems import Problem

T = TypeVar("T")


class Asking(Generic[T]):
    """One read of one partition on its way to an answer.

    Args:
        router: of this worker.
        partition: whose rows are read.
        asked: the caller's demands.
        here: reads this worker's rows; begins before anything else can happen.
        request: the same question to the worker at a URL, from this floor on, which may be
            waited for so many seconds.
    """

    def __init__(
        self,
        router: Router,
        partition: int,
        asked: Asked,
        here: Callable[[Freshness], Awaitable[T | Unanswered]],
        request: Callable[[str, str, float], bytes],
    ) -> None:
        self._router, self._admission = router, router.admission
        self._partition, self._asked = partition, asked
        self._here, self._request = here, request
        self._attempts = router.attempts(partition, asked, KEY_PATIENCE)

    async def answer(self) -> T | FromPeer | Unanswered:
        """The first good answer, or why there is none.

        Of a LargeAnswer status and headers have come, and it is a 200.
        """
        until = self._attempts.until
        while True:
            answer = await self._answered()
            is_final = not is_soon_another(answer, self._attempts.waits)
            if is_final or not await again(self._asked, until):
                return answer
            self._attempts = self._router.attempts(self._partition, self._asked, KEY_PATIENCE)

    async def _answered(self) -> T | FromPeer | Unanswered:
        """The same, asked once."""
        answer = await self._first()
        if isinstance(answer, LargeAnswer):
            judged = await self._judged(answer)
            if not isinstance(judged, NotReady):
                return judged
            # Who was to send it is gone, and nothing of it was passed on: another has it.
            self._router.suspect(answer.url)
            self._attempts = self._router.attempts(self._partition, self._asked, KEY_PATIENCE)
            answer = await self._first()
            if isinstance(answer, LargeAnswer):
                return await self._judged(answer)
        return answer

    async def _first(self) -> T | FromPeer | Unanswered:
        """The same, before a LargeAnswer was looked at."""
        if self._attempts.targets[:1] == [None]:
            # The usual local read: as the race, but without its tasks.
            at_once = await self._at_once()
            if at_once is not None and settles(at_once):
                return at_once
        if not self._attempts.waits:
            return await self._of_all(self._attempts.targets)
        with self._admission.waiting() as may:
            if not may:
                return self._admission.too_many()
            return await self._of_all(self._attempts.targets)

    async def _of_all(self, targets: Sequence[Target]) -> T | FromPeer | Unanswered:
        answer: T | FromPeer | Unanswered | None = None
        owner = targets[0] if targets else None
        if owner is not None and owner.role is Role.ACTIVE and not self._attempts.waits:
            answer = await self._of_owner(owner)
            if answer is not None and self._is_settled_by(owner, answer):
                return answer
            # Who has failed, or is slow, is asked once more, last.
            targets = [*targets[1:], owner] if answer is None else targets[1:]
        raced = await self._race(targets)
        if raced is not None and (answer is None or settles(raced) or says_more(answer, raced)):
            answer = raced
        if answer is None and not self._asked.hop:
            answer = await self._at_once()
        if answer is None:
            why = "No worker answered in time" if targets else "No worker can answer now"
            return NotReady(f"{why} for partition {self._partition}.", 1)
        return answer

    async def _of_owner(self, owner: Holder) -> T | FromPeer | Unanswered | None:
        """The usual forwarded read: as `_race`, but without its tasks, at half the cost.

        None if it failed or is slow.
        """
        try:
            async with asyncio.timeout(self._attempts.hedge_s):
                return await self._attempt(owner)
        except (TimeoutError, PeerFailed):
            self._router.suspect(owner.url)
            return None

    async def _race(self, targets: Sequence[Target]) -> T | FromPeer | Unanswered | None:
        """Ask in this order until somebody settles it; None if nobody says anything."""
        attempts = self._attempts
        return await first_good(
            targets,
            self._attempt,
            good=self._is_settled_by,
            better=says_more,
            failed=self._failed,
            hedge_s=attempts.hedge_s,
            # Where this worker's own loop stood still, the others did not have their time.
            until=max(attempts.until, time.monotonic() + attempts.hedge_s),
            dropped=_drop,
        )

    async def _at_once(self) -> T | Unanswered | None:
        """This worker's own rows, if they will do without waiting."""
        fresh = self._admission.at_once(self._partition, self._asked)
        if fresh is None:
            return None
        return stale(self._asked, fresh) or await self._read(fresh)

    async def _read(self, fresh: Freshness) -> T | Unanswered:
        try:
            return await self._here(fresh)
        except StoreError:
            return NotReady(f"The disk does not give partition {self._partition} here.", 1)

    def _is_settled_by(self, target: Target, answer: T | FromPeer | Unanswered) -> bool:
        """Whether nobody else needs to be asked."""
        if settles(answer):
            return True
        # The owner has waited as long as the caller allows, and nobody is further.
        final = {Problem.TOO_STALE, Problem.NOT_CAUGHT_UP if self._attempts.waits else None}
        return problem_of(answer) in final and self._router.is_owner(target, self._partition)

    async def _attempt(self, target: Target) -> T | FromPeer | Unanswered:
        partition, asked, attempts = self._partition, self._asked, self._attempts
        if target is None:
            fresh = await self._admission.admit(partition, asked, attempts.until)
            return await self._read(fresh) if isinstance(fresh, Freshness) else fresh
        left_s = max(0.0, attempts.until - time.monotonic() - 0.1)
        wait_s = min(self._admission.wait_s(partition, asked), left_s)
        floor = self._admission.floor_token([partition], asked)
        request = self._request(target.url, floor, wait_s)
        try:
            answer = await self._router.peers.ask_in_pieces(
                target.url, request, waits=attempts.waits
            )
        except PeerCrowded as crowd:
            return TooBusy(f"Of {target.url}: {crowd}", 1)  # that worker did nothing wrong
        if not isinstance(answer, LargeAnswer):
            self._router.heard(partition, answer)
        else:
            answer.url = target.url
            if answer.head is not None and not is_usable(answer.head):
                answer.close()
                raise PeerFailed("It answered with something else.")
        self._router.trust(target.url)
        return answer

    def _failed(self, target: Target) -> None:
        if target is not None and not self._attempts.waits:
            self._router.suspect(target.url)

    async def _judged(self, large: LargeAnswer) -> FromPeer | Unanswered:
        """To be passed on as it comes if it is a 200, else whole.

        One that was only announced has all its time now: it won the race by that.
        """
        try:
            head = await large.begin()
            if head.status != 200:
                body = b"".join([piece async for piece in large.pieces()])
                answer = PeerAnswer(head.status, head.headers, body)
                large.close()
                self._router.heard(self._partition, answer)
                return answer
            self._router.heard(self._partition, head)
        except PeerFailed as failed:
            large.close()
            why = f"The worker that was asked for partition {self._partition}: {failed}"
            return NotReady(why, 1)
        except BaseException:
            large.close()
            raise
        return large


def _drop(answer: object) -> None:
    """It lost the race."""
    if isinstance(answer, LargeAnswer):
        answer.close()
