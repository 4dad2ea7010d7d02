"""What lists and lookups share: ask for many partitions, here and there, and join the answers."""

from __future__ import annotations

import asyncio
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from aiohttp import web

from core.stages import Freshness, Role
from domain.lookup import NotCaughtUp, NotReady
from tables.reading import Reading
from web.cluster.admission import Admission, Asked, Unanswered
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.freshness import FreshnessBody, freshness_body, freshness_headers
from web.cluster.hedging import first_good
from web.cluster.peers import (
    NOT_CAUGHT_UP,
    PARTITIONS,
    PeerCrowded,
    hop_headers,
    not_caught_up,
    numbers,
    waiting,
)
from web.cluster.routing import Router, Target, problem_of
from web.http.bodies import BAD_JSON
from web.http.pacing import Lane, Pacer
from web.http.problems import Problem, problem
from web.http.replies import json_reply

F = TypeVar("F")

#: Seconds until the next candidate is asked too. A page takes longer than a key.
PART_HEDGE_S = 0.5
#: Partitions of one request to another worker: their positions must fit into its URL.
MAX_GROUP = 16
_RANK = {Role.ACTIVE: 0, Role.FORMER: 1, Role.STANDBY: 2}


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


class Gathering(msgspec.Struct):
    """The parts of one worker that answer for many partitions."""

    table: Reading
    router: Router
    admission: Admission
    lane: Lane
    version: int

    async def run(
        self, partitions: Iterable[int], asked: Asked, until: float, ask: AskOne[F]
    ) -> Gathered[F]:
        """Parts that together answer for as many partitions as can be `until`; and the rest."""
        plans = {p: self.router.plan(p, asked) for p in partitions}

        async def ask_for(some: Iterable[int], attempt: int) -> Gathered[F]:
            groups: dict[tuple[str | None, int], tuple[Target, list[int]]] = {}
            refused: dict[int, Unanswered] = {}
            for p in some:
                if attempt < len(plans[p]):
                    target = plans[p][attempt]
                    group = (None, 0) if target is None else (target.url, p // MAX_GROUP)
                    groups.setdefault(group, (target, []))[1].append(p)
                else:
                    refused[p] = NotReady(f"Nobody can answer for {p} now.", 1)
            parts: list[Part[F]] = []
            asking = (ask_group(target, group, attempt) for target, group in groups.values())
            for found, missing in await asyncio.gather(*asking):
                parts += found
                refused |= missing
            return parts, refused

        async def ask_group(target: Target, group: Sequence[int], attempt: int) -> Gathered[F]:
            """Ask one worker; and the next ones for what it cannot say, or when it is slow."""
            # Who is slow where a caller waits for a position need not be frozen.
            blameless = any(self.admission.waits_for(p, asked) for p in group)

            def suspect() -> None:
                if target is not None and not blameless:
                    self.router.suspect(target.url)

            passed_on = False  # to the next ones, which are asked once

            async def run(first: bool) -> Gathered[F]:
                nonlocal passed_on, blameless
                if not first:
                    if passed_on:
                        raise PeerFailed("They are being asked for what is left.")
                    passed_on = True
                    return await ask_for(group, attempt + 1)
                try:
                    part = await ask(target, group)
                except PeerCrowded:
                    blameless = True
                    raise
                if not part.refused or passed_on:
                    return [part], part.refused
                passed_on = True
                others, refused = await ask_for(part.refused, attempt + 1)
                # Its own reason says more than that nobody else is left.
                why = {p: part.refused[p] for p, w in refused.items() if isinstance(w, NotReady)}
                return [part, *others], refused | why

            outcome = await first_good(
                [True, False],
                run,
                good=lambda first, outcome: not outcome[1],
                better=lambda one, other: len(other[1]) < len(one[1]),
                failed=lambda first: suspect() if first else None,
                # This worker's own rows come when they come: nobody else is nearer.
                hedge_s=PART_HEDGE_S if target is not None else math.inf,
                until=until,
            )
            if outcome is None:
                return [], {p: NotReady(f"Nobody answered for {p} in time.", 1) for p in group}
            return outcome

        return await ask_for(plans, 0)


class Search(ABC, Generic[F]):
    """One list or lookup being answered, within `deadline_s` besides what `wait_ms` allows.

    `F` is what one worker can find; `kind` the body of another worker's answer.
    """

    kind: type[Any]

    def __init__(self, gathering: Gathering, asked: Asked, deadline_s: float) -> None:
        self.gathering = gathering
        self._asked = asked
        waits_s = asked.wait_s if asked.min_position else 0.0
        self._until = time.monotonic() + deadline_s + waits_s

    @abstractmethod
    async def here(
        self, fresh: dict[int, Freshness], refused: dict[int, Unanswered], pacer: Pacer
    ) -> F:
        """Read this worker's rows of `fresh`; those that leave meanwhile go to `refused`."""

    @abstractmethod
    def request(
        self, url: str, partitions: Sequence[int], query: Mapping[str, str], lines: str
    ) -> bytes:
        """The request to another worker, with these parameters and header lines in it."""

    @abstractmethod
    def there(self, body: Any, partitions: Sequence[int]) -> F:
        """What another worker's answer says of these partitions; `F` of nothing for None."""

    @abstractmethod
    async def body(self, parts: Sequence[F], common: Mapping[str, Any]) -> Any:
        """The answer, of all parts and of the members that both kinds of body have."""

    async def answer(
        self, partitions: Iterable[int], partial: bool, left_out: Iterable[int] = ()
    ) -> web.Response:
        """The answer for these partitions, or why there is none.

        Args:
            partitions: which to ask for.
            partial: whether some of them may be missing.
            left_out: others that count as missing.
        """
        partitions = list(partitions)
        with self._waiting(partitions) as may:
            if not may:
                return problem(Problem.TOO_BUSY, self.gathering.admission.too_many().detail)
            run = self.gathering.run
            parts, refused = await run(partitions, self._asked, self._until, self._ask)
        refused |= {p: NotReady("It was not asked for.", 1) for p in left_out}
        said = [part.freshness for part in parts if part.freshness is not None]
        if not said or (refused and not partial):
            return self._marked(self._incomplete(refused), refused)
        freshness = _worst(said)
        most = self._asked.max_lag_events
        if most is not None and freshness.lag_events > most:
            detail = f"Partition {freshness.partition} or another is {freshness.lag_events:,} "
            detail += f"events behind, you take {most:,}."
            return problem(Problem.TOO_STALE, detail, freshness=freshness)
        common = {
            "missing_partitions": sorted(refused),
            "freshness": freshness,
            "positions": ",".join(part.positions for part in parts if part.positions),
        }
        body = await self.body([part.found for part in parts], common)
        # A thousand rows take a millisecond to write: in the lane, too.
        async with self.gathering.lane.turn():
            return self._marked(json_reply(body, headers=freshness_headers(freshness)), refused)

    def _waiting(self, partitions: Sequence[int]) -> AbstractContextManager[bool]:
        """As `Admission.waiting`, for what cannot be answered at once from here."""
        admission, asked = self.gathering.admission, self._asked
        waits = any(admission.waits_for(p, asked) for p in partitions)
        if waits and any(admission.at_once(p, asked) is None for p in partitions):
            return admission.waiting()
        return nullcontext(True)

    async def _ask(self, target: Target, partitions: Sequence[int]) -> Part[F]:
        if target is not None:
            return await self._ask_there(target.url, partitions)
        fresh, refused = await self._admitted(partitions)
        async with self.gathering.lane.turn() as pacer:
            found = await self.here(fresh, refused, pacer)
        bodies = [freshness_body(one) for one in fresh.values()]
        positions = ",".join(one.position for one in bodies if one.position)
        return Part(found, _worst(bodies) if bodies else None, positions, refused)

    async def _admitted(
        self, partitions: Sequence[int]
    ) -> tuple[dict[int, Freshness], dict[int, Unanswered]]:
        """Which of these this worker may read, all waiting at the same time.

        How far behind is judged once the answer is whole, not here.
        """
        one = msgspec.structs.replace(self._asked, max_lag_events=None)
        admit = self.gathering.admission.admit
        outcomes = await asyncio.gather(*(admit(p, one, self._until) for p in partitions))
        fresh: dict[int, Freshness] = {}
        refused: dict[int, Unanswered] = {}
        for partition, outcome in zip(partitions, outcomes, strict=True):
            if isinstance(outcome, Freshness):
                fresh[partition] = outcome
            else:
                refused[partition] = outcome
        return fresh, refused

    async def _ask_there(self, url: str, partitions: Sequence[int]) -> Part[F]:
        admission = self.gathering.admission
        token = admission.floor_token(partitions, self._asked)
        longest_s = max(admission.wait_s(p, self._asked) for p in partitions)
        query = waiting(token, min(longest_s, max(0.0, self._until - time.monotonic() - 0.2)))
        lines = f"{hop_headers(self.gathering.version)}{PARTITIONS}: {numbers(partitions)}\r\n"
        request = self.request(url, partitions, {"partial": "true", **query}, lines)
        waits = any(admission.waits_for(p, self._asked) for p in partitions)
        answer = await self.gathering.router.peers.ask(url, request, waits=waits)
        body = self._read(answer)
        late = not_caught_up(answer)
        missing = partitions if body is None else body.missing_partitions
        refused: dict[int, Unanswered] = {
            p: NotCaughtUp(f"Partition {p} has not reached min_position.", 1)
            if p in late
            else NotReady(f"Partition {p} cannot be read there now.", 1)
            for p in partitions
            if p in missing
        }
        found = self.there(body, [p for p in partitions if p not in refused])
        if body is None:
            return Part(found, None, "", refused)
        admission.heard(partitions, body.positions)
        return Part(found, body.freshness, body.positions, refused)

    def _read(self, answer: PeerAnswer) -> Any:
        """Another worker's body, None where it refused.

        Raises:
            PeerFailed: it answered with something else.
        """
        if answer.status == 503 and problem_of(answer) is not Problem.INTERNAL_ERROR:
            return None
        if answer.status != 200:
            raise PeerFailed(f"It answered {answer.status}.")
        try:
            body = msgspec.json.decode(answer.body, type=self.kind)
        except BAD_JSON as error:
            raise PeerFailed("It answered with something else.") from error
        # What becomes headers of ours must be able to.
        if not all(map(str.isprintable, freshness_headers(body.freshness).values())):
            raise PeerFailed("Its freshness is no text.")
        return body

    def _incomplete(self, refused: Mapping[int, Unanswered]) -> web.Response:
        missing = sorted(refused)
        for partition, why in refused.items():
            waits = self.gathering.admission.waits_for(partition, self._asked)
            if isinstance(why, NotCaughtUp) and waits:
                return problem(Problem.NOT_CAUGHT_UP, why.detail, missing_partitions=missing)
        plural = "s" if len(missing) > 1 else ""
        detail = f"Nobody can answer now for partition{plural} {', '.join(map(str, missing))}."
        return problem(Problem.PARTITIONS_UNAVAILABLE, detail, missing_partitions=missing)

    def _marked(self, response: web.Response, refused: Mapping[int, Unanswered]) -> web.Response:
        """Name partitions that are not caught up, for a worker that asked for others."""
        late = sorted(p for p, why in refused.items() if isinstance(why, NotCaughtUp))
        if late:
            response.headers[NOT_CAUGHT_UP] = numbers(late)
        return response


def _worst(parts: Sequence[FreshnessBody]) -> FreshnessBody:
    """One freshness that promises no more than any of `parts`, of which there is at least one.

    `role`, `lag_events` and `as_of` are each the worst of all; worker, partition and
    position are those of the part that is worst in that order.
    """
    return msgspec.structs.replace(
        min(parts, key=lambda part: (-_RANK[part.role], -part.lag_events, part.as_of)),
        lag_events=max(part.lag_events for part in parts),
        as_of=min(part.as_of for part in parts),
    )
