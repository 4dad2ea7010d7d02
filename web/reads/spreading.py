"""Ask for many partitions, here and there: each by its own attempts, made once.

Who can be asked for several partitions is asked for all of them in one request.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

import msgspec

from domain.lookup import NotReady
from web.cluster.admission import Asked, Unanswered
from web.cluster.answers import is_soon_another, says_more
from web.cluster.exchange import PeerFailed
from web.cluster.freshness import FreshnessBody
from web.cluster.hedging import first_good
from web.cluster.pool import PeerCrowded
from web.cluster.routing import Attempts, Patience, Router, Target, again

F = TypeVar("F")

#: Partitions of one request to another worker: their positions must fit into its URL.
MAX_GROUP = 16


class Part(msgspec.Struct, Generic[F], frozen=True):
    """What one worker said.

    found: of the partitions that it could read. freshness: None where these are none.
    positions: of each of them. refused: the others, and why.
    """

    found: F
    freshness: FreshnessBody | None
    positions: str
    refused: dict[int, Unanswered]


#: What was found, and for which partitions nothing was, and why.
Gathered: TypeAlias = tuple[list[Part[F]], dict[int, Unanswered]]
#: Asks one worker for some partitions; raises PeerFailed for no answer.
AskOne: TypeAlias = Callable[[Target, Sequence[int]], Awaitable[Part[F]]]


class Spread(Generic[F]):
    """One question to many partitions. `until`, in monotonic seconds, it must be answered."""

    def __init__(
        self,
        router: Router,
        asked: Asked,
        patience: Patience,
        partitions: Iterable[int],
        ask: AskOne[F],
    ) -> None:
        self.router, self.ask = router, ask
        self._asked, self._patience = asked, patience
        self.attempts: dict[int, Attempts] = {}
        self._plan(partitions)
        self.until = max((one.until for one in self.attempts.values()), default=0.0)

    def _plan(self, partitions: Iterable[int]) -> None:
        for partition in partitions:
            self.attempts[partition] = self.router.attempts(partition, self._asked, self._patience)

    async def gather(self) -> Gathered[F]:
        """Parts that together answer for as many as can be in time; and the rest, and why."""
        parts, refused = await self.ask_for(self.attempts, 0)
        while between := [
            partition
            for partition, why in refused.items()
            if is_soon_another(why, self.attempts[partition].waits)
        ]:
            if not await again(self._asked, self.until):
                break
            self._plan(between)
            more, still = await self.ask_for(between, 0)
            parts += more
            refused = {
                partition: why for partition, why in refused.items() if partition not in between
            } | still
        return parts, refused

    async def ask_for(self, partitions: Iterable[int], attempt: int) -> Gathered[F]:
        """From this attempt on, counted from 0."""
        groups: dict[tuple[str | None, int], tuple[Target, list[int]]] = {}
        refused: dict[int, Unanswered] = {}
        for partition in partitions:
            targets = self.attempts[partition].targets
            if attempt < len(targets):
                target = targets[attempt]
                group = (None, 0) if target is None else (target.url, partition // MAX_GROUP)
                groups.setdefault(group, (target, []))[1].append(partition)
            else:
                refused[partition] = NotReady(f"Nobody can answer for {partition} now.", 1)
        parts: list[Part[F]] = []
        asking = (_Group(self, *group, attempt).answer() for group in groups.values())
        for found, missing in await asyncio.gather(*asking):
            parts += found
            refused |= missing
        return parts, refused


class _Group(Generic[F]):
    """One worker is asked for some partitions.

    And the next ones, once, for what it cannot say, or when it is slow.
    """

    def __init__(
        self, spread: Spread[F], target: Target, partitions: Sequence[int], attempt: int
    ) -> None:
        self._spread, self._target, self._partitions = spread, target, partitions
        self._attempt = attempt
        # Who is slow where a caller waits for a position need not be frozen.
        self._blameless = any(spread.attempts[partition].waits for partition in partitions)
        self._passed_on = False

    async def answer(self) -> Gathered[F]:
        attempts = self._spread.attempts[self._partitions[0]]
        outcome = await first_good(
            [True, False],
            self._ask,
            good=lambda first, outcome: not outcome[1],
            better=lambda one, other: len(other[1]) < len(one[1]),
            failed=self._failed,
            # This worker's own rows come when they come: nobody else is nearer.
            hedge_s=attempts.hedge_s if self._target is not None else math.inf,
            until=self._spread.until,
        )
        if outcome is None:
            late = (
                NotReady(f"Nobody answered for {partition} in time.", 1)
                for partition in self._partitions
            )
            return [], dict(zip(self._partitions, late, strict=True))
        return outcome

    async def _ask(self, first: bool) -> Gathered[F]:
        """This worker; or, if it is not the first that is asked, the next ones."""
        if not first:
            if self._passed_on:
                raise PeerFailed("They are being asked for what is left.")
            self._passed_on = True
            return await self._spread.ask_for(self._partitions, self._attempt + 1)
        try:
            part = await self._spread.ask(self._target, self._partitions)
        except PeerCrowded:
            self._blameless = True
            raise
        if not part.refused or self._passed_on:
            return [part], part.refused
        self._passed_on = True
        others, refused = await self._spread.ask_for(part.refused, self._attempt + 1)
        # Its own reason says more than that nobody else is left.
        why = {
            partition: w if says_more(part.refused[partition], w) else part.refused[partition]
            for partition, w in refused.items()
        }
        return [part, *others], why

    def _failed(self, first: bool) -> None:
        if first and self._target is not None and not self._blameless:
            self._spread.router.suspect(self._target.url)
