"""What changes around a worker, a line each: rebalances and other workers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from core.stages import Role
from core.words import spans
from tables.reading import PartitionStatus
from tables.tasks import Tasks
from web.cluster.roster import WorkerView

log = logging.getLogger("app")

LOOK_EVERY_S = 1.0


class News:
    """Tells the log when all partitions answer, and who comes and goes.

    Args:
        partitions: the worker's own partitions, as they are now.
        workers: all workers heard of.
        restored: changelog records restored since the start.
    """

    def __init__(
        self,
        partitions: Callable[[], Sequence[PartitionStatus]],
        workers: Callable[[], Iterable[WorkerView]],
        restored: Callable[[], int],
    ) -> None:
        self._partitions, self._workers, self._restored = partitions, workers, restored
        self._wanted: dict[int, Role] = {}
        self._assigned_at, self._restored_before = 0.0, 0
        self._is_due = False
        self._known: dict[str, bool] | None = None
        self._tasks = Tasks()

    def start(self) -> None:
        """Look at the other workers now and then, until `stop`."""
        self._tasks.keep(self._watch, "news of others", LOOK_EVERY_S)

    async def stop(self) -> None:
        """Say no more."""
        self._is_due = False
        await self._tasks.cancel()

    def assigned(self, actives: set[int], standbys: set[int]) -> None:
        """A rebalance gave these to this worker; one line comes when they all answer."""
        self._wanted = dict.fromkeys(standbys, Role.STANDBY) | dict.fromkeys(actives, Role.ACTIVE)
        self._assigned_at, self._restored_before = time.monotonic(), self._restored()
        self._is_due = True

    def changed(self) -> None:
        """Something changed in the table."""
        if not self._is_due:
            return
        found = {held.partition: held.role for held in self._partitions()}
        if any(found.get(number) is not role for number, role in self._wanted.items()):
            return
        self._is_due = False
        if not self._wanted:
            log.info("This worker has no partitions: there are more workers than partitions.")
            return
        log.info(
            "All %d partitions of this worker answer, %.1f s after they were assigned: "
            "owner of %s; standby for %s; %s changelog records restored.",
            len(self._wanted),
            time.monotonic() - self._assigned_at,
            self._numbers(Role.ACTIVE),
            self._numbers(Role.STANDBY),
            f"{self._restored() - self._restored_before:,}",
        )

    def _numbers(self, role: Role) -> str:
        return spans(number for number, wanted in self._wanted.items() if wanted is role)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Tell who came and who went since the last look; at the first one, who is there."""
        views = [view for view in self._workers() if not view.this]
        # One address, one worker: a successor replaces whom it found there.
        alive = {view.beat.url: view.alive for view in sorted(views, key=lambda v: v.alive)}
        before = self._known
        self._known = alive
        for url, is_alive in alive.items():
            if before is None or url not in before:
                if is_alive:
                    log.info("Worker %s is there.", url)
            elif is_alive and not before[url]:
                log.info("Worker %s is back.", url)
            elif before[url] and not is_alive:
                log.info("Worker %s is gone.", url)
