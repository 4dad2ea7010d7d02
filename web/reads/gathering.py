"""What lists and lookups share: read here, ask there, and join what was found to one answer."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, TypeVar

import msgspec
from aiohttp import web

from core.positions import with_epoch
from core.stages import Freshness, Role
from domain.lookup import NotCaughtUp, NotReady
from tables.reading import Reading
from web.cluster.admission import Asked, Unanswered
from web.cluster.answers import is_between_owners, problem_of
from web.cluster.exchange import PeerAnswer, PeerFailed
from web.cluster.freshness import FreshnessBody, freshness_body, freshness_headers
from web.cluster.peers import BETWEEN_OWNERS, NOT_CAUGHT_UP, numbers, partitions_in
from web.cluster.routing import Patience, Router, Target
from web.http.bodies import BAD_JSON
from web.http.pacing import Lane, Pacer
from web.http.problems import Problem, problem
from web.http.replies import json_reply
from web.reads.questions import Hop
from web.reads.spreading import AskOne, Part, Spread

F = TypeVar("F")
R = TypeVar("R", bound=Reading)

_RANK = {Role.ACTIVE: 0, Role.FORMER: 1, Role.STANDBY: 2}


class Gathering(msgspec.Struct, Generic[R]):
    """The parts of one worker that answer for many partitions."""

    table: R
    router: Router
    lane: Lane
    version: int

    def spread(
        self, asked: Asked, patience: Patience, partitions: Iterable[int], ask: AskOne[F]
    ) -> Spread[F]:
        """One question to these partitions, asked by `ask` of each worker."""
        return Spread(self.router, asked, patience, partitions, ask)


class Search(ABC, Generic[F]):
    """One list or lookup being answered.

    `F` is what one worker can find; `kind` the body of another worker's answer; `patience` how long
    it may take.
    """

    kind: type[Any]
    patience: Patience

    def __init__(
        self, gathering: Gathering[Any], asked: Asked, partitions: Iterable[int], partial: bool
    ) -> None:
        """`partitions`: which to ask for; `partial`: whether some of them may be missing."""
        self.gathering, self._admission = gathering, gathering.router.admission
        self._asked, self._partial = asked, partial
        self._spread = gathering.spread(asked, self.patience, partitions, self._ask)

    @abstractmethod
    async def here(
        self, fresh: dict[int, Freshness], refused: dict[int, Unanswered], pacer: Pacer
    ) -> F:
        """Read this worker's rows of `fresh`; those that leave meanwhile go to `refused`."""

    @abstractmethod
    def request(self, hop: Hop, partitions: Sequence[int]) -> bytes:
        """The same question to another worker, for these partitions alone."""

    @abstractmethod
    def there(self, body: Any, partitions: Sequence[int]) -> F:
        """What another worker's answer says of these partitions; `F` of nothing for None."""

    @abstractmethod
    async def body(self, parts: Sequence[F], common: Mapping[str, Any]) -> Any:
        """The answer, of all parts and of the members that both kinds of body have."""

    async def answer(self, left_out: Iterable[int] = ()) -> web.Response:
        """The answer, or why there is none; partitions that are left out count as missing."""
        with self._waiting() as may:
            if not may:
                return problem(Problem.TOO_BUSY, self._admission.too_many().detail)
            parts, refused = await self._spread.gather()
        refused |= {p: NotReady("It was not asked for.", 1) for p in left_out}
        said = [part.freshness for part in parts if part.freshness is not None]
        if not said or (refused and not self._partial):
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
            "positions": with_epoch(
                ",".join(part.positions for part in parts if part.positions), freshness.epoch
            ),
        }
        body = await self.body([part.found for part in parts], common)
        # A thousand rows take a millisecond to write: in the lane, too.
        async with self.gathering.lane.turn():
            return self._marked(json_reply(body, headers=freshness_headers(freshness)), refused)

    def _waiting(self) -> AbstractContextManager[bool]:
        """As `Admission.waiting`, for what cannot be answered at once from here."""
        admission, asked, attempts = self._admission, self._asked, self._spread.attempts
        waits = any(one.waits for one in attempts.values())
        if waits and any(admission.at_once(p, asked) is None for p in attempts):
            return admission.waiting()
        return nullcontext(True)

    async def _ask(self, target: Target, partitions: Sequence[int]) -> Part[F]:
        if target is not None:
            return await self._ask_there(target.url, partitions)
        fresh, refused = await self._admitted(partitions)
        async with self.gathering.lane.turn() as pacer:
            found = await self.here(fresh, refused, pacer)
        bodies = [freshness_body(one) for one in fresh.values()]
        positions = ",".join(one.position for one in fresh.values() if one.position)
        return Part(found, _worst(bodies) if bodies else None, positions, refused)

    async def _admitted(
        self, partitions: Sequence[int]
    ) -> tuple[dict[int, Freshness], dict[int, Unanswered]]:
        """Which of these this worker may read, all waiting at the same time.

        How far behind is judged once the answer is whole, not here.
        """
        one = msgspec.structs.replace(self._asked, max_lag_events=None)
        admit, until = self._admission.admit, self._spread.until
        outcomes = await asyncio.gather(*(admit(p, one, until) for p in partitions))
        fresh: dict[int, Freshness] = {}
        refused: dict[int, Unanswered] = {}
        for partition, outcome in zip(partitions, outcomes, strict=True):
            if isinstance(outcome, Freshness):
                fresh[partition] = outcome
            else:
                refused[partition] = outcome
        return fresh, refused

    async def _ask_there(self, url: str, partitions: Sequence[int]) -> Part[F]:
        admission, spread = self._admission, self._spread
        floor = admission.floor_token(partitions, self._asked)
        longest_s = max(admission.wait_s(p, self._asked) for p in partitions)
        wait_s = min(longest_s, max(0.0, spread.until - time.monotonic() - 0.2))
        epoch = self.gathering.table.label[1]
        hop = Hop(url, self.gathering.version, epoch, floor, wait_s)
        request = self.request(hop, partitions)
        waits = any(spread.attempts[p].waits for p in partitions)
        answer = await self.gathering.router.peers.ask(url, request, waits=waits)
        body = self._read(answer)
        missing = set(partitions) if body is None else set(body.missing_partitions)
        refused = _refused(answer, sorted(missing.intersection(partitions)))
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
            waits = self._admission.waits_for(partition, self._asked)
            if isinstance(why, NotCaughtUp) and waits:
                return problem(Problem.NOT_CAUGHT_UP, why.detail, missing_partitions=missing)
        plural = "s" if len(missing) > 1 else ""
        detail = f"Nobody can answer now for partition{plural} {', '.join(map(str, missing))}."
        return problem(Problem.PARTITIONS_UNAVAILABLE, detail, missing_partitions=missing)

    def _marked(self, response: web.Response, refused: Mapping[int, Unanswered]) -> web.Response:
        """Say of which partitions why they are missing, for a worker that asked for others."""
        late = sorted(p for p, why in refused.items() if isinstance(why, NotCaughtUp))
        between = sorted(p for p, why in refused.items() if is_between_owners(why))
        for header, partitions in ((NOT_CAUGHT_UP, late), (BETWEEN_OWNERS, between)):
            if partitions:
                response.headers[header] = numbers(partitions)
        return response


def _refused(answer: PeerAnswer, missing: Iterable[int]) -> dict[int, Unanswered]:
    """Why another worker did not answer for these, as far as it says."""
    late, between = partitions_in(answer, NOT_CAUGHT_UP), partitions_in(answer, BETWEEN_OWNERS)
    return {
        p: NotCaughtUp(f"Partition {p} has not reached min_position.", 1)
        if p in late
        else NotReady(f"Partition {p} cannot be read there now.", 1, p in between)
        for p in missing
    }


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
