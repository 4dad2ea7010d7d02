"""What the table asks of others: of the place where its rows rest, of the group, of the transport.

A `Home` is where the rows of a partition rest, and what says how far they have come. The first
is Kafka: a changelog, and stores that follow it (`tables/home/`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from core.projection import Emitted
from core.refusals import DeadLetter
from wire.fetch import End

#: What the table knows of a partition that rests here.
_Held = TypeVar("_Held", contravariant=True)
#: Ends the worker with one sentence: why, and what to do; and what was raised, if anything was.
Fail: TypeAlias = Callable[[str, BaseException | None], Awaitable[None]]


class Sealed(msgspec.Struct, frozen=True):
    """A group as it is written: all of it, or nothing.

    puts: rows and window segments. deletes: keys of segments that expired. letters: refused
    records. meta: how far the partition has come with it; comes last. previous: where the meta
    record before it landed, -1 for none. emitted: records for other topics.
    """

    puts: Mapping[bytes, bytes]
    deletes: Iterable[bytes]
    letters: Sequence[DeadLetter]
    meta: bytes
    previous: int = -1
    emitted: Iterable[Emitted] = ()


class CommitRefused(Exception):
    """A group was refused, or another worker has the right to write now.

    Whether it landed is unknown: only a new take-over can tell.
    """


class Log(NamedTuple):
    """One partition of the changelog, as a broker showed it.

    incarnation: Kafka's id of the topic. start, end: its first offset, and that behind its
    last one for committed readers. Compaction leaves the start at 0: any other one says
    that records are gone for good.
    """

    incarnation: str
    start: int
    end: int


class Restored(msgspec.Struct, frozen=True):
    """What one restore did: changelog records applied, seconds."""

    records: int
    seconds: float


class Writer(Protocol):
    """The newest right to write one partition; whoever had one before is refused."""

    async def commit(self, group: Sealed) -> int:
        """Make a group durable, all or nothing; waits as long as that takes. One at a time.

        Returns:
            Where its meta record landed: behind `group.previous`, by more places than it has
            rows.

        Raises:
            CommitRefused: nothing may be written by this writer any more.
            Exception: the same, and an operator must decide; the home says which.
        """
        ...


class Home(Protocol[_Held]):
    """Where the rows of a partition rest, and what says how far they have come."""

    async def start(self) -> None:
        """Connect."""
        ...

    async def stop(self) -> None:
        """Let go of all connections; nobody is fed any more."""
        ...

    async def fence(self, partition: int) -> Writer:
        """The right to write: from here on every older writer of the partition is refused.

        May take for ever: the caller sets a deadline.
        """
        ...

    async def look(self, partition: int) -> Log:
        """How far the partition has come. Behind a fence nobody else can move its end."""
        ...

    async def restore(self, partition: _Held, end: Log) -> Restored:
        """Bring the partition's store to this end, for who is to own it.

        Raises:
            Superseded: another assignment came meanwhile.
        """
        ...

    def follow(self, partition: _Held, end: Log) -> None:
        """Keep the partition's store close behind its owner, from now on, as a standby.

        It may be read once it is past this end.
        """
        ...

    def let_go(self, partition: _Held) -> None:
        """Restore and follow it no more. After this returns its store is not written by us."""
        ...


class NotAMember(Exception):
    """The group coordinator does not know us in this generation."""


class Membership(Protocol):
    """What the consumer group's coordinator last said of us."""

    def confirmed_at(self) -> float:
        """When it last confirmed our membership, `time.monotonic()` seconds."""
        ...

    async def confirm(self) -> None:
        """Ask it now; raises NotAMember or KafkaError."""
        ...


class Delivery(Protocol):
    """The transport, as far as the table steers it."""

    async def start(self, partition: int, positions: dict[str, int], epoch: int) -> None:
        """Seek every source topic's partition, then deliver batches numbered `epoch`."""
        ...

    async def stop(self, partition: int) -> None:
        """Deliver nothing more of this partition."""
        ...

    async def rest(self, records: int) -> None:
        """Give way after so many were folded; for longer where the worker is kept to a rate."""
        ...

    def end(self, topic: str, partition: int) -> End:
        """By the last fetch response; asks nobody."""
        ...
