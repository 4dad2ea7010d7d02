"""A copy of a partition as it is: its rows at one position, whoever writes meanwhile."""

from __future__ import annotations

import msgspec

from core.stages import Role
from tables.home.changelog import Meta
from tables.home.store import Snapshot, undecodable
from tables.reading import Reading


class CopyHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy says of itself.

    positions: next offset, by full name of the source topic; the rows hold what is below.
    counts: records applied, repeated and refused, by the same. window: W, in offsets.
    ownership: tells an owner from later ones; None of all other copies. group: how many groups
        of this ownership are in the rows.
    """

    partition: int
    partitions: int
    role: Role
    version: int
    positions: dict[str, int]
    counts: dict[str, tuple[int, int, int]]
    window: int
    rules: int
    ownership: str | None = None
    group: int = 0


class Copy(msgspec.Struct, frozen=True):
    """A copy, to be read once from front to back. Close it: it holds disk and memory."""

    head: CopyHead
    rows: Snapshot


def copy_of(table: Reading, partition: int) -> Copy | None:
    """This worker's own copy; None where it has none that may be read now.

    Raises:
        StoreError: its store cannot be read.
    """
    fresh = table.freshness(partition)
    if fresh is None:
        return None
    p = table.held[partition]
    rows = p.store.snapshot()
    try:
        meta = None if rows.meta is None else msgspec.json.decode(rows.meta, type=Meta)
    except ValueError as error:
        rows.close()
        raise undecodable("the meta record", error) from error
    head = CopyHead(
        partition=partition,
        partitions=table.count,
        role=fresh.role,
        version=fresh.version,
        positions=meta.positions if meta else {},
        counts=meta.counts if meta else {},
        window=meta.window if meta else 0,
        rules=meta.rules if meta else 0,
        ownership=p.owned.token if p.owned is not None else None,
        group=p.owned.stored if p.owned is not None else 0,
    )
    return Copy(head, rows)
