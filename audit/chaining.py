"""The chain of hashes over every record (`ledger/chain.py`), made again from the log.

A head says all that came before it: who keeps one elsewhere can show later that no record below
it was changed, dropped or put in between since, whoever may write to Kafka and to the database.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from audit.log import AuditFailed, SourceLog
from ledger.chain import linked, start_of


class ChainHead(Struct, frozen=True):
    """The chain over all records of a topic-partition below `next`. head: 64 hex digits."""

    topic: str
    partition: int
    next: int
    head: str


class KeptHead(Struct, frozen=True):
    """A head that somebody keeps. by: who, for a sentence."""

    by: str
    said: ChainHead


class Chained(Struct, kw_only=True):
    """What was found.

    heads: of the log as it is, one for each topic-partition. right: claims that hold. wrong:
    claims that do not, each with the head as the log makes it; None: the log is shorter.
    """

    heads: list[ChainHead]
    right: list[KeptHead] = []
    wrong: list[tuple[KeptHead, ChainHead | None]] = []

    @property
    def root(self) -> str:
        """One hash over all heads: 64 hex digits."""
        lines = (f"{h.topic} {h.partition} {h.next} {h.head}\n" for h in self.heads)
        return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


async def chained(
    log: SourceLog,
    topics: Mapping[str, str],
    partitions: Sequence[int],
    claims: Iterable[KeptHead],
    said: Callable[[int], None],
) -> Chained:
    """Make the chain of each topic-partition again, and hold claims against it.

    Args:
        log: to read from the first record on.
        topics: role by full name.
        partitions: which.
        claims: of these topics; others are an error.
        said: is told how many records were read.

    Raises:
        AuditFailed: the log cannot be read, or a claim is of another topic or partition.
    """
    by_place: dict[tuple[str, int], list[KeptHead]] = {}
    for claim in claims:
        place = claim.said.topic, claim.said.partition
        if place[0] not in topics:
            raise AuditFailed(f"{claim.by} tells of a topic {place[0]}, which is none of ours.")
        by_place.setdefault(place, []).append(claim)
    found = Chained(heads=[])
    read = 0
    for partition in partitions:
        ends = await log.ends(partition)
        links = {
            topic: _Links(topic, role, partition, by_place.get((topic, partition), ()))
            for topic, role in topics.items()
        }
        async for topic, records in log.read(partition, {}, ends):
            add = links[topic].add
            for record in records:
                add(record)
            read += len(records)
            said(read)
        for topic, each in links.items():
            each.finish(ends[topic], found)
    return found


class _Links:
    """One topic-partition's chain as it grows, and the places where somebody kept its head."""

    def __init__(self, topic: str, role: str, partition: int, claims: Iterable[KeptHead]) -> None:
        self._topic, self._partition = topic, partition
        self._head = start_of(role, partition)
        self._claims = sorted(claims, key=lambda claim: claim.said.next, reverse=True)
        self._met: list[tuple[KeptHead, ChainHead]] = []

    def add(self, record: tuple[int, int, bytes | None, bytes | None, object]) -> None:
        while self._claims and self._claims[-1].said.next <= record[0]:
            self._meet()
        self._head = linked(self._head, record)  # type: ignore[arg-type]  # a Record

    def _meet(self) -> None:
        claim = self._claims.pop()
        self._met.append((claim, self._now(claim.said.next)))

    def _now(self, next_offset: int) -> ChainHead:
        return ChainHead(self._topic, self._partition, next_offset, self._head.hex())

    def finish(self, end: int, found: Chained) -> None:
        """All records were given."""
        while self._claims and self._claims[-1].said.next <= end:
            self._meet()
        found.heads.append(self._now(end))
        for claim, now in self._met:
            if claim.said.head == now.head:
                found.right.append(claim)
            else:
                found.wrong.append((claim, now))
        found.wrong += [(claim, None) for claim in reversed(self._claims)]
