"""Says who answers for a partition: here, there or nobody; and asks there.

Order of candidates: this worker if it is the owner; else the owner; else whoever is
freshest, this worker first among equals. An owner that fails is passed over at once,
one that is slow after `KEY_HEDGE_S`: then the next is asked too and the first good answer
counts. A request that came from another worker is answered here or not at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import msgspec
from aiohttp import web

from core.stages import Freshness, Role
from domain.lookup import NotCaughtUp, NotReady, TooBusy, TooStale
from tables.home.store import StoreError
from tables.reading import Reading
from web.cluster.admission import Admission, Asked, Unanswered, stale
from web.cluster.exchange import FromPeer, Head, LargeAnswer, PeerAnswer, PeerFailed
from web.cluster.hedging import first_good
from web.cluster.peers import PeerCrowded, Peers
from web.cluster.roster import REMEMBER_S, Holder, Roster
from web.http.bodies import BAD_JSON
from web.http.problems import PAGES, Problem

T = TypeVar("T")

#: Seconds for a whole request, besides what the caller's `wait_ms` allows.
KEY_DEADLINE_S = 1.5
#: An owner that folds at full speed answers within 40 ms; one that has not answered
#: for this long may be frozen.
KEY_HEDGE_S = 0.25
#: Between two questions while a partition has no owner.
_ASK_AGAIN_S = 0.05
#: The owner, one retry elsewhere, and this worker's own rows.
MAX_ATTEMPTS = 3

#: Where to ask: another worker, or None for this one.
Target = Holder | None


class Router:
    """Routing for one worker."""

    def __init__(self, table: Reading, roster: Roster, peers: Peers, admission: Admission) -> None:
        self.peers = peers
        self._table = table
        self._roster = roster
        self._admission = admission
        self._suspects: dict[str, float] = {}

    def plan(self, partition: int, asked: Asked) -> list[Target]:
        """Whom to ask, best first."""
        fresh = self._table.freshness(partition)
        if asked.hop:
            return [None]
        others: list[Target] = list(self._roster.holders(partition))
        if self._suspects:
            others.sort(key=lambda holder: holder is not None and self._is_suspect(holder.url))
        if fresh is None:
            if not others:
                silent = self._roster.holders(partition, silent=True)
                others += [holder for holder in silent if not self._is_suspect(holder.url)]
            return others[:MAX_ATTEMPTS]
        best = others[0] if others else None
        if best is not None and self._is_better(best, fresh):
            return [best, None, *others[1 : MAX_ATTEMPTS - 1]]
        return [None, *others[: MAX_ATTEMPTS - 1]]

    def is_first(self, fresh: Freshness) -> bool:
        """Whether `plan` begins with this worker, which can answer; in half a microsecond."""
        others = self._roster.holders(fresh.partition)
        return not others or not self._is_better(others[0], fresh)

    def _is_better(self, other: Holder, fresh: Freshness) -> bool:
        if other.leaving or self._is_suspect(other.url):
            return False
        is_ahead = other.handled > self._admission.handled(fresh)
        match fresh.role:
            case Role.ACTIVE:
                # Two claim it: the higher position is the owner's.
                return other.role is Role.ACTIVE and is_ahead
            case Role.FORMER | Role.STANDBY:
                return other.role is Role.ACTIVE or is_ahead

    async def ask(
        self,
        partition: int,
        asked: Asked,
        here: Callable[[Freshness], Awaitable[T | Unanswered]],
        request_for: Callable[[str, float], bytes],
    ) -> T | FromPeer | Unanswered:
        """The first good answer, or why there is none.

        Args:
            partition: whose rows are read.
            asked: the caller's demands.
            here: reads this worker's rows; begins before anything else can happen.
            request_for: makes the request to a URL that may wait for so many seconds.

        Returns:
            Of a LargeAnswer status and headers have come, and it is a 200.
        """
        until = time.monotonic() + KEY_DEADLINE_S
        while True:
            answer = await self._answered(partition, asked, here, request_for)
            # A rebalance is over in a moment. To another worker that is said at once: it asks
            # again itself, and whoever says nothing for long is taken for frozen.
            if asked.hop or not _is_between_owners(answer) or time.monotonic() > until:
                return answer
            await asyncio.sleep(_ASK_AGAIN_S)

    async def _answered(
        self,
        partition: int,
        asked: Asked,
        here: Callable[[Freshness], Awaitable[T | Unanswered]],
        request_for: Callable[[str, float], bytes],
    ) -> T | FromPeer | Unanswered:
        """The same, asked once."""
        answer = await self._first(partition, asked, here, request_for)
        if isinstance(answer, LargeAnswer):
            judged = await self._judged(partition, answer)
            if not isinstance(judged, NotReady):
                return judged
            # Who was to send it is gone, and nothing of it was passed on: another has it.
            self.suspect(answer.url)
            answer = await self._first(partition, asked, here, request_for)
            if isinstance(answer, LargeAnswer):
                return await self._judged(partition, answer)
        return answer

    async def _first(
        self,
        partition: int,
        asked: Asked,
        here: Callable[[Freshness], Awaitable[T | Unanswered]],
        request_for: Callable[[str, float], bytes],
    ) -> T | FromPeer | Unanswered:
        """The same, before a LargeAnswer was looked at."""
        question = _Question(self, self._admission, partition, asked, here, request_for)
        plan = self.plan(partition, asked)
        if plan[:1] == [None]:
            # The usual local read: as the race, but without its tasks.
            at_once = await question.at_once()
            if at_once is not None and settles(at_once):
                return at_once
        if not question.waits:
            return await self._ask(question, plan, asked)
        with self._admission.waiting() as may:
            if not may:
                return self._admission.too_many()
            return await self._ask(question, plan, asked)

    async def _ask(
        self, question: _Question[T], plan: Sequence[Target], asked: Asked
    ) -> T | FromPeer | Unanswered:
        """The rest of `ask`."""
        partition = question.partition
        answer = await question.of_owner(plan)
        if answer is not None and question.is_settled_by(plan[0], answer):
            return answer
        raced = await question.race(plan[1:] if answer is not None else self.plan(partition, asked))
        if raced is not None and (answer is None or settles(raced) or says_more(answer, raced)):
            answer = raced
        if answer is None and not asked.hop:
            answer = await question.at_once()
        if answer is None:
            why = "No worker answered in time" if plan else "No worker can answer now"
            return NotReady(f"{why} for partition {partition}.", 1)
        return answer

    def heard(self, partition: int, answer: PeerAnswer | Head) -> None:
        """Remember how far it was; raises PeerFailed unless it is an answer of ours."""
        if not _is_usable(answer):
            raise PeerFailed("It answered with something else.")
        position = answer.headers.get("Onhand-Position")
        if answer.status < 500 and position is not None:
            self._admission.heard([partition], position)

    async def _judged(self, partition: int, large: LargeAnswer) -> FromPeer | Unanswered:
        """To be passed on as it comes if it is a 200, else whole.

        One that was only announced has all its time now: it won the race by that.
        """
        try:
            head = await large.begin()
            if head.status != 200:
                body = b"".join([piece async for piece in large.pieces()])
                answer = PeerAnswer(head.status, head.headers, body)
                large.close()
                self.heard(partition, answer)
                return answer
            self.heard(partition, head)
        except PeerFailed as failed:
            large.close()
            return NotReady(f"The worker that was asked for partition {partition}: {failed}", 1)
        except BaseException:
            large.close()
            raise
        return large

    def is_owner(self, target: Target, partition: int) -> bool:
        """Whether nobody is further than this one."""
        who = self._table.freshness(partition) if target is None else target
        return who is not None and who.role is Role.ACTIVE

    def suspect(self, url: str) -> None:
        """It failed or was too slow: last choice until its next heartbeat or answer."""
        now = time.monotonic()
        # Who is gone for good will never be heard, nor asked, again.
        old = [other for other, since in self._suspects.items() if now - since > REMEMBER_S]
        for gone in old:
            del self._suspects[gone]
        self._suspects[url] = now

    def trust(self, url: str) -> None:
        """It answered."""
        self._suspects.pop(url, None)

    def _is_suspect(self, url: str) -> bool:
        since = self._suspects.get(url)
        if since is None:
            return False
        if self._roster.heard_since(url, since):
            del self._suspects[url]
            return False
        return True


class _Question(Generic[T]):
    """One read of one partition on its way to an answer."""

    def __init__(
        self,
        router: Router,
        admission: Admission,
        partition: int,
        asked: Asked,
        here: Callable[[Freshness], Awaitable[T | Unanswered]],
        request_for: Callable[[str, float], bytes],
    ) -> None:
        self._router, self._admission = router, admission
        self.partition, self._asked = partition, asked
        self._here, self._request_for = here, request_for
        #: The caller waits for a position: who is slow need not be frozen.
        self.waits = admission.waits_for(partition, asked)
        self._until = time.monotonic() + KEY_DEADLINE_S + (asked.wait_s if self.waits else 0.0)

    async def of_owner(self, plan: Sequence[Target]) -> T | FromPeer | Unanswered | None:
        """The usual forwarded read: as `race`, but without its tasks, at half the cost.

        None if another worker is not known to be the owner, or if it failed or is slow.
        """
        owner = plan[0] if plan else None
        if owner is None or owner.role is not Role.ACTIVE or self.waits:
            return None
        try:
            async with asyncio.timeout(KEY_HEDGE_S):
                return await self._attempt(owner)
        except (TimeoutError, PeerFailed):
            self._router.suspect(owner.url)
            return None

    async def race(self, plan: Sequence[Target]) -> T | FromPeer | Unanswered | None:
        """Ask in this order until somebody settles it; None if nobody says anything."""
        return await first_good(
            plan,
            self._attempt,
            good=self.is_settled_by,
            better=says_more,
            failed=self._failed,
            hedge_s=KEY_HEDGE_S,
            # Where this worker's own loop stood still, the others did not have their time.
            until=max(self._until, time.monotonic() + KEY_HEDGE_S),
            dropped=_drop,
        )

    async def at_once(self) -> T | Unanswered | None:
        """This worker's own rows, if they will do without waiting."""
        fresh = self._admission.at_once(self.partition, self._asked)
        if fresh is None:
            return None
        return stale(self._asked, fresh) or await self._read(fresh)

    async def _read(self, fresh: Freshness) -> T | Unanswered:
        try:
            return await self._here(fresh)
        except StoreError:
            return NotReady(f"The disk does not give partition {self.partition} here.", 1)

    def is_settled_by(self, target: Target, answer: T | FromPeer | Unanswered) -> bool:
        """Whether nobody else needs to be asked."""
        if settles(answer):
            return True
        # The owner has waited as long as the caller allows, and nobody is further.
        final = {Problem.TOO_STALE, Problem.NOT_CAUGHT_UP if self.waits else None}
        return problem_of(answer) in final and self._router.is_owner(target, self.partition)

    async def _attempt(self, target: Target) -> T | FromPeer | Unanswered:
        if target is None:
            fresh = await self._admission.admit(self.partition, self._asked, self._until)
            return await self._read(fresh) if isinstance(fresh, Freshness) else fresh
        left_s = max(0.0, self._until - time.monotonic() - 0.1)
        wait_s = min(self._admission.wait_s(self.partition, self._asked), left_s)
        request = self._request_for(target.url, wait_s)
        try:
            answer = await self._router.peers.ask_in_pieces(target.url, request, waits=self.waits)
        except PeerCrowded as crowd:
            return TooBusy(f"Of {target.url}: {crowd}", 1)  # that worker did nothing wrong
        if not isinstance(answer, LargeAnswer):
            self._router.heard(self.partition, answer)
        else:
            answer.url = target.url
            if answer.head is not None and not _is_usable(answer.head):
                answer.close()
                raise PeerFailed("It answered with something else.")
        self._router.trust(target.url)
        return answer

    def _failed(self, target: Target) -> None:
        if target is not None and not self.waits:
            self._router.suspect(target.url)


def _drop(answer: object) -> None:
    """It lost the race."""
    if isinstance(answer, LargeAnswer):
        answer.close()


def _is_usable(answer: PeerAnswer | Head) -> bool:
    """Whether it is an answer of Onhand's, and no bug's: nothing else may reach a client."""
    if answer.status in (200, 304, 404) and "Onhand-Position" in answer.headers:
        return True
    name = problem_of(answer)
    return name not in (None, Problem.INTERNAL_ERROR) and PAGES[name].status == answer.status


def _is_between_owners(answer: object) -> bool:
    """Whether the last owner says that only the next one can tell."""
    if isinstance(answer, PeerAnswer):
        return answer.status == 503 and answer.headers.get("Onhand-Role") == Role.FORMER
    return isinstance(answer, NotReady) and answer.between_owners


def problem_of(answer: object) -> Problem | None:
    """Which refusal this is, of ours or another worker's."""
    match answer:
        case NotReady():
            return Problem.NOT_READY
        case NotCaughtUp():
            return Problem.NOT_CAUGHT_UP
        case TooStale():
            return Problem.TOO_STALE
        case TooBusy():
            return Problem.TOO_BUSY
        case (
            PeerAnswer(status=status, body=bytes(body))
            | web.Response(status=status, body=bytes(body))
        ) if status >= 400:
            try:
                return Problem(msgspec.json.decode(body, type=_Typed).type.rpartition("/")[2])
            except (*BAD_JSON, ValueError):
                return Problem.INTERNAL_ERROR
        case _:
            return None


class _Typed(msgspec.Struct):
    type: str


def settles(answer: object) -> bool:
    """Whether this ends the request; else somebody else may know better."""
    if isinstance(answer, PeerAnswer):
        return answer.status < 500
    return not isinstance(answer, NotReady | NotCaughtUp | TooStale | TooBusy)


def says_more(one: object, other: object) -> bool:
    """Of two refusals, `not-ready` tells the caller least."""
    return problem_of(one) is Problem.NOT_READY and problem_of(other) is not Problem.NOT_READY
