"""The one way in which a store that nobody can go on with leaves its place."""

from __future__ import annotations

import logging

from tables.store import Store, Stores, StoreUnfit

log = logging.getLogger(__name__)


class Discarding:
    """Every wipe of a store goes through here: it may be the last whole copy."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def discard(self, partition: int, why: StoreUnfit) -> Store:
        """Give up what the disk holds of a partition, and open a new store in its place.

        The caller has closed the old one, and restores the new one from the changelog.

        Raises:
            StoreFailed: the disk refused, the message is one sentence with the remedy.
        """
        log.warning("Partition %d: %s: it is wiped and restored.", partition, why)
        self._stores.wipe(partition)
        return self._stores.open(partition)
