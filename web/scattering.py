"""Ask for many partitions at once: here, and at every worker that holds some of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias, TypeVar

from domain.lookup import NotReady
from web.admission import Refusal
from web.hedging import first_good
from web.peers import PeerFailed
from web.routing import Target

#: Seconds until the next candidate is asked too. A page takes longer than a key.
HEDGE_S = 0.5
#: Partitions of one request to another worker: their positions must fit into its URL.
MAX_GROUP = 16


class Part(Protocol):
    """What one worker said about the partitions that it was asked for."""

    @property
    def refused(self) -> Mapping[int, Refusal]:
        """Partitions that it could not answer for, and why."""
        ...


P = TypeVar("P", bound=Part)
#: What was found, and for which partitions nothing was, and why.
Outcome: TypeAlias = tuple[list[P], dict[int, Refusal]]


class Scatter:
    """One request's partitions, their candidates and its deadline.

    Args:
        plans: for each partition whom to ask, best first.
        suspect: told the URL of a worker that failed or was overtaken.
        until: monotonic time in seconds at which to give up.
    """

    def __init__(
        self,
        plans: Mapping[int, Sequence[Target]],
        suspect: Callable[[str], None],
        until: float,
    ) -> None:
        self._plans = plans
        self._suspect = suspect
        self._until = until

    async def run(self, ask: Callable[[Target, Sequence[int]], Awaitable[P]]) -> Outcome[P]:
        """Parts that together answer for as many partitions as can be; and the rest.

        Args:
            ask: asks one worker for some partitions; raises PeerFailed for no answer.
        """
        return await self._ask(ask, self._plans, 0)

    async def _ask(
        self,
        ask: Callable[[Target, Sequence[int]], Awaitable[P]],
        partitions: Iterable[int],
        attempt: int,
    ) -> Outcome[P]:
        groups: dict[tuple[str | None, int], tuple[Target, list[int]]] = {}
        refused: dict[int, Refusal] = {}
        for partition in partitions:
            plan = self._plans[partition]
            if attempt < len(plan):
                target = plan[attempt]
                group = (None, 0) if target is None else (target.url, partition // MAX_GROUP)
                groups.setdefault(group, (target, []))[1].append(partition)
            else:
                refused[partition] = NotReady(f"Nobody can answer for {partition} now.", 1)
        parts: list[P] = []
        outcomes = await asyncio.gather(
            *(self._ask_group(ask, target, numbers, attempt) for target, numbers in groups.values())
        )
        for found, missing in outcomes:
            parts += found
            refused |= missing
        return parts, refused

    async def _ask_group(
        self,
        ask: Callable[[Target, Sequence[int]], Awaitable[P]],
        target: Target,
        numbers: Sequence[int],
        attempt: int,
    ) -> Outcome[P]:
        """Ask one worker; and the next ones for what it cannot say, or when it is slow."""

        async def this_first() -> Outcome[P]:
            try:
                part = await ask(target, numbers)
            except PeerFailed:
                self._suspected(target)
                return await self._ask(ask, numbers, attempt + 1)
            if not part.refused:
                return [part], {}
            others, refused = await self._ask(ask, part.refused, attempt + 1)
            # Its own reason says more than that nobody else is left.
            return [part, *others], {
                p: part.refused[p] if isinstance(why, NotReady) else why
                for p, why in refused.items()
            }

        async def the_next() -> Outcome[P]:
            return await self._ask(ask, numbers, attempt + 1)

        runs: list[Callable[[], Awaitable[Outcome[P]]]] = [this_first, the_next]

        async def start(run: Callable[[], Awaitable[Outcome[P]]]) -> Outcome[P]:
            return await run()

        outcome = await first_good(
            runs,
            start,
            good=lambda run, outcome: run is this_first or not outcome[1],
            better=lambda one, other: len(other[1]) < len(one[1]),
            failed=lambda run: self._suspected(target) if run is this_first else None,
            # This worker's own rows come when they come: nobody else is nearer.
            hedge_s=HEDGE_S if target is not None else math.inf,
            until=self._until,
        )
        if outcome is None:
            return [], {p: NotReady(f"Nobody answered for {p} in time.", 1) for p in numbers}
        return outcome

    def _suspected(self, target: Target) -> None:
        if target is not None:
            self._suspect(target.url)
