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

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
from msgspec import Struct

from audit.books import Lines, as_sums, hold_sums
from audit.comparing import Held, compare_counts, hold_against
from audit.copies import (
    CopyHolder,
    CopyUnread,
    RemoteCopy,
    ask_repair,
    opened_copy,
    places,
    session,
    values_of,
)
from audit.explaining import Explanation, Watch, explain_row
from audit.log import AuditFailed, SourceLog, opened
from audit.recount import Expected, Recount, See
from core.positions import parse_position
from core.stages import Role
from domain.rows import encode_row, split_key
from domain.rules.sets import RuleSet
from ledger.audited import AuditedLedger, LedgerMoment
from ledger.books import Reach
from ledger.lines import TOPICS

#: `Held.where` of the ledger.
THE_LEDGER = "ledger"
#: A copy that cannot be read is looked for again so often: it may move.
_TRIES = 3
_AGAIN_S = 1.0
#: Rows of one partition whose facts are looked at closely.
_MOST_EXPLAINED = 1_000


class AuditConfig(Struct, frozen=True, kw_only=True):
    """What an audit needs to know of the settings.

    kafka: keyword arguments of an aiokafka client. topics: role by full name. workers: URLs;
    the first that answers tells who the others are. ledger: where there is one.
    """

    kafka: Mapping[str, Any]
    topics: Mapping[str, str]
    partitions: int
    window: int
    rules: RuleSet
    version: int
    workers: Sequence[str]
    ledger: AuditedLedger | None = None


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
        return sum(held.drift for held in self.copies)

    @property
    def unread(self) -> list[Held]:
        """Copies that could not be compared."""
        return [held for held in self.copies if held.unread is not None]


class Auditor:
    """Made by `an_auditor`."""

    def __init__(self, config: AuditConfig, log: SourceLog, http: aiohttp.ClientSession) -> None:
        self.config, self._log, self._http = config, log, http
        #: Is told how many records were read, now and then.
        self.said: Callable[[int], None] = lambda count: None
        self._read = 0

    async def partition(self, number: int) -> Audited:
        """Audit one.

        Raises:
            AuditFailed: the log cannot be read, or no worker answers.
        """
        began = time.monotonic()
        for tries in range(_TRIES):
            found = await self._audited(number)
            if not any(held.may_pass for held in found.copies):
                break
            if tries + 1 < _TRIES:  # it moves, or was just taken over
                await asyncio.sleep(_AGAIN_S)
        if any(held.differences for held in found.copies):
            found.explanations = await self._explain(number, found.copies)
        found.at, found.seconds = time.time(), time.monotonic() - began
        return found

    async def _audited(self, number: int) -> Audited:
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
        if self.config.ledger is not None:
            copies.append(await self._held_ledger(self.config.ledger, number))
        return Audited(partition=number, records=recount.records, copies=copies)

    async def _count_behind(self, number: int, recount: Recount) -> list[CopyHolder]:
        """Steps 1: what all copies have at least, and who they are."""
        where: list[CopyHolder] = []
        for _ in range(2):
            where = (await places(self._http, self.config.workers)).get(number, [])
            known = [parse_position(place.position) for place in where]
            end = {
                topic: min((at.get((topic, number), -1) + 1 for at in known), default=0)
                for topic in self.config.topics
            }
            await self._count(recount, number, end)
        return where

    async def _begin(
        self, stack: AsyncExitStack, place: CopyHolder, number: int, recount: Recount
    ) -> tuple[Held, RemoteCopy | None]:
        """Step 2, for one copy."""
        held = Held(where=place.worker, role=place.role, partition=number, positions={})
        try:
            copy = await stack.enter_async_context(opened_copy(self._http, place, number))
        except CopyUnread as why:
            held.unread, held.may_pass = str(why), True
            return held, None
        head = copy.head
        held.role, held.positions = head.role, head.positions
        held.ownership, held.group = head.ownership, head.group
        held.unread = self._unlike(copy, recount)
        held.unread = held.unread or await self._beyond(number, held.positions)
        return held, copy if held.unread is None else None

    def _unlike(self, copy: RemoteCopy, recount: Recount) -> str | None:
        """Why this copy cannot be held against this count."""
        head, config = copy.head, self.config
        if not head.positions and not any(recount.next.values()):
            return None  # nothing was ever counted
        said = head.rules, head.window, head.partitions, head.version
        ours = config.rules.number, config.window, config.partitions, config.version
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

    async def _held_ledger(self, ledger: AuditedLedger, number: int) -> Held:
        """The ledger, in a count of its own: it may be far behind, and each line is compared."""
        held, _, _ = await self._read_ledger(ledger, number)
        return held

    async def _read_ledger(
        self, ledger: AuditedLedger, number: int
    ) -> tuple[Held, LedgerMoment, Expected]:
        moment = await asyncio.to_thread(ledger.moment, number)
        roles, reaches = self.config.topics, moment.reaches
        at = {topic: reaches.get(TOPICS.index(role), Reach()) for topic, role in roles.items()}
        positions = {topic: reach.next_offset for topic, reach in at.items()}
        held = Held(where=THE_LEDGER, role=THE_LEDGER, partition=number, positions=positions)
        held.unread = await self._beyond(number, positions)
        starts = moment.begins
        stops = {number: reach.next_offset for number, reach in reaches.items()}
        lines = Lines(ledger, roles, number, starts, stops, self.config.rules)
        recount = self._recount(number, lines.see)
        if held.unread is None:
            await self._count(recount, number, positions, lines.hold)
            await lines.finish()
            held.lines, held.faults, held.more_faults = lines.lines, lines.faults, lines.more_faults
        expected = recount.at(positions)
        if held.unread is None:
            said = {topic: (r.applied, r.repeated, r.refused) for topic, r in at.items()}
            compare_counts(held, said, expected)
            await hold_sums(held, moment, expected)
        return held, moment, expected

    async def repair_ledger(self, number: int, keys: Sequence[bytes]) -> None:
        """Put the lines and the sums of some rows into the ledger as the log has them.

        Raises:
            AuditFailed: it cannot be done; the message says why.
            LedgerUnavailable: the database cannot be written.
        """
        ledger = self.config.ledger
        assert ledger is not None
        for _ in range(_TRIES):
            held, moment, expected = await self._read_ledger(ledger, number)
            if held.unread is not None:
                raise AuditFailed(f"The ledger {held.unread}.")
            faults = [fault for fault in held.faults if fault.key in keys]
            if any(fault.right is None and fault.what != "invented" for fault in faults):
                raise AuditFailed(
                    "A refused record is wrong in the ledger: delete the ledger and start it "
                    "anew, the log says it all again."
                )
            drop = [
                (TOPICS.index(self.config.topics[fault.topic]), number, fault.offset)
                for fault in faults
                if fault.what != "missing"
            ]
            lines = [fault.right for fault in faults if fault.right is not None]
            await asyncio.to_thread(ledger.put_lines, drop, lines)
            left = []
            for key in keys:
                name, right = split_key(key), as_sums(expected.tally(key))
                found = moment.rows.get(name)
                if not await asyncio.to_thread(ledger.put_row, number, name, found, right):
                    left.append(key)
            if not left:
                return
            keys = left
        raise AuditFailed("Some rows change too often in the ledger: repair them when it is quiet.")

    async def _beyond(self, number: int, positions: Mapping[str, int]) -> str | None:
        """Why no log could have made what is at these positions."""
        ends = await self._log.ends(number)
        for topic, at in positions.items():
            if at > ends.get(topic, 0):
                return (
                    f"has read {topic} up to offset {at}, and the log ends at "
                    f"{ends.get(topic, 0)}: it was cut, or made anew"
                )
        return None

    async def _explain(
        self, number: int, copies: Sequence[Held]
    ) -> dict[tuple[str, bytes], Explanation]:
        """Step 5."""
        wrong = [(held, one) for held in copies for one in held.differences][:_MOST_EXPLAINED]
        watch = Watch((one.key for _, one in wrong), self.config.rules)
        recount = self._recount(number, watch.see)
        await self._count(recount, number, _furthest(held for held, _ in wrong))
        return {
            (held.where, one.key): explain_row(one, watch.facts[one.key], held.positions)
            for held, one in wrong
        }

    async def repair(self, number: int, keys: Sequence[bytes]) -> None:
        """Let the owner of a partition set rows right, in all copies.

        It adds what its own copy lacks, which may be nothing, and writes each row anew: so a
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
            expected = recount.at(held.positions)
            try:
                found = await values_of(copy, keys)
            except CopyUnread as why:
                raise AuditFailed(f"The owner at {owner.worker} {why}.") from why
        for key in keys:
            row = expected.row(key)
            right = None if row is None else encode_row(row)
            await ask_repair(self._http, owner, held, key, found.get(key), right)

    def _recount(self, number: int, see: See | None = None) -> Recount:
        config = self.config
        return Recount(config.topics, number, config.partitions, config.window, config.rules, see)

    async def _count(
        self,
        recount: Recount,
        number: int,
        end: Mapping[str, int],
        after: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        async for topic, records in self._log.read(number, recount.next, end):
            recount.add(topic, records)
            if after is not None:
                await after()
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
        held.unread, held.may_pass = str(why), True


async def an_auditor(
    config: AuditConfig,
    stack: AsyncExitStack,
    token: str | None = None,
    believed: ssl.SSLContext | None = None,
) -> Auditor:
    """An auditor, for as long as the stack is open; it shows workers this token.

    `believed`: whose certificates are, of those that workers show.

    Raises:
        AuditFailed: Kafka does not answer.
    """
    log = await stack.enter_async_context(opened(config.kafka, list(config.topics)))
    http = await stack.enter_async_context(session(token, believed))
    return Auditor(config, log, http)
