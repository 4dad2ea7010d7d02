"""The changelog of one partition: what is in it, and the one transaction that writes it.

A group commit is one Kafka transaction of the partition's own transactional id:
changed rows, the window's new segments, tombstones of expired ones, the dead letters
and, **last**, the meta record. Its commit is the commit (P1, P2, P5); the broker
refuses every writer but the newest initialiser of the id (P6).
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError

from domain.stock import DeadLetter

log = logging.getLogger(__name__)

META_KEY = b"\x00meta"
#: Largest record batch that we send, in bytes; the changelog accepts twice that.
MAX_BATCH_BYTES = 4 * 2**20
#: The dead-letter topic takes record *batches* up to 2 MiB. A letter beyond this many
#: bytes is represented; a batch is closed before it passes the topic's limit.
MAX_DEAD_LETTER_BYTES = 2 * 2**20 - 64 * 1024
_MAX_LETTER_BATCH_BYTES = 2 * 2**20 - 8 * 1024
#: Records appended to a batch before the loop may run: about 2 ms.
_SLICE = 1000
#: An open transaction of a dead worker holds readers for at most this long, and only
#: if nobody takes its partition over (a take-over ends it at once).
_TRANSACTION_TIMEOUT_MS = 30_000
_CLOSE_S = 5.0


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """How far a version of the changelog has come; the truth about positions.

    positions: next offset to read, by source topic.
    fingerprints: (timestamp in ms, CRC-32) of each topic's first record, once seen.
    counts: records applied, repeated and refused, by source topic.
    window: W, in offsets. rules: number of the rules (domain.events.RULES).
    incarnation: random id of this changelog; another one means it was recreated.
    """

    positions: dict[str, int]
    fingerprints: dict[str, tuple[int, int]]
    counts: dict[str, tuple[int, int, int]]
    window: int
    rules: int
    incarnation: str


class CommitRefused(Exception):
    """The broker refused a transaction, or another worker initialised its id.

    Whether it landed is unknown: only a new take-over can tell.
    """


class ChangelogWriter:
    """Writes one partition's changelog. Create with `open`; one commit at a time."""

    def __init__(
        self, producer: AIOKafkaProducer, partition: int, changelog: str, dead_letters: str
    ) -> None:
        self._producer = producer
        self._partition = partition
        self._changelog, self._dead_letters = changelog, dead_letters

    @classmethod
    async def open(
        cls,
        partition: int,
        transactional_id: str,
        changelog: str,
        dead_letters: str,
        kafka: Mapping[str, Any],
    ) -> ChangelogWriter:
        """Initialise the transactional id: from here on every older writer is refused.

        Ends any transaction that the previous writer left open. Has no deadline of its
        own (aiokafka 0.14.0, sender.py:193): the caller must set one.
        """
        producer = AIOKafkaProducer(
            **kafka,
            transactional_id=transactional_id,
            transaction_timeout_ms=_TRANSACTION_TIMEOUT_MS,
            compression_type="zstd",
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=2 * MAX_BATCH_BYTES,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return cls(producer, partition, changelog, dead_letters)

    async def commit(
        self,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        letters: Sequence[DeadLetter],
        meta: bytes,
    ) -> int:
        """Commit one group; waits as long as the broker takes.

        Returns:
            The meta record's offset, or -1 where the broker did not tell
            (a retried batch that it already had).

        Raises:
            CommitRefused: nothing may be written by this writer any more.
        """
        # The first error of a fenced produce fails only that batch's future and
        # leaves aiokafka's transaction open: await the receipts before the commit,
        # and never commit after a failed one.
        try:
            await self._producer.begin_transaction()
            receipts = [
                await self._producer.send_batch(batch, topic, partition=self._partition)
                for topic, batch in await self._build(puts, deletes, letters, meta)
            ]
            written = await asyncio.gather(*receipts)
            await self._producer.commit_transaction()
        except (KafkaError, IllegalOperation, AssertionError) as error:
            # Said above already; unread, aiokafka's own future would log it once more.
            waiter = self._producer._txn_manager._transaction_waiter
            if waiter is not None and waiter.done():
                waiter.exception()
            raise CommitRefused(f"{type(error).__name__}: {error}") from error
        last = written[-1]
        return last.offset + self._last_count - 1 if last.offset >= 0 else -1

    async def _build(
        self,
        puts: Mapping[bytes, bytes],
        deletes: Iterable[bytes],
        letters: Sequence[DeadLetter],
        meta: bytes,
    ) -> list[tuple[str, Any]]:
        """Fill record batches in the order of the class docstring; yields to the loop."""
        batches: list[tuple[str, Any]] = []
        now_ms = int(time.time() * 1000)
        for topic, limit, records in (
            (self._dead_letters, _MAX_LETTER_BATCH_BYTES, map(_letter_record, letters)),
            (self._changelog, MAX_BATCH_BYTES, _changelog_records(puts, deletes, meta)),
        ):
            batch = None
            for count, (key, value, headers) in enumerate(records):
                if count % _SLICE == _SLICE - 1:
                    await asyncio.sleep(0)
                full = batch is not None and batch.size() + _size(key, value, headers) > limit
                if batch is None or full or _append(batch, now_ms, key, value, headers) is None:
                    batch = self._producer.create_batch()
                    batches.append((topic, batch))
                    if _append(batch, now_ms, key, value, headers) is None:
                        raise CommitRefused(f"A record of {len(value or b'')} bytes fits no batch.")
        for _, batch in batches:
            batch.close()
        self._last_count = batches[-1][1].record_count()
        return batches

    async def close(self) -> None:
        """Leave; an open transaction is left to the broker or the next initialiser."""
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._producer.stop()
        except (TimeoutError, KafkaError):
            # stop() waits for records that a silent broker will never acknowledge, and
            # leaves its task and sockets behind when it is interrupted (0.14.0).
            self._producer._message_accumulator.fail_all(KafkaError("the writer was closed"))
            if (task := self._producer._sender.sender_task) is not None:
                task.cancel()
            await self._producer.client.close()


def _append(
    batch: Any, now_ms: int, key: bytes | None, value: bytes | None, headers: list[Any]
) -> Any:
    return batch.append(timestamp=now_ms, key=key, value=value, headers=headers)


def _size(key: bytes | None, value: bytes | None, headers: list[Any]) -> int:
    """Bytes of a record, a little too many: keys and lengths of the framing included."""
    named = sum(len(name) * 4 + len(content or b"") + 10 for name, content in headers)
    return len(key or b"") + len(value or b"") + named + 64


_NO_HEADERS: list[Any] = []  # never changed; the builder insists on a list


def _changelog_records(
    puts: Mapping[bytes, bytes], deletes: Iterable[bytes], meta: bytes
) -> Iterator[tuple[bytes | None, bytes | None, list[Any]]]:
    for key in deletes:
        yield key, None, _NO_HEADERS
    for key, value in puts.items():
        yield key, value, _NO_HEADERS
    yield META_KEY, meta, _NO_HEADERS


def _letter_record(
    letter: DeadLetter,
) -> tuple[bytes | None, bytes | None, list[Any]]:
    """A refused record exactly as it came, and why it was refused."""
    headers: list[tuple[str, bytes | None]] = [
        *letter.headers,
        ("onhand-reason", letter.reason.value.encode()),
        ("onhand-detail", letter.detail.encode(errors="replace")),
        ("onhand-topic", letter.topic.encode()),
        ("onhand-partition", str(letter.partition).encode()),
        ("onhand-offset", str(letter.offset).encode()),
        ("onhand-timestamp", str(letter.timestamp_ms).encode()),
    ]
    key, value = letter.key, letter.value
    if _size(key, value, headers) > MAX_DEAD_LETTER_BYTES:
        content = (key or b"") + (value or b"")
        headers = [
            *headers[len(letter.headers) :],
            ("onhand-size", str(len(content)).encode()),
            ("onhand-sha256", hashlib.sha256(content).hexdigest().encode()),
        ]
        key = value = None
    return key, value, headers
