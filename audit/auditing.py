"""An audit: partition by partition, the log counted again and held against every copy.

1. Count up to where the copies say that they are; twice, so that little is left to count.
2. Begin to read each copy: from then on its rows are of one position, however long that takes.
3. Count on to the furthest of these positions, keeping each record's outcome by itself.
4. Compare each copy with the prefix of its own position.
5. Where rows differ: count the partition again, keep the facts of these rows, and look which of
   them make the difference.

One partition is in memory at a time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from msgspec import Struct

from audit.comparing import Held, compare_counts, hold_against
from audit.copies import (
    CopyHolder,
    CopyUnread,
    RemoteCopy,
    ask_repair,
    opened_copy,
    places,
    session,
    value_of,
)
from audit.explaining import Explanation, explain_row
from audit.log import AuditFailed, SourceLog, opened
from audit.recount import Expected, Recount
from core.positions import parse_position
from core.stages import Role
from domain.rows import encode_row

#: A copy that cannot be read is looked for again so often: it may move.
_TRIES = 3
#: Rows of one partition whose facts are looked at closely.
_MOST_EXPLAINED = 1_000


class AuditConfig(Struct, frozen=True, kw_only=True):
    """What an audit needs to know of the settings.

    kafka: keyword arguments of an aiokafka client. topics: role by full name. workers: URLs;
    the first that answers tells who the others are.
    """

    kafka: Mapping[str, Any]
    topics: Mapping[str, str]
    partitions: int
    window: int
    rules: int
    version: int
    workers: Sequence[str]


class Audited(Struct, kw_only=True):
    """What an audit of one partition found.

    records: of the log, counted once. explanations: by where and key. at: Unix time, seconds.
    """

    partition: int
    records: int
    copies: list[Held]
    explanations: dict[tuple[str, bytes], Explanation] = {}
    at: float = 0.0
    seconds: float = 0.0

    @property
    def drift(self) -> int:
        """Rows that differ, over all copies."""
        return sum(len(held.differences) + held.more + len(held.counts) for held in self.copies)

    @property
    def unread(self) -> list[Held]:
        """Copies that could not be compared."""
        return [held for held in self.copies if held.unread is not None]


class Auditor:
    """Made by `an_auditor`."""

    def __init__(self, config: AuditConfig, log: SourceLog, http: aiohttp.ClientSession) -> None:
        self._config, self._log, self._http = config, log, http
        #: Is told how many records were read, now and then.
        self.said: Callable[[int], None] = lambda count: None
        self._read = 0

    async def partition(self, number: int) -> Audited:
        """Audit one.

        Raises:
            AuditFailed: the log cannot be read, or no worker answers.
        """
        began = time.monotonic()
        recount = self._recount(number)
        where = await self._count_behind(number, recount)
        copies: list[Held] = []
        async with AsyncExitStack() as stack:
            open_ = []
            for place in where:
                held, copy = await self._begin(stack, place, number, recount)
                copies.append(held)
                if copy is not None:
                    open_.append((held, copy))
            recount.keep_apart()
            await self._count(recount, number, _furthest(held for held, _ in open_))
            for held, copy in open_:
                await _compare(held, copy, recount.at(held.positions))
        found = Audited(partition=number, records=recount.records, copies=copies)
        if any(held.differences for held in copies):
            found.explanations = await self._explain(number, copies)
        found.at, found.seconds = time.time(), time.monotonic() - began
        return found

    async def _count_behind(self, number: int, recount: Recount) -> list[CopyHolder]:
        """Steps 1: what all copies have at least, and who they are."""
        where: list[CopyHolder] = []
        for _ in range(2):
            where = (await places(self._http, self._config.workers)).get(number, [])
            known = [parse_position(place.position) for place in where]
            end = {
                topic: min((at.get((topic, number), -1) + 1 for at in known), default=0)
                for topic in self._config.topics
            }
            await self._count(recount, number, end)
        return where

    async def _begin(
        self, stack: AsyncExitStack, place: CopyHolder, number: int, recount: Recount
    ) -> tuple[Held, RemoteCopy | None]:
        """Step 2, for one copy."""
        held = Held(where=place.worker, role=place.role, partition=number, positions={})
        for _ in range(_TRIES):
            try:
                copy = await stack.enter_async_context(opened_copy(self._http, place, number))
            except CopyUnread as why:
                held.unread = str(why)
                continue
            head = copy.head
            held.role, held.positions = head.role, head.positions
            held.ownership, held.group = head.ownership, head.group
            held.unread = self._unlike(copy, recount)
            return held, copy if held.unread is None else None
        return held, None

    def _unlike(self, copy: RemoteCopy, recount: Recount) -> str | None:
        """Why this copy cannot be held against this count."""
        head, config = copy.head, self._config
        if not head.positions and not any(recount.next.values()):
            return None  # nothing was ever counted
        said = head.rules, head.window, head.partitions, head.version
        ours = config.rules, config.window, config.partitions, config.version
        if said != ours:
            names = ("rules", "window", "partitions", "version")
            wrong = [
                f"{name} {its}, here {mine}"
                for name, its, mine in zip(names, said, ours, strict=True)
                if its != mine
            ]
            return f"is of other rules ({', '.join(wrong)}): audit it with its own build"
        if any(head.positions.get(topic, 0) < at for topic, at in recount.next.items()):
            return "went back behind a position that it had told before"
        return None

    async def _explain(
        self, number: int, copies: Sequence[Held]
    ) -> dict[tuple[str, bytes], Explanation]:
        """Step 5."""
        wrong = [(held, one) for held in copies for one in held.differences][:_MOST_EXPLAINED]
        watched = frozenset(one.key for _, one in wrong)
        recount = self._recount(number, watched)
        await self._count(recount, number, _furthest(held for held, _ in wrong))
        return {
            (held.where, one.key): explain_row(one, recount.facts[one.key], held.positions)
            for held, one in wrong
        }

    async def repair(self, number: int, key: bytes) -> None:
        """Let the owner of a partition set a row right, in all copies.

        It adds what its own copy lacks, which may be nothing, and writes the row anew: so a
        standby that alone is wrong has it from the changelog.

        Raises:
            AuditFailed: it cannot be done; the message says why.
        """
        recount = self._recount(number)
        where = await self._count_behind(number, recount)
        owner = next((place for place in where if place.role == Role.ACTIVE), None)
        if owner is None:
            raise AuditFailed(f"Partition {number} has no owner now: nobody can repair its rows.")
        async with AsyncExitStack() as stack:
            held, copy = await self._begin(stack, owner, number, recount)
            if copy is None:
                raise AuditFailed(f"The owner at {owner.worker} {held.unread}.")
            recount.keep_apart()
            await self._count(recount, number, held.positions)
            right = recount.at(held.positions).row(key)
            try:
                found = await value_of(copy, key)
            except CopyUnread as why:
                raise AuditFailed(f"The owner at {owner.worker} {why}.") from why
        await ask_repair(
            self._http, owner, held, key, found, None if right is None else encode_row(right)
        )

    def _recount(self, number: int, watched: frozenset[bytes] = frozenset()) -> Recount:
        config = self._config
        return Recount(config.topics, number, config.partitions, config.window, watched)

    async def _count(self, recount: Recount, number: int, end: Mapping[str, int]) -> None:
        async for topic, records in self._log.read(number, recount.next, end):
            recount.add(topic, records)
            self._read += len(records)
            self.said(self._read)
        recount.reached(end)


def _furthest(copies: Iterable[Held]) -> dict[str, int]:
    end: dict[str, int] = {}
    for held in copies:
        for topic, at in held.positions.items():
            end[topic] = max(end.get(topic, 0), at)
    return end


async def _compare(held: Held, copy: RemoteCopy, expected: Expected) -> None:
    compare_counts(held, copy.head.counts, expected)
    try:
        await hold_against(held, copy.rows(), expected)
    except CopyUnread as why:
        held.unread = str(why)


async def an_auditor(config: AuditConfig, stack: AsyncExitStack) -> Auditor:
    """An auditor, for as long as the stack is open.

    Raises:
        AuditFailed: Kafka does not answer.
    """
    log = await stack.enter_async_context(opened(config.kafka, list(config.topics)))
    http = await stack.enter_async_context(session())
    return Auditor(config, log, http)
