"""A second and a third table on the same core: no ids, no rows, and records for other topics."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import pytest

from dev.kafka import Kafka
from dev.workers import until
from tables.home.changelog import ChangelogWriter
from tests.support.inside.chains import PARTITIONS, Step, StepWorker, Topics
from tests.support.inside.delivered import WAIT_S, Gate
from tests.support.topics.logs import Put, plain_writer, raw_reader, reader
from wire.transactions import RecordBatch, TransactionalProducer

#: What is said on each partition; much of it more than once.
LINES = ["to be or not to be", "that is the question", "to be or not to be", "be"] * 5


@pytest.fixture
def topics(kafka: Kafka) -> Topics:
    return Topics(kafka.bootstrap)


def splitting(topics: Topics) -> Step:
    return Step(topics, "SPLIT", topics.lines, {"words": topics.words})


def counting(topics: Topics) -> Step:
    return Step(topics, "COUNTS", topics.words, {"counted": topics.counted})


async def half_then_killed(worker: StepWorker, patch: pytest.MonkeyPatch) -> None:
    """It commits some of what lies there, writes more, and ends before that is committed."""
    await worker.own()
    for partition in range(PARTITIONS):
        if reader(worker.step.kafka).end(worker.step.source, partition):
            await worker.deliver(partition, most=7)
            assert await worker.table.reached(partition, {worker.step.source: 6}, WAIT_S)
    commit = TransactionalProducer.commit

    async def killed_before_its_end(
        producer: TransactionalProducer,
        batches: Sequence[RecordBatch],
        check: Callable[[Sequence[int]], None],
    ) -> list[int]:
        def killed(offsets: Sequence[int]) -> None:
            raise RuntimeError("killed")

        return await commit(producer, batches, killed)

    with patch.context() as inner:
        inner.setattr(TransactionalProducer, "commit", killed_before_its_end)
        for partition in range(PARTITIONS):
            await worker.deliver(partition)
        await worker.has_failed()


async def test_a_chain_counts_every_word_once_however_its_owners_end(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    for partition in range(PARTITIONS):
        topics.say(LINES, partition)
    words = Counter(word.encode() for line in LINES * PARTITIONS for word in line.split())

    split = splitting(topics)
    async with split.worker() as first:
        await half_then_killed(first, monkeypatch)
        async with split.worker() as second:
            await second.own()
            await second.catch_up()
            assert second.failed == []
            assert second.rows() == {}  # it keeps nothing
    said = topics.committed(topics.words)
    assert Counter(word for word, _ in said) == words
    raw = raw_reader(topics.kafka)
    written = sum(len(raw.records(topics.words, p)) for p in range(PARTITIONS))
    assert written > len(said)  # what the killed one wrote is there, for nobody

    count = counting(topics)
    async with count.worker() as first:
        await half_then_killed(first, monkeypatch)
        async with count.worker() as second:
            await second.own()
            await second.catch_up()
            assert second.failed == []
            assert second.rows() == words
    told = defaultdict(list)
    for word, number in topics.committed(topics.counted):
        told[word].append(int.from_bytes(number))
    assert {word: numbers[-1] for word, numbers in told.items()} == words
    assert all(numbers == sorted(set(numbers)) for numbers in told.values())

    async with count.worker() as third:  # from the changelog alone
        await third.own()
        assert third.rows() == words


async def test_records_that_wait_to_be_emitted_fill_a_group_as_events_do(
    topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.say(["a"], 0)
    async with splitting(topics).worker() as worker:
        await worker.own()
        gate = Gate()
        monkeypatch.setattr(ChangelogWriter, "commit", gate.before(ChangelogWriter.commit))
        await worker.deliver(0)
        await gate.is_reached()
        topics.say(["b " * 500], 0)
        await worker.deliver(0)

        owned = worker.table.held[0].owned
        assert owned is not None
        assert owned.uncommitted_events == 501
        gate.open.set()
        await worker.catch_up()


async def test_an_emitted_record_has_its_headers_and_its_place(topics: Topics) -> None:
    topics.say(["one two three four"], 1)
    async with splitting(topics).worker() as worker:
        await worker.own()
        await worker.catch_up()

    found = [r for p in range(PARTITIONS) for r in reader(topics.kafka).settled(topics.words, p)]
    assert {record.key for record in found} == {b"one", b"two", b"three", b"four"}
    assert all(list(record.headers) == [("n", b"1")] for record in found)
    # Written for the second step, where a key has one home.
    async with counting(topics).worker() as worker:
        await worker.own()
        await worker.catch_up()
        assert worker.rows() == {b"one": 1, b"two": 1, b"three": 1, b"four": 1}


async def test_a_row_that_is_none_costs_its_store_and_no_count(topics: Topics) -> None:
    topics.say(["word"], 0)
    split, count = splitting(topics), counting(topics)
    async with split.worker() as worker:
        await worker.own()
        await worker.catch_up()
    async with count.worker() as worker:
        await worker.own()
        await worker.catch_up()

    topics.say(["word"], 0)
    async with split.worker() as worker:
        await worker.own()
        await worker.catch_up()
    async with count.worker() as worker:
        await worker.own()
        [damaged] = [p for p in worker.table.held.values() if p.store.get(b"word") is not None]
        store = damaged.store
        store.write({b"word": b"no count"[:3]}, (), store.local)
        await worker.catch_up()

        assert damaged.store is not store
        assert worker.table.stats.stores_damaged == 1
        assert worker.rows() == {b"word": 2}
        assert worker.failed == []


async def test_a_record_that_may_not_be_folded_is_a_dead_letter_without_ids_too(
    topics: Topics,
) -> None:
    topics.say(["good"], 2)
    split = splitting(topics)

    plain_writer(topics.kafka).write(topics.lines, [Put(b"k", None)], 2)
    async with split.worker() as worker:
        await worker.own()
        await worker.catch_up()

        async def counted() -> bool:
            return worker.table.stats.dead_letters["nothing"] == 1

        await until(counted, "a dead letter", WAIT_S)
    [letter] = reader(topics.kafka).settled(split.config.dead_letters, 2)
    assert (letter.key, dict(letter.headers)["onhand-reason"]) == (b"k", b"nothing")
    assert [word for word, _ in topics.committed(topics.words)] == [b"good"]
