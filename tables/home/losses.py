"""A store that nobody can go on with: given up at once, and another one in its place.

What is lost is the worker's copy, never rows: they are in the changelog, and that is proved
before anything is wiped (`tables/home/discarding.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic

from tables.home.changelog import ChangelogChanged
from tables.home.discarding import Discarding
from tables.home.feed import StoreForeign
from tables.home.store import NoStore, Store, StoreUnfit, Undecodable
from tables.opening import Opening
from tables.partition import Partition, Superseded
from tables.tasks import Tasks

log = logging.getLogger(__name__)

_LONGEST_REST_S = 60.0
#: Two stores of a partition that are given up within so long are one trouble.
_QUIET_S = 600.0


class Losses:
    """Gives stores up, and opens others in their place.

    Args:
        discarding: wipes, or keeps aside.
        opening: counts them.
        tasks: of the table.
        release: ends whatever this worker does for a partition, but keeps its store.
        serve: owns or follows it again, if it is still assigned.
        stand_still: an operator must decide.
        changed: tells those who listen to the table.
    """

    def __init__(
        self,
        discarding: Discarding,
        opening: Opening,
        tasks: Tasks,
        *,
        release: Callable[[Partition], None],
        serve: Callable[[Partition], None],
        stand_still: Callable[[Partition, str], None],
        changed: Callable[[], None],
    ) -> None:
        self._discarding, self._opening, self._tasks = discarding, opening, tasks
        self._release, self._serve = release, serve
        self._stand_still, self._changed = stand_still, changed

    def give_up(self, partition: Partition | None, store: Store, why: StoreUnfit) -> None:
        """Nobody reads or writes this store from here on; restore another if we still need one.

        Synchronous, and once for each store, whoever finds out and however many do.
        """
        if (
            partition is None
            or partition.store is not store
            or self._is_of_the_changelog(partition, why)
        ):
            return
        self._release(partition)
        store.close()
        held = store.held if isinstance(store, NoStore) else store.local
        partition.lose(self._opening.no_store(why, held))
        now = monotonic()
        partition.given_up = partition.given_up + 1 if now - partition.given_up_at < _QUIET_S else 1
        partition.given_up_at = now
        self._changed()
        if partition.assigned is None:
            log.warning("Partition %d: %s: it is read no more.", partition.number, why)
        else:
            self._serve(partition)

    def _is_of_the_changelog(self, partition: Partition, why: StoreUnfit) -> bool:
        """Whether a new store would hold the same: then the partition stands still with this one.

        What says nothing in a store that was restored just now was restored with it.
        """
        was_restored = partition.given_up > 0 and monotonic() - partition.given_up_at < _QUIET_S
        if not (isinstance(why, Undecodable) and was_restored and partition.assigned is not None):
            return False
        if partition.stopped_because is None:
            sentence = (
                f"Its changelog holds what nobody can read: {why}, although it was restored just "
                "now. Somebody else writes to that topic; count anew with the next ONHAND_VERSION."
            )
            self._stand_still(partition, sentence)
        return True

    def found(self, partition: Partition, store: Store, why: StoreUnfit) -> None:
        """Rows that are whole are read until a changelog is proved that holds them too."""
        if not (
            isinstance(why, StoreForeign) and partition.readable() and partition.store is store
        ):
            self.give_up(partition, store, why)
            return
        self._release(partition)
        partition.task = self._tasks.start(
            self._doubt(partition, partition.epoch, why), f"partition {partition.number} is doubted"
        )

    async def _doubt(self, partition: Partition, epoch: int, why: StoreUnfit) -> None:
        try:
            await self._discarding.prove(partition.number, partition.store.local)
        except ChangelogChanged as error:
            if partition.epoch == epoch:
                self._stand_still(partition, str(error))
        else:
            if partition.epoch == epoch:
                self.give_up(partition, partition.store, why)

    async def renewed(self, partition: Partition, epoch: int, gone: NoStore) -> Store:
        """A new store in the place of one that was given up.

        Raises:
            Superseded: another assignment came meanwhile.
            ChangelogChanged, StoreFailed: as `Discarding.discard`.
        """
        if partition.given_up > 1:
            # A disk that damages each new store is not asked all the time.
            await asyncio.sleep(min(2.0**partition.given_up, _LONGEST_REST_S))
        partition.check(epoch)
        store = await self._discarding.discard(partition.number, gone)
        if partition.epoch != epoch:
            store.close()  # whoever came meanwhile does it again
            raise Superseded
        partition.store = store
        return store
