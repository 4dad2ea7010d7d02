"""A row that an audit found wrong is set right by its owner, while events go on coming.

What is added is the difference between two states of one moment, so it is true of the row as it
has become since, and nothing has to wait. It goes out in the owner's next group, as all else:
standbys, changelog and later owners have it like any event.

A difference that is added twice is as wrong as none. So a repair names the ownership and the
group that its row was read after: after another repair of that row, or with another owner, it
is refused, and a new audit says what is left to repair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic

import msgspec

from core.projection import NotARow, Repairable
from tables.groupcommit import GroupCommit
from tables.home.store import undecodable
from tables.partition import Owned, Partition


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """One row, as it was found and as it should have been; None: it is not there.

    ownership, group: of the copy that it was found in (`tables.audit.copies.CopyHead`).
    """

    partition: int
    key: bytes
    found: bytes | None
    right: bytes | None
    ownership: str
    group: int


class RepairRefused(Exception):
    """It would not be right, or cannot be done here; the message is one sentence."""


class Repairs:
    """Adds differences to what this worker owns."""

    def __init__(self, held: Mapping[int, Partition], commits: GroupCommit) -> None:
        self._held, self._commits = held, commits

    async def make(self, repair: Repair, timeout_s: float) -> None:
        """Add it, and wait until it is committed and in the store.

        Raises:
            RepairRefused: nothing was added.
            TimeoutError: it was added and is not committed yet; audit again.
            StoreUnfit: the row cannot be read.
        """
        p = self._held.get(repair.partition)
        owned = None if p is None else p.owned
        if p is None or owned is None or owned.token != repair.ownership:
            raise RepairRefused("Its partition has another owner since: audit again.")
        if repair.group < owned.repaired.get(repair.key, 0):
            raise RepairRefused("This row was repaired since it was read: audit again.")
        memory = owned.fold.memory
        if not isinstance(memory, Repairable):
            raise RepairRefused("Rows of this table are not sums: they cannot be repaired.")
        try:
            memory.repair(repair.key, repair.found, repair.right, p.store.get_many)
        except NotARow as error:
            raise undecodable("a row", error) from error
        group = owned.repaired[repair.key] = owned.taken + 1
        owned.uncommitted = True
        await self._committed(p, owned, group, timeout_s)

    async def _committed(self, p: Partition, owned: Owned, group: int, timeout_s: float) -> None:
        until = monotonic() + timeout_s
        self._commits.due(p)
        while owned.stored < group:
            if p.owned is not owned:
                raise RepairRefused("Its partition lost its owner meanwhile: audit again.")
            async with asyncio.timeout(max(0.0, until - monotonic())):
                await p.progressed.wait()
