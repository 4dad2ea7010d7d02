"""The one way in which a store that nobody can go on with leaves its place."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiokafka.errors import KafkaError

from core.words import in_words
from tables.home import rights
from tables.home.changelog import ChangelogChanged
from tables.home.store import Local, NoStore, Store, Stores

log = logging.getLogger(__name__)

_RETRY_S = 1.0


def forget(stores: Stores) -> int:
    """Delete all stores, none of which is open: their version is retired. How many there were.

    Raises:
        StoreFailed: the disk refused, the message is one sentence with the remedy.
    """
    held = sorted(stores.kept())
    for partition in held:
        stores.wipe(partition)
    return len(held)


class Discarding:
    """Every other wipe of a store goes through here: it may be the last whole copy.

    Args:
        stores: of this worker.
        prove: raises ChangelogChanged unless the changelog of a partition is whole, and has all
            that a store had; KafkaError where it cannot be asked now.
    """

    def __init__(
        self, stores: Stores, prove: Callable[[int, Local | None], Awaitable[None]]
    ) -> None:
        self._stores, self._prove = stores, prove

    async def discard(self, partition: int, gone: NoStore) -> Store:
        """Give up what the disk holds of a partition, and open a new store in its place.

        The caller has closed the old one, and restores the new one from the changelog.

        Raises:
            ChangelogChanged: it cannot be restored. The old store is kept under another name,
                and nothing is in its place.
            StoreFailed: the disk refused, the message is one sentence with the remedy.
        """
        was_never_whole = gone.held is not None and gone.held.meta_offset < 0
        if not was_never_whole:
            try:
                await self.prove(partition, gone.held)
            except ChangelogChanged as error:
                if partition not in self._stores.kept():
                    raise
                name = self._stores.set_aside(partition)
                raise ChangelogChanged(
                    f"{error} What this worker had is kept as {name} ({gone.why})."
                ) from error
        log.warning("Partition %d: %s: it is wiped and restored.", partition, gone.why)
        self._stores.wipe(partition)
        return self._stores.open(partition)

    async def prove(self, partition: int, held: Local | None) -> None:
        """Raise ChangelogChanged unless the changelog has all that a store of it held."""
        while True:
            try:
                with rights.reading():
                    return await self._prove(partition, held)
            except KafkaError as error:
                log.warning(
                    "Partition %d: its changelog does not answer (%s).", partition, in_words(error)
                )
                await asyncio.sleep(_RETRY_S)
