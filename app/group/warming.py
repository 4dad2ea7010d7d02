"""A partition comes to this worker only once it has the rows: who has them asks for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from app.group.placement import WARM
from core.stages import Stage
from core.words import spans
from tables.reading import PartitionStatus
from tables.tasks import Tasks

log = logging.getLogger("app")

WARM_EVERY_S = 1.0
_LONGEST_REST_S = 600.0


class WarmUps:
    """Has the group placed again, once for all copies that this worker warms up.

    Args:
        partitions: the worker's own, as they are now.
        place_again: asks the group for it.
    """

    def __init__(
        self,
        partitions: Callable[[], Sequence[PartitionStatus]],
        place_again: Callable[[], None],
    ) -> None:
        self._partitions, self._place_again = partitions, place_again
        self._asked_for: frozenset[int] = frozenset()
        self._rest_s = 0.0
        self._tasks = Tasks()

    async def assigned(self, warming: frozenset[int]) -> None:
        """A rebalance left these to their owners until this worker has the rows."""
        await self.end()
        if not warming:
            self._asked_for, self._rest_s = warming, 0.0
            return
        # The group was asked, and did not find them warm: each rebalance costs all a pause.
        again = warming <= self._asked_for
        self._rest_s = min(2 * self._rest_s + 10, _LONGEST_REST_S) if again else 0.0
        log.info(
            "Partitions that come to this worker once it has restored their rows: %s; until then "
            "they are counted where they are.",
            spans(warming),
        )
        self._tasks.start(self._ask(warming, self._rest_s), "warm-ups")

    async def end(self) -> None:
        """Ask for nothing: a newer assignment says what is to be warmed up."""
        await self._tasks.cancel()

    async def _ask(self, warming: frozenset[int], rest_s: float) -> None:
        await asyncio.sleep(rest_s)
        while True:
            await asyncio.sleep(WARM_EVERY_S)
            if self._are_warm(warming):
                break
        self._asked_for = warming
        self._place_again()

    def _are_warm(self, warming: frozenset[int]) -> bool:
        """With room for what is written until the group is placed; in each of several tables."""
        held = self._partitions()
        cold = {
            one.partition
            for one in held
            if one.state is not Stage.STANDBY or (one.standby_lag_records or 0) > WARM // 2
        }
        return warming <= {one.partition for one in held} - cold
