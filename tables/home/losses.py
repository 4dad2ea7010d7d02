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

    def give_up(self, p: Partition | None, store: Store, why: StoreUnfit) -> None:
        """Nobody reads or writes this store from here on; restore another if we still need one.

        Synchronous, and once for each store, whoever finds out and however many do.
        """
        if p is None or p.store is not store or self._is_of_the_changelog(p, why):
            return
        self._release(p)
        store.close()
        held = store.held if isinstance(store, NoStore) else store.local
        p.lose(self._opening.no_store(why, held))
        now = monotonic()
        p.given_up = p.given_up + 1 if now - p.given_up_at < _QUIET_S else 1
        p.given_up_at = now
        self._changed()
        if p.assigned is None:
            log.warning("Partition %d: %s: it is read no more.", p.number, why)
        else:
            self._serve(p)

    def _is_of_the_changelog(self, p: Partition, why: StoreUnfit) -> bool:
        """Whether a new store would hold the same: then the partition stands still with this one.

        What says nothing in a store that was restored just now was restored with it.
        """
        was_restored = p.given_up > 0 and monotonic() - p.given_up_at < _QUIET_S
        if not (isinstance(why, Undecodable) and was_restored and p.assigned is not None):
            return False
        if p.stopped_because is None:
            sentence = (
                f"Its changelog holds what nobody can read: {why}, although it was restored just "
                "now. Somebody else writes to that topic; count anew with the next ONHAND_VERSION."
            )
            self._stand_still(p, sentence)
        return True

    def found(self, p: Partition, store: Store, why: StoreUnfit) -> None:
        """Rows that are whole are read until a changelog is proved that holds them too."""
        if not (isinstance(why, StoreForeign) and p.readable() and p.store is store):
            self.give_up(p, store, why)
            return
        self._release(p)
        p.task = self._tasks.start(self._doubt(p, p.epoch, why), f"partition {p.number} is doubted")

    async def _doubt(self, p: Partition, epoch: int, why: StoreUnfit) -> None:
        try:
            await self._discarding.prove(p.number, p.store.local)
        except ChangelogChanged as error:
            if p.epoch == epoch:
                self._stand_still(p, str(error))
        else:
            if p.epoch == epoch:
                self.give_up(p, p.store, why)

    async def renewed(self, p: Partition, epoch: int, gone: NoStore) -> Store:
        """A new store in the place of one that was given up.

        Raises:
            Superseded: another assignment came meanwhile.
            ChangelogChanged, StoreFailed: as `Discarding.discard`.
        """
        if p.given_up > 1:
            # A disk that damages each new store is not asked all the time.
            await asyncio.sleep(min(2.0**p.given_up, _LONGEST_REST_S))
        p.check(epoch)
        store = await self._discarding.discard(p.number, gone)
        if p.epoch != epoch:
            store.close()  # whoever came meanwhile does it again
            raise Superseded
        p.store = store
        return store
