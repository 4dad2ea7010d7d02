"""`wire/fetch.py` reads aiokafka's private buffers: here it is held against aiokafka itself.

A failure after an upgrade of aiokafka says which private name, or which habit, changed.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import aiokafka
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from core.records import Record
from dev.kafka import Kafka
from tests.support.topics.fetching import (
    WAIT_S,
    a_consumer,
    buffered,
    read,
    records_of,
    some,
    take,
)
from tests.support.topics.logs import (
    COMPACTED,
    Put,
    Writer,
    a_name,
    clean_often,
    cut,
    make,
    reader,
    wait_for_compaction,
)
from wire.batches import Unreadable
from wire.fetch import Fetched, end_of, end_offsets, fetch


async def read_as_aiokafka(consumer: AIOKafkaConsumer, topic: str, end: int) -> list[Record]:
    """The same by aiokafka's own way."""
    tp = TopicPartition(topic, 0)
    found: list[Record] = []
    async with asyncio.timeout(WAIT_S):
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                found += [(r.offset, r.timestamp, r.key, r.value, r.headers) for r in records]
    return found


# ---- logs


def batches_of_all_kinds(kafka: str) -> str:
    """Every codec, batches of 1 and of many, no key, no value, headers."""
    topic = make(kafka)
    for number, codec in enumerate(["none", "gzip", "snappy", "lz4", "zstd"]):
        writer = Writer(kafka, compression_type=codec)
        writer.write(topic, some(100 * number, 1))
        writer.write(topic, some(100 * number + 1, 60))
    odd = [
        Put(None, b"v"),
        Put(b"k", None),
        Put(b"", b""),
        Put(b"k", b"v", (("h", b"1"), ("h", None))),
    ]
    writer.write(topic, odd)
    return topic


def transactions(kafka: str) -> str:
    """Committed, aborted and plain batches of three producers, woven; a marker is last."""
    topic = make(kafka)
    plain = Writer(kafka)
    one, two = Writer(kafka, a_name()), Writer(kafka, a_name())
    plain.write(topic, some(0, 3))
    one.begin()
    two.begin()
    one.write(topic, some(100, 5))
    two.write(topic, some(200, 5))
    plain.write(topic, some(10, 2))
    two.write(topic, some(205, 5))
    one.abort()
    plain.write(topic, some(20, 2))
    two.commit()
    # The producer of an aborted transaction commits the next one, and the other way round.
    one.committed(topic, some(110, 4))
    two.aborted(topic, some(210, 4))
    two.settle(topic)
    return topic


def compacted(kafka: str) -> str:
    """Gaps, batches without a record, and a meta-like key of which one is left."""
    clean_often(kafka)
    topic = make(kafka, config=COMPACTED)
    writer = Writer(kafka, a_name())
    for turn in range(4):
        rows = [Put(b"k%d" % n, b"%d" % turn) for n in range(0, 10, turn + 1)]
        writer.committed(topic, [*rows, Put(b"\x00meta", b"%d" % turn)])
    writer.aborted(topic, some(0, 10))
    writer.committed(topic, [Put(b"\x00meta", b"last")])
    writer.settle(topic)
    # In a segment behind, which are cut by milliseconds: all before it is cleaned, to the last
    # record that can be.
    time.sleep(0.01)
    writer.committed(topic, [Put(b"end", b"")])
    writer.settle(topic)
    wait_for_compaction(kafka, topic, len({*range(10), b"\x00meta", b"end"}))
    return topic


LOGS = [batches_of_all_kinds, transactions, compacted]


@pytest.fixture(scope="module")
def log(kafka: Kafka) -> Callable[[Callable[[str], str]], str]:
    """The topic of a kind of log, written once."""
    written: dict[Callable[[str], str], str] = {}

    def topic_of(kind: Callable[[str], str]) -> str:
        if kind not in written:
            written[kind] = kind(kafka.bootstrap)
        return written[kind]

    return topic_of


# ---- what it reads


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("settings", [{}, {"max_partition_fetch_bytes": 300}], ids=["all", "bits"])
async def test_it_reads_what_aiokafka_reads(
    kafka: Kafka,
    log: Callable[[Callable[[str], str]], str],
    kind: Callable[[str], str],
    settings: dict[str, int],
) -> None:
    topic = log(kind)
    end = reader(kafka.bootstrap).end(topic)
    async with a_consumer(kafka, topic, **settings) as theirs:
        wanted = await read_as_aiokafka(theirs, topic, end)

    async with a_consumer(kafka, topic, **settings) as ours:
        parts = await read(ours, end, limit=7)
        position = await ours.position(TopicPartition(topic, 0))

    got = [(o, t, k, v, tuple(h)) for part in parts for o, t, k, v, h in records_of(part)]
    assert got == wanted
    assert wanted
    assert position == end
    # Each part begins where the one before ended: a gap would mean a lost batch.
    assert [part.start for part in parts] == [0, *[part.next_offset for part in parts[:-1]]]


async def test_markers_at_the_end_are_progress_without_a_record(kafka: Kafka) -> None:
    topic = make(kafka.bootstrap)
    writer = Writer(kafka.bootstrap, a_name())
    writer.aborted(topic, some(0, 3))
    async with a_consumer(kafka, topic) as consumer:
        first = await take(consumer)
        writer.aborted(topic, some(3, 2))
        second = await take(consumer)

    # Three records and an abort marker; two and another.
    assert [(records_of(part), part.start, part.next_offset) for part in (first, second)] == [
        ([], 0, 4),
        ([], 4, 7),
    ]


async def test_an_open_transaction_is_neither_read_nor_progress(kafka: Kafka) -> None:
    topic = make(kafka.bootstrap)
    Writer(kafka.bootstrap).write(topic, some(0, 2))
    writer = Writer(kafka.bootstrap, a_name())
    writer.begin()
    writer.write(topic, some(2, 2))
    Writer(kafka.bootstrap).write(topic, some(4, 2))
    async with a_consumer(kafka, topic) as consumer:
        before = await take(consumer)
        nothing = await fetch(consumer, 0.3, 10)
        tp = TopicPartition(topic, 0)
        known = end_of(consumer, tp)
        told = [(await end_offsets(consumer, [tp], committed=c))[tp] for c in (True, False)]
        writer.commit()
        after = await take(consumer)

    assert (before.next_offset, nothing, known.offset, known.high) == (2, {}, 2, 6)
    assert told == [2, 6]
    assert [record[0] for record in records_of(after)] == [2, 3, 4, 5]


async def test_a_limit_is_passed_by_no_more_than_a_batch_and_the_rest_comes_next(
    kafka: Kafka, topic: str
) -> None:
    async with a_consumer(kafka, topic) as consumer:
        await buffered(consumer, topic)
        parts = [await take(consumer, limit=3), await take(consumer, limit=3)]

    assert [(part.start, len(records_of(part)), part.next_offset) for part in parts] == [
        (0, 10, 10),
        (10, 10, 20),
    ]


async def test_reading_from_the_middle_of_a_batch_leaves_out_what_is_before(
    kafka: Kafka, topic: str
) -> None:
    async with a_consumer(kafka, topic, at=4) as consumer:
        part = await take(consumer, limit=1)

    assert (part.start, records_of(part)[0][0], part.next_offset) == (4, 4, 10)


async def test_an_offset_that_the_log_no_longer_holds_is_an_error_of_that_partition_alone(
    kafka: Kafka, topic: str
) -> None:
    other = make(kafka.bootstrap)
    Writer(kafka.bootstrap).write(other, some(0, 1))
    cut(kafka.bootstrap, topic, 10)
    found: dict[str, Fetched] = {}
    async with a_consumer(kafka, topic, other) as consumer, asyncio.timeout(WAIT_S):
        while len(found) < 2:
            parts = await fetch(consumer, WAIT_S, 100)
            found |= {tp.topic: part for tp, part in parts.items()}
        consumer.seek(TopicPartition(topic, 0), 10)
        healed = await take(consumer)

    assert isinstance(found[topic].error, OffsetOutOfRangeError)
    assert (found[other].error, len(records_of(found[other]))) == (None, 1)
    assert (healed.error, len(records_of(healed))) == (None, 10)


def a_raw_batch() -> bytearray:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 10_000)
    for n in range(3):
        builder.append(n, 0, key=b"k%d" % n, value=b"v", headers=[])
    return bytearray(builder.build())


async def test_a_batch_that_fails_its_checksum_is_never_delivered(kafka: Kafka, topic: str) -> None:
    damaged = a_raw_batch()
    damaged[-1] ^= 0xFF
    async with a_consumer(kafka, topic) as consumer:
        await buffered(consumer, topic)
        held = consumer._fetcher._records[TopicPartition(topic, 0)]
        held._partition_records._records = fetcher.MemoryRecords(bytes(damaged))

        part = await take(consumer)

    with pytest.raises(Unreadable, match="at offset 0 cannot be read: it fails its checksum"):
        records_of(part)


# ---- the private names themselves


def _consumer_names(consumer: Any) -> Iterator[tuple[object, str]]:
    held = consumer._fetcher._records.values()
    result = next(iter(held))
    yield from ((consumer, name) for name in ("_fetcher", "_subscription", "_closed"))
    for name in ("_records", "_closed", "_notify", "_wait_consume_future", "_subscriptions"):
        yield consumer._fetcher, name
    for name in ("_create_fetch_waiter", "_fetch_waiters"):
        yield consumer._fetcher, name
    yield consumer._fetcher, "_select_read_replica"
    yield consumer._client.cluster, "leader_for_partition"
    yield consumer._client, "force_metadata_update"
    for name in ("check_assignment", "has_more", "_assignment", "_partition_records"):
        yield result, name
    buffer = result._partition_records
    for name in ("next_fetch_offset", "_records", "_aborted_producers"):
        yield buffer, name
    yield buffer, "_consume_aborted_up_to"
    yield buffer._records, "data"
    for name in ("_isolation_level", "end_offsets"):
        yield consumer._fetcher, name
    yield consumer, "_request_timeout_ms"
    for name in ("subscription", "is_assigned", "fetch_context"):
        yield consumer._subscription, name
    assignment = consumer._subscription.subscription.assignment
    for name in ("tps", "state_value"):
        yield assignment, name
    state = assignment.state_value(TopicPartition(*next(iter(assignment.tps))))
    for name in ("position", "has_valid_position", "lso", "highwater", "timestamp", "consumed_to"):
        yield state, name


async def test_every_private_name_is_where_it_was(kafka: Kafka, topic: str) -> None:
    async with a_consumer(kafka, topic) as consumer:
        await buffered(consumer, topic)
        missing = [
            f"{type(owner).__name__}.{name}"
            for owner, name in _consumer_names(consumer)
            if not hasattr(owner, name)
        ]
    assert not missing, (
        f"aiokafka {aiokafka.__version__} has no {', '.join(missing)}: wire/fetch.py reads "
        "them; compare it with aiokafka/consumer/fetcher.py before raising the version."
    )


def test_the_code_that_fetch_follows_is_the_one_that_was_read() -> None:
    """Read line by line for 0.14.0; another text must be read again."""
    read_for = {
        fetcher.PartitionRecords._unpack_records: "b803e6d4",
        fetcher.PartitionRecords._consume_aborted_up_to: "56876530",
        fetcher.FetchResult.check_assignment: "b5340df6",
        fetcher.FetchResult._update_position: "83fb1473",
        fetcher.FetchResult.getall: "3e717e30",
        fetcher.Fetcher.fetched_records: "be434889",
        fetcher.Fetcher.seek_to: "f0ba6aba",
        fetcher.Fetcher._get_actions_per_node: "1dab2cf9",
    }
    changed = [
        f"{function.__qualname__} ({digest})"
        for function, known in read_for.items()
        if (digest := sha256(inspect.getsource(function).encode()).hexdigest()[:8]) != known
    ]
    assert not changed, (
        f"aiokafka {aiokafka.__version__} changed {', '.join(changed)}, which wire/fetch.py "
        "follows: read both side by side, then put the new digests here."
    )
