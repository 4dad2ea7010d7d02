"""What an audit that never ends says at `/v1/audit`, for the document of a worker.

It is written by `onhand audit --watch` (app/commands/past/watch.py) and passed on unread.
"""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from web.http.times import Time


class AuditedCopyBody(Struct, frozen=True):
    """One copy of a partition against the log.

    where: URL of the worker, or `ledger`. role: `active`, `standby` or `ledger`. position: of the
    copy when it was read, as a token. unread: why it could not be compared. counts: by topic, what
    the copy says it applied, repeated and refused, where the log says otherwise. differences: rows,
    each with its causes; more: how many there are besides. lines, faults: of a ledger.
    """

    where: str
    role: str
    position: str
    rows: int
    agrees: bool
    unread: str | None
    counts: dict[str, Any]
    differences: list[dict[str, Any]]
    more: int
    lines: int | UnsetType = UNSET
    faults: list[dict[str, Any]] | UnsetType = UNSET


class AuditedPartitionBody(Struct, frozen=True):
    """The last word on one partition.

    records: of the log, counted again. seconds: how long that took. drift: how many things differ.
    at: when.
    """

    partition: int
    records: int
    seconds: float
    copies: list[AuditedCopyBody]
    drift: int
    at: Time


class AuditBody(Struct, frozen=True):
    """/v1/audit. drift: of all partitions. failed: why the last look failed, until one does not."""

    drift: int
    failed: str | None
    partitions: list[AuditedPartitionBody]
