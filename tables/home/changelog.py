"""The changelog of one partition: what is in it, and the one transaction that writes it.

A group commit is one Kafka transaction of the partition's own transactional id: the records
emitted to other topics, the dead letters, tombstones of expired segments of the window,
changed rows and new segments and, **last**, the meta record. Its commit is the commit (P1, P2,
P5); the broker refuses every writer but the newest initialiser of the id (P6).
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from core.projection import Emitted
from core.refusals import RECORD_TOO_LARGE, DeadLetter
from core.words import in_words
from tables.config import TableConfig
from tables.home import rights
from tables.keys import META_KEY
from tables.ports import CommitRefused, Sealed
from wire.packing import AnyHeaders, is_escaped
from wire.transactions import (
    NO_TIME_MS,
    Brokers,
    RecordBatch,
    TransactionalProducer,
    batch_builder,
)

#: Number of what is written here and in `core/window.py`. A build reads its own and all below,
#: and counts nothing behind a higher one (`TooNew`), so that a way back never decides by half.
LOG_FORMAT = 1
#: Largest record batch that we send, in bytes; the changelog accepts twice that.
MAX_BATCH_BYTES = 4 * 2**20
#: The dead-letter topic takes record *batches* up to 2 MiB. A letter beyond this many
#: bytes is represented; a batch is closed before it passes the topic's limit.
MAX_DEAD_LETTER_BYTES = 2 * 2**20 - 64 * 1024
MAX_LETTER_BATCH_BYTES = 2 * 2**20 - 8 * 1024
#: What a topic takes by default is 1 MiB and 12 bytes.
_MAX_EMITTED_BATCH_BYTES = 2**20 - 8 * 1024
#: Of a letter too large to keep, headers that name it (`Projection.naming`) are kept, if they
#: are this short.
MAX_NAMING_BYTES = 16 * 1024
#: Records appended to a batch before the loop may run: about 1 ms.
_SLICE = 2000
#: An open transaction of a dead worker holds readers for at most this long, and only
#: if nobody takes its partition over (a take-over ends it at once).
_TRANSACTION_TIMEOUT_MS = 30_000
#: Key, value, headers.
_Put: TypeAlias = tuple[bytes | None, bytes | None, list[Any]]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """How far a version of the changelog has come; the truth about positions.

    positions: next offset to read, by source topic.
    fingerprints: (timestamp in ms, CRC-32) of each topic's first record, once seen.
    last: (offset, timestamp in ms, CRC-32) of the last record handled, by source topic.
    topic_ids: Kafka's id of each source topic.
    counts: records applied, repeated and refused, by source topic.
    window: W, in offsets. rules: number of the rules (`Projection.rules`).
    incarnation: Kafka's id of the changelog topic; another one means it was recreated.
    previous: offset of the meta record before this one, -1 for none.
    format: `LOG_FORMAT` of the build that wrote it.
    """

    positions: dict[str, int]
    fingerprints: dict[str, tuple[int, int]]
    counts: dict[str, tuple[int, int, int]]
    window: int
    rules: int
    incarnation: str
    # Not in the meta records of builds before these were known.
    last: dict[str, tuple[int, int, int]] = {}
    topic_ids: dict[str, str] = {}
    previous: int = -1
    format: int = LOG_FORMAT

    @property
    def too_new(self) -> str | None:
        """Why this build may not read what a newer one wrote: one sentence with the remedy."""
        if self.format <= LOG_FORMAT:
            return None
        return (
            f"The changelog was written by a newer build (format {self.format}; this one reads "
            f"up to {LOG_FORMAT}): run that build here too, or count anew with the next "
            "ONHAND_VERSION."
        )

    @classmethod
    def first(cls, config: TableConfig, incarnation: str) -> Meta:
        """Of a changelog that holds nothing yet."""
        return cls(
            positions={},
            fingerprints={},
            counts={},
            window=config.window,
            rules=config.projection.rules,
            incarnation=incarnation,
        )


class ChangelogChanged(Exception):
    """The changelog is not the one that it was, or not whole; the message says what to do."""


class ChangelogWriter:
    """Writes one partition's changelog: a `Writer`. Create with `open`."""

    def __init__(
        self, producer: TransactionalProducer, config: TableConfig, partition: int, name: str
    ) -> None:
        self._producer, self._id = producer, name
        self._changelog = TopicPartition(config.changelog, partition)
        self._dead_letters = TopicPartition(config.dead_letters, partition)
        self._outputs, self._naming = config.outputs, config.projection.naming

    @classmethod
    async def open(
        cls, brokers: Brokers, config: TableConfig, partition: int, name: str | None = None
    ) -> ChangelogWriter:
        """Initialise the transactional id: from here on every older writer is refused.

        Ends any transaction that the previous writer left open. Has no deadline of its
        own: the caller must set one.

        Args:
            brokers: started.
            config: of the table.
            partition: of the changelog.
            name: another transactional id than the partition's.

        Raises:
            RightMissing: the user may not write by this id.
            KafkaError: try again.
        """
        name = name or config.transactional_id(partition)
        with rights.writing(name):
            producer = await TransactionalProducer.open(
                brokers, name, _TRANSACTION_TIMEOUT_MS, lane=partition
            )
        return cls(producer, config, partition, name)

    async def commit(self, group: Sealed) -> int:
        """Commit one group; waits as long as the broker takes.

        All of it lies behind `group.previous`, or this is another log under the same name.

        Returns:
            The meta record's offset.

        Raises:
            CommitRefused: nothing may be written by this writer any more.
            ChangelogChanged: the same; nothing was committed.
            RightMissing: the same; the user may not write by the id, or to one of the topics.
        """
        batches = await self._build(group)
        topic, partition = self._changelog
        ours = next(n for n, batch in enumerate(batches) if batch.tp == self._changelog)

        def check(offsets: Sequence[int]) -> None:
            if 0 <= offsets[ours] <= group.previous:
                raise ChangelogChanged(recreated(topic, partition))

        written = dict.fromkeys(batch.tp.topic for batch in batches)
        try:
            with rights.writing(self._id, *written):
                offsets = await self._producer.commit(batches, check)
        except KafkaError as error:
            raise CommitRefused(in_words(error)) from error
        if offsets[-1] < 0:
            # Retried, and the broker already had it but no longer knows where: the
            # take-over will read it.
            raise CommitRefused("the broker did not tell where the group landed")
        return offsets[-1] + batches[-1].size - 1

    async def _build(self, group: Sealed) -> list[RecordBatch]:
        """Fill record batches in the order of the module docstring; yields to the loop."""
        letters = group.letters
        # aiokafka cannot write a header's name that is not UTF-8.
        of_letters = batch_builder if all(map(_is_text, letters)) else AnyHeaders
        letter_records = (letter_record(letter, self._naming) for letter in letters)
        rows = _changelog_records(group.puts, group.deletes, group.meta)
        batches: list[RecordBatch] = []
        for tp, records in (await self._by_output(group.emitted)).items():
            batches += await _batches(tp, batch_builder, _MAX_EMITTED_BATCH_BYTES, records)
        batches += await _batches(
            self._dead_letters, of_letters, MAX_LETTER_BATCH_BYTES, letter_records
        )
        batches += await _batches(self._changelog, batch_builder, MAX_BATCH_BYTES, rows)
        return batches

    async def _by_output(self, emitted: Iterable[Emitted]) -> dict[TopicPartition, list[_Put]]:
        found: dict[TopicPartition, list[_Put]] = {}
        for n, each in enumerate(emitted, 1):
            if n % _SLICE == 0:
                await asyncio.sleep(0)
            tp = TopicPartition(self._outputs[each.role], each.partition)
            found.setdefault(tp, []).append((each.key, each.value, list(each.headers)))
        return found


async def _batches(
    tp: TopicPartition, new: Callable[[int], Any], limit: int, records: Iterable[_Put]
) -> list[RecordBatch]:
    """Record batches of at most `limit` bytes, but of one record at least."""
    batches: list[RecordBatch] = []
    builder, count = new(limit), 0
    for n, (key, value, headers) in enumerate(records, 1):
        if builder.append(count, NO_TIME_MS, key, value, headers) is None:  # it is full
            batches.append(RecordBatch(tp, builder, count))
            builder, count = new(limit), 0
            builder.append(count, NO_TIME_MS, key, value, headers)
        count += 1
        if n % _SLICE == 0:
            await asyncio.sleep(0)
    if count:
        batches.append(RecordBatch(tp, builder, count))
    return batches


def _is_text(letter: DeadLetter) -> bool:
    return not any(is_escaped(name) for name, _ in letter.headers)


def _size(key: bytes | None, value: bytes | None, headers: list[Any]) -> int:
    """Bytes of a record, a little too many: keys and lengths of the framing included."""
    named = sum(len(name) * 4 + len(content or b"") + 10 for name, content in headers)
    return len(key or b"") + len(value or b"") + named + 64


def recreated(topic: str, partition: int) -> str:
    """The sentence for a changelog that is not the one that was written before."""
    return (
        f"Topic {topic} was deleted and created again under partition {partition}: what it held "
        "is lost, and the rows of this worker may be their last copy. Count anew with the next "
        "ONHAND_VERSION."
    )


_NO_HEADERS: list[Any] = []  # never changed; the builder insists on a list


def _changelog_records(
    puts: Mapping[bytes, bytes], deletes: Iterable[bytes], meta: bytes
) -> Iterator[_Put]:
    for key in deletes:
        yield key, None, _NO_HEADERS
    for key, value in puts.items():
        yield key, value, _NO_HEADERS
    yield META_KEY, meta, _NO_HEADERS


def letter_record(letter: DeadLetter, naming: Container[str]) -> _Put:
    """A refused record exactly as it came, and why it was refused."""
    headers: list[tuple[str, bytes | None]] = [
        *letter.headers,
        ("onhand-reason", letter.reason.encode()),
        ("onhand-detail", letter.detail.encode(errors="replace")),
        ("onhand-topic", letter.topic.encode()),
        ("onhand-partition", str(letter.partition).encode()),
        ("onhand-offset", str(letter.offset).encode()),
        ("onhand-timestamp", str(letter.timestamp_ms).encode()),
    ]
    key, value = letter.key, letter.value
    if letter.reason == RECORD_TOO_LARGE:  # represented since it was read
        size, _, sha256 = (value or b"").partition(b" ")
        return None, None, [*headers, ("onhand-size", size), ("onhand-sha256", sha256)]
    if _size(key, value, headers) > MAX_DEAD_LETTER_BYTES:
        content = (key or b"") + (value or b"")
        named = [pair for pair in letter.headers if pair[0] in naming]
        headers = [
            *(named if _size(None, None, named) <= MAX_NAMING_BYTES else ()),
            *headers[len(letter.headers) :],
            ("onhand-size", str(len(content)).encode()),
            ("onhand-sha256", hashlib.sha256(content).hexdigest().encode()),
        ]
        key = value = None
    return key, value, headers
