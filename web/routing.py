"""Says who answers for a partition: here, there or nobody; and asks there.

Order of candidates: this worker if it is the owner; else the owner; else whoever is
freshest, this worker first among equals. An owner that fails is passed over at once,
one that is slow after `HEDGE_S`: then the next is asked too and the first good answer
counts. A request that came from another worker is answered here or not at all.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from domain.lookup import Freshness, NotCaughtUp, NotReady, Role, TooStale
from web.admission import Admission, Asked, Refusal
from web.hedging import first_good
from web.local import LocalRows
from web.peers import PeerAnswer, Peers
from web.problems import Problem
from web.roster import Holder, Roster

T = TypeVar("T")

#: Seconds for a whole request, besides what the caller's `wait_ms` allows.
DEADLINE_S = 1.0
#: An owner that folds at full speed answers within 40 ms; one that has not answered
#: for this long may be frozen.
HEDGE_S = 0.25
#: The owner, one retry elsewhere, and this worker's own rows.
MAX_ATTEMPTS = 3

#: Where to ask: another worker, or None for this one.
Target = Holder | None


class Router:
    """Routing for one worker.

    Args:
        table: this worker's rows.
        roster: what the other workers say of themselves.
        peers: the client to ask them with.
        admission: what this worker may answer itself.
    """

    def __init__(
        self, table: LocalRows, roster: Roster, peers: Peers, admission: Admission
    ) -> None:
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
            return others[:MAX_ATTEMPTS]
        best = others[0] if others else None
        if best is not None and self._is_better(best, fresh):
            return [best, None, *others[1 : MAX_ATTEMPTS - 1]]
        return [None, *others[: MAX_ATTEMPTS - 1]]

    def is_first(self, partition: int) -> bool:
        """Whether `plan` begins with this worker; for the usual case, in a microsecond."""
        fresh = self._table.freshness(partition)
        if fresh is None:
            return False
        others = self._roster.holders(partition)
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
        here: Callable[[Freshness], Awaitable[T | Refusal]],
        request_for: Callable[[str, float], bytes],
    ) -> T | PeerAnswer | Refusal:
        """The first good answer, or why there is none.

        Args:
            partition: whose rows are read.
            asked: the caller's demands.
            here: reads this worker's rows; begins before anything else can happen.
            request_for: makes the request to a URL that may wait for so many seconds.
        """
        waits = self._admission.waits_for(partition, asked)
        until = time.monotonic() + DEADLINE_S + (asked.wait_s if waits else 0.0)

        async def attempt(target: Target) -> T | PeerAnswer | Refusal:
            if target is None:
                fresh = await self._admission.admit(partition, asked, until)
                return await here(fresh) if isinstance(fresh, Freshness) else fresh
            left_s = max(0.0, until - time.monotonic() - 0.1)
            wait_s = min(self._admission.wait_s(partition, asked), left_s)
            answer = await self.peers.ask(target.url, request_for(target.url, wait_s))
            self._suspects.pop(target.url, None)
            return answer

        def good(target: Target, answer: T | PeerAnswer | Refusal) -> bool:
            if settles(answer):
                return True
            # Nobody is further than the owner, who has waited as long as the caller allows.
            final = {Problem.TOO_STALE, Problem.NOT_CAUGHT_UP if waits else None}
            return self._is_owner(target, partition) and problem_of(answer) in final

        def failed(target: Target) -> None:
            if target is not None and not waits:
                self.suspect(target.url)

        answer = await first_good(
            self.plan(partition, asked),
            attempt,
            good=good,
            better=says_more,
            failed=failed,
            hedge_s=HEDGE_S,
            until=until,
        )
        if answer is None:
            return NotReady(f"Nobody can answer for partition {partition} now.", 1)
        if isinstance(answer, PeerAnswer):
            position = answer.header("onhand-position")
            if answer.status < 500 and position is not None:
                self._admission.answered(partition, position)
        return answer

    def _is_owner(self, target: Target, partition: int) -> bool:
        who = self._table.freshness(partition) if target is None else target
        return who is not None and who.role is Role.ACTIVE

    def suspect(self, url: str) -> None:
        """It failed or was too slow: last choice until its next heartbeat or answer."""
        self._suspects[url] = time.monotonic()

    def _is_suspect(self, url: str) -> bool:
        since = self._suspects.get(url)
        if since is None:
            return False
        if self._roster.heard_since(url, since):
            del self._suspects[url]
            return False
        return True


def problem_of(answer: object) -> Problem | None:
    """Which refusal this is, of ours or another worker's."""
    match answer:
        case NotReady():
            return Problem.NOT_READY
        case NotCaughtUp():
            return Problem.NOT_CAUGHT_UP
        case TooStale():
            return Problem.TOO_STALE
        case PeerAnswer(status=status, body=body) if status >= 400:
            try:
                return Problem(msgspec.json.decode(body, type=_Typed).type.rpartition("/")[2])
            except (msgspec.MsgspecError, ValueError):
                return Problem.INTERNAL_ERROR
        case _:
            return None


class _Typed(msgspec.Struct):
    type: str


def settles(answer: object) -> bool:
    """Whether this ends the request; else somebody else may know better."""
    if isinstance(answer, PeerAnswer):
        return answer.status < 500
    return not isinstance(answer, NotReady | NotCaughtUp | TooStale)


def says_more(one: object, other: object) -> bool:
    """Of two refusals, `not-ready` tells the caller least."""
    return problem_of(one) is Problem.NOT_READY and problem_of(other) is not Problem.NOT_READY
