"""What lists and lookups share: ask for many partitions, here and there, and join the answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

from domain.lookup import Freshness, NotCaughtUp, NotReady
from web import hops
from web.admission import Admission, Asked, Refusal
from web.bounds import worst
from web.local import LocalRows
from web.pacing import Lane
from web.peers import PeerAnswer, PeerFailed
from web.problems import Problem, problem
from web.replies import FreshnessBody, freshness_body, json_reply
from web.routing import Router, Target, problem_of
from web.scattering import Part, Scatter

P = TypeVar("P", bound=Part)
B = TypeVar("B", bound="Body")


class Body(msgspec.Struct, frozen=True):
    """What the bodies of lists and lookups have in common."""

    missing_partitions: list[int]


class Gathering:
    """The parts of one worker that answer for many partitions.

    Args:
        table: this worker's rows.
        router: says whom to ask, and asks.
        admission: what this worker may answer itself.
        lane: of this worker's long reads.
        version: `ONHAND_VERSION`.
    """

    def __init__(
        self, table: LocalRows, router: Router, admission: Admission, lane: Lane, version: int
    ) -> None:
        self.table = table
        self.admission = admission
        self.lane = lane
        self._router = router
        self._lines = hops.headers(version)

    def until(self, deadline_s: float, asked: Asked) -> float:
        """Monotonic time at which a request that comes now is given up."""
        return time.monotonic() + deadline_s + (asked.wait_s if asked.min_position else 0.0)

    async def run(
        self,
        partitions: Iterable[int],
        asked: Asked,
        until: float,
        ask: Callable[[Target, Sequence[int]], Awaitable[P]],
    ) -> tuple[list[P], dict[int, Refusal]]:
        """Ask the right worker for each partition; see `Scatter.run`."""
        plans = {p: self._router.plan(p, asked) for p in partitions}
        return await Scatter(plans, self._router.suspect, until).run(ask)

    async def admit(
        self, partitions: Sequence[int], asked: Asked, until: float
    ) -> tuple[dict[int, Freshness], dict[int, Refusal]]:
        """Which of these this worker may read, all waiting at the same time.

        How far behind is judged once the answer is whole, not here.
        """
        admit, one = self.admission.admit, msgspec.structs.replace(asked, max_lag_events=None)
        outcomes = await asyncio.gather(*(admit(p, one, until) for p in partitions))
        fresh: dict[int, Freshness] = {}
        refused: dict[int, Refusal] = {}
        for partition, outcome in zip(partitions, outcomes, strict=True):
            if isinstance(outcome, Freshness):
                fresh[partition] = outcome
            else:
                refused[partition] = outcome
        return fresh, refused

    async def ask(
        self,
        url: str,
        partitions: Sequence[int],
        asked: Asked,
        until: float,
        request: Callable[[Mapping[str, str], str], bytes],
    ) -> PeerAnswer:
        """Send another worker a request for these partitions.

        Args:
            url: of the worker.
            partitions: which of its partitions.
            asked: the caller's demands.
            until: monotonic time of the deadline.
            request: makes it, of parameters about waiting and of header lines.

        Raises:
            PeerFailed: it gave no answer.
        """
        token = self.admission.floor_token(partitions, asked)
        longest_s = max(self.admission.wait_s(p, asked) for p in partitions)
        wait_s = min(longest_s, max(0.0, until - time.monotonic() - 0.2))
        lines = f"{self._lines}{hops.PARTITIONS}: {hops.numbers(partitions)}\r\n"
        return await self._router.peers.ask(url, request(hops.waiting(token, wait_s), lines))

    def worst_of(self, fresh: Iterable[Freshness]) -> FreshnessBody | None:
        """The worst freshness, None if there is none at all."""
        bodies = [freshness_body(one) for one in fresh]
        return worst(bodies) if bodies else None

    def too_stale(self, asked: Asked, freshness: FreshnessBody) -> web.Response | None:
        """The refusal if the whole is further behind than the caller takes."""
        if asked.max_lag_events is None or freshness.lag_events <= asked.max_lag_events:
            return None
        return problem(
            Problem.TOO_STALE,
            f"Partition {freshness.partition} or another is {freshness.lag_events:,} events "
            f"behind, you take {asked.max_lag_events:,}.",
            freshness=freshness,
        )

    async def reply(
        self, body: Body, freshness: FreshnessBody, refused: Mapping[int, Refusal]
    ) -> web.Response:
        """The 200. A thousand rows take a millisecond to write: in the lane, too."""
        async with self.lane.turn():
            return self._mark(json_reply(body, freshness), refused)

    def _mark(self, response: web.Response, refused: Mapping[int, Refusal]) -> web.Response:
        """Name partitions that are not caught up, for a worker that asked for others."""
        late = sorted(p for p, why in refused.items() if isinstance(why, NotCaughtUp))
        if late:
            response.headers[hops.NOT_CAUGHT_UP] = hops.numbers(late)
        return response

    def refuse(self, refused: Mapping[int, Refusal], asked: Asked) -> web.Response:
        """The 503 for an answer that would be incomplete."""
        missing = sorted(refused)
        for partition, why in refused.items():
            if isinstance(why, NotCaughtUp) and self.admission.waits_for(partition, asked):
                response = problem(Problem.NOT_CAUGHT_UP, why.detail, missing_partitions=missing)
                return self._mark(response, refused)
        numbers = ", ".join(map(str, missing))
        response = problem(
            Problem.PARTITIONS_UNAVAILABLE,
            f"Nobody can answer now for partition{'s' if len(missing) > 1 else ''} {numbers}.",
            missing_partitions=missing,
        )
        return self._mark(response, refused)


def from_peer(
    answer: PeerAnswer, kind: type[B], partitions: Sequence[int]
) -> tuple[B | None, dict[int, Refusal]]:
    """Read another worker's list or lookup, and which of `partitions` it leaves out.

    Raises:
        PeerFailed: it answered with something else.
    """
    late = hops.not_caught_up(answer)

    def why(partition: int) -> Refusal:
        if partition in late:
            return NotCaughtUp(f"Partition {partition} has not reached min_position.", 1)
        return NotReady(f"Partition {partition} cannot be read there now.", 1)

    if answer.status == 503 and problem_of(answer) is not Problem.INTERNAL_ERROR:
        return None, {p: why(p) for p in partitions}
    if answer.status != 200:
        raise PeerFailed(f"It answered {answer.status}.")
    try:
        body = msgspec.json.decode(answer.body, type=kind)
    except msgspec.MsgspecError as error:
        raise PeerFailed("It answered with something else.") from error
    missing = set(body.missing_partitions)
    return body, {p: why(p) for p in partitions if p in missing}
