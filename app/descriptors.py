"""File descriptors: how many this process may open, and who of it gets how many.

A worker that has none left cannot open a file of RocksDB or a connection to Kafka, and ends.
So connections of clients and to other workers get a share, and no more.
"""

from __future__ import annotations

import resource
from contextlib import suppress

from msgspec import Struct
from msgspec.structs import replace

from web.http.connections import ConnectionLimits

#: As many as are of use; a higher hard limit is left alone.
WANTED = 65_536
#: For Kafka's clients, logs, pipes, the decoding process.
RESERVE = 160
#: For RocksDB and the transactional producer of one partition.
RESERVE_A_PARTITION = 16
#: A worker with fewer connections than this is of no use.
LEAST = 64


class TooFewDescriptors(Exception):
    """A worker would end as soon as it is asked anything."""


class Shares(Struct, frozen=True):
    """How many connections the worker may hold: of its clients, and to other workers."""

    clients: int
    peers: int


def raised() -> int:
    """Raise this process's limit as far as it may; returns what it is then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    wanted = WANTED if hard == unlimited else min(WANTED, hard)
    if soft != unlimited and soft < wanted:
        with suppress(ValueError, OSError):  # a container may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return WANTED if soft == unlimited else soft


def shares(limit: int, partitions: int) -> Shares:
    """Share out `limit` descriptors, of a worker that may hold so many partitions.

    Raises:
        TooFewDescriptors: a sentence with the remedy.
    """
    reserve = RESERVE + RESERVE_A_PARTITION * partitions
    left = limit - reserve
    if left < 2 * LEAST:
        raise TooFewDescriptors(
            f"The process may open {limit:,} files, {reserve:,} of them are for {partitions} "
            f"partitions and Kafka: allow at least {reserve + 2 * LEAST:,} (`ulimit -n`, or "
            "LimitNOFILE= of systemd)."
        )
    peers = left // 4
    return Shares(clients=left - peers, peers=peers)


def of_clients(clients: int, *, is_secured: bool) -> ConnectionLimits:
    """As many connections of clients as their share allows, and no more than are of use."""
    plain = ConnectionLimits()
    handshakes = min(plain.handshakes, clients // 8) if is_secured else 0
    # Those for operations, and those that are not secured yet, come on top.
    most = min(plain.connections, clients - plain.for_operations - handshakes)
    return replace(plain, connections=most, handshakes=handshakes)


def of_others(partitions: int, *, is_secured: bool) -> ConnectionLimits:
    """The same for a process that asks no other one: a ledger, a bridge, an audit, a program.

    Args:
        partitions: whose stores it holds.
        is_secured: it speaks TLS.
    """
    left = raised() - RESERVE - RESERVE_A_PARTITION * partitions
    # It goes on with few, too: whoever runs it asks it now and then.
    return of_clients(max(left, 2 * LEAST), is_secured=is_secured)
