"""The one transaction that is a commit, seen by another client than the one that wrote it."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core.refusals import DeadLetter
from dev.kafka import Kafka
from dev.oracle.stock import Record
from domain.events import Refusal
from tables.home.changelog import ChangelogWriter
from tables.keys import META_KEY
from tables.ports import CommitRefused, Sealed
from tests.support.inside.owners import a_config, a_writer
from tests.support.topics.logs import Put, Writer, a_name, make, make_all, reader
from wire.transactions import RecordBatch, TransactionalProducer

CHANGELOG = {"cleanup.policy": "compact", "max.message.bytes": str(8 * 2**20)}
DEAD_LETTERS = {"max.message.bytes": str(2 * 2**20)}
PARTITION = 1


class Book:
    """A changelog and its dead letters, of two partitions each, in which we write the second."""

    def __init__(self, kafka: str, changelog: dict[str, str] = CHANGELOG) -> None:
        self.kafka = kafka
        self.changelog, self.dead_letters = a_name(), a_name()
        topics = {self.changelog: changelog, self.dead_letters: DEAD_LETTERS}
        make_all(kafka, topics, partitions=2)
        self.transactional_id = a_name()

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[ChangelogWriter]:
        """A new owner's."""
        config = a_config(
            self.kafka,
            changelog=self.changelog,
            dead_letters=self.dead_letters,
            transactional_id=lambda partition: self.transactional_id,
        )
        async with a_writer(config, PARTITION) as writer:
            yield writer

    def rows(self) -> list[tuple[bytes | None, bytes | None]]:
        """The changelog as committed readers see it."""
        return [(record.key, record.value) for record in self.records()]

    def records(self) -> list[Record]:
        assert reader(self.kafka).end(self.changelog, 0) == 0  # the other partition
        return reader(self.kafka).settled(self.changelog, PARTITION)

    def letters(self) -> list[Record]:
        """The dead letters, likewise."""
        assert reader(self.kafka).end(self.dead_letters, 0) == 0
        return reader(self.kafka).settled(self.dead_letters, PARTITION)

    def end(self) -> int:
        """Behind the last transaction's marker."""
        return reader(self.kafka).end(self.changelog, PARTITION)


@pytest.fixture
def book(kafka: Kafka) -> Book:
    return Book(kafka.bootstrap)


@pytest.fixture
def narrow_book(kafka: Kafka) -> Book:
    """Its changelog takes a kilobyte at a time."""
    return Book(kafka.bootstrap, CHANGELOG | {"max.message.bytes": "1000"})


def a_letter(
    offset: int = 7,
    key: bytes | None = b"SKU-1",
    value: bytes | None = b"{",
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> DeadLetter:
    return DeadLetter(
        topic="x.sales", partition=PARTITION, offset=offset, timestamp_ms=1_764_000_000_123,
        key=key, value=value, headers=headers, reason=Refusal.NOT_JSON, detail="No JSON: é.",
    )  # fmt: skip


def _digest(value: bytes | None) -> str:
    """Stands for megabytes where a failure must be shown."""
    return hashlib.sha256(value or b"").hexdigest()[:8]


OURS = (
    ("onhand-reason", b"not_json"),
    ("onhand-detail", "No JSON: é.".encode()),
    ("onhand-topic", b"x.sales"),
    ("onhand-partition", b"1"),
    ("onhand-offset", b"7"),
    ("onhand-timestamp", b"1764000000123"),
)


# ---- what one commit writes


async def test_a_commit_is_deletes_rows_and_last_the_meta_record(book: Book) -> None:
    async with book.writer() as writer:
        rows = {b"b\x001": b"2", b"a\x001": b"1"}
        await writer.commit(Sealed(rows, [b"\x00w1", b"\x00w2"], [], b"meta"))

    assert book.rows() == [
        (b"\x00w1", None),
        (b"\x00w2", None),
        (b"b\x001", b"2"),
        (b"a\x001", b"1"),
        (META_KEY, b"meta"),
    ]
    # One transaction: one marker behind five records.
    assert book.end() == 6


async def test_a_commit_returns_the_offset_of_its_meta_record(book: Book) -> None:
    async with book.writer() as writer:
        told = [
            await writer.commit(Sealed({}, [], [], b"1")),
            await writer.commit(Sealed({b"a\x001": b"1"}, [b"\x00w"], [a_letter()], b"2")),
            await writer.commit(Sealed({b"%d\x00" % n: b"1" for n in range(2500)}, [], [], b"3")),
        ]

    assert told == [record.offset for record in book.records() if record.key == META_KEY]


async def test_a_commit_of_many_batches_is_one_transaction_in_order(book: Book) -> None:
    # Nine record batches of incompressible rows.
    rows = {b"%04d\x00x" % n: os.urandom(32 * 1024) for n in range(1100)}
    async with book.writer() as writer:
        offset = await writer.commit(Sealed(rows, [], [], b"meta"))

    assert [(key, _digest(value)) for key, value in book.rows()] == [
        *((key, _digest(value)) for key, value in rows.items()),
        (META_KEY, _digest(b"meta")),
    ]
    assert (offset, book.end()) == (1100, 1102)


async def test_dead_letters_are_in_the_same_transaction(book: Book, narrow_book: Book) -> None:
    async with book.writer() as writer:
        await writer.commit(Sealed({b"a\x001": b"1"}, [], [a_letter()], b"meta"))
    # The same, but the changelog takes no batch of this size.
    async with narrow_book.writer() as writer:
        with pytest.raises(CommitRefused):
            await writer.commit(Sealed({b"a\x001": os.urandom(2000)}, [], [a_letter()], b"meta"))
    async with narrow_book.writer():
        pass  # ends what the first left open, so that readers are not held up

    assert (len(book.rows()), len(book.letters())) == (2, 1)
    assert (narrow_book.rows(), narrow_book.letters()) == ([], [])


# ---- dead letters


ODD_HEADERS = (("h", b"\xff\x00"), ("h", None), ("onhand-reason", b"theirs"))


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [
        (b"SKU-1", b'{"x"', ODD_HEADERS),
        (None, b"v", ()),
        (b"k", None, ()),
        (None, None, ()),
        (b"", b"", ()),
    ],
)
async def test_a_refused_record_is_kept_exactly_as_it_came_with_the_reason_behind(
    book: Book,
    key: bytes | None,
    value: bytes | None,
    headers: tuple[tuple[str, bytes | None], ...],
) -> None:
    async with book.writer() as writer:
        await writer.commit(
            Sealed({}, [], [a_letter(key=key, value=value, headers=headers)], b"meta")
        )

    (letter,) = book.letters()
    assert (letter.key, letter.value) == (key, value)
    assert letter.headers == (*headers, *OURS)


async def test_dead_letters_are_in_the_order_in_which_they_were_refused(book: Book) -> None:
    async with book.writer() as writer:
        await writer.commit(Sealed({}, [], [a_letter(offset) for offset in range(2500)], b"meta"))

    offsets = [int(dict(letter.headers)["onhand-offset"] or b"") for letter in book.letters()]
    assert offsets == list(range(2500))


@pytest.mark.parametrize("part", ["value", "key", "headers"])
async def test_what_would_not_fit_among_the_dead_letters_is_there_by_place_size_and_hash(
    book: Book, part: str
) -> None:
    huge = os.urandom(2 * 2**20)
    key = huge if part == "key" else b"k"
    value = huge if part == "value" else b"v"
    headers = [("h", huge)] if part == "headers" else []
    async with book.writer() as writer:
        await writer.commit(
            Sealed({}, [], [a_letter(key=key, value=value, headers=headers)], b"meta")
        )

    (letter,) = book.letters()
    assert (letter.key is None, letter.value is None) == (True, True)
    assert letter.headers == (
        *OURS,
        ("onhand-size", b"%d" % len(key + value)),
        ("onhand-sha256", hashlib.sha256(key + value).hexdigest().encode()),
    )


@pytest.mark.parametrize("size", [2**20, 2 * 2**20 - 70_000])
async def test_big_refused_records_that_do_not_compress_stop_nothing(book: Book, size: int) -> None:
    # max.message.bytes is a limit of batches: five of these in one would pass it.
    letters = [a_letter(offset, value=os.urandom(size)) for offset in range(5)]
    async with book.writer() as writer:
        await writer.commit(Sealed({b"a\x001": b"1"}, [], letters, b"meta"))

    written = [_digest(letter.value) for letter in book.letters()]
    assert written == [_digest(letter.value) for letter in letters]
    assert len(book.rows()) == 2


async def test_small_refused_records_share_a_batch(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    commit = TransactionalProducer.commit

    async def noted(
        producer: TransactionalProducer, batches: Sequence[RecordBatch], *more: Any
    ) -> Sequence[int]:
        sizes.extend(batch.size for batch in batches)
        return await commit(producer, batches, *more)

    monkeypatch.setattr(TransactionalProducer, "commit", noted)
    letters = [a_letter(offset, value=os.urandom(100)) for offset in range(3000)]
    async with book.writer() as writer:
        await writer.commit(Sealed({}, [], letters, b"meta"))

    assert len(book.letters()) == 3000
    assert sizes == [3000, 1]


# ---- who may write


async def test_a_newer_writer_makes_the_broker_refuse_the_older_one(book: Book) -> None:
    async with book.writer() as older:
        await older.commit(Sealed({b"a\x001": b"1"}, [], [], b"first"))
        async with book.writer() as newer:
            with pytest.raises(CommitRefused, match="fenced"):
                await older.commit(Sealed({b"a\x001": b"2"}, [b"b\x001"], [a_letter()], b"zombie"))
            await newer.commit(Sealed({b"a\x001": b"3"}, [], [], b"second"))
            with pytest.raises(CommitRefused):
                await older.commit(Sealed({b"a\x001": b"4"}, [], [], b"zombie"))

    assert book.rows() == [
        (b"a\x001", b"1"), (META_KEY, b"first"), (b"a\x001", b"3"), (META_KEY, b"second"),
    ]  # fmt: skip
    assert book.letters() == []


async def test_what_the_broker_refuses_for_its_size_is_refused_and_so_is_all_that_follows(
    narrow_book: Book,
) -> None:
    async with narrow_book.writer() as writer:
        with pytest.raises(CommitRefused, match="message size too large"):
            await writer.commit(Sealed({b"a\x001": os.urandom(2000)}, [], [], b"meta"))
        with pytest.raises(CommitRefused):
            await writer.commit(Sealed({b"a\x001": b"1"}, [], [], b"meta"))
    async with narrow_book.writer() as writer:
        await writer.commit(Sealed({b"a\x001": b"2"}, [], [], b"next"))

    assert narrow_book.rows() == [(b"a\x001", b"2"), (META_KEY, b"next")]


async def test_opening_ends_what_the_last_writer_left_open(book: Book) -> None:
    dead = Writer(book.kafka, book.transactional_id)
    dead.begin()
    dead.write(book.changelog, [Put(b"a\x001", b"half")], PARTITION)
    assert book.end() == 0  # readers wait for it

    async with book.writer() as writer:
        assert book.end() == 2  # the record and the marker that says it never was
        await writer.commit(Sealed({b"a\x001": b"1"}, [], [], b"meta"))

    assert book.rows() == [(b"a\x001", b"1"), (META_KEY, b"meta")]


async def test_writers_of_other_partitions_are_not_touched(book: Book) -> None:
    other = Book(book.kafka)
    async with book.writer() as writer, other.writer():
        await writer.commit(Sealed({b"a\x001": b"1"}, [], [], b"meta"))

    assert len(book.rows()) == 2


# ---- a broker that does not answer


async def test_a_commit_waits_for_a_broker_that_does_not_answer(own_kafka: Kafka) -> None:
    book = Book(own_kafka.bootstrap)
    async with book.writer() as writer:
        await writer.commit(Sealed({}, [], [], b"first"))
        own_kafka.pause()
        try:
            commit = asyncio.create_task(writer.commit(Sealed({b"a\x001": b"1"}, [], [], b"meta")))
            await asyncio.wait([commit], timeout=1.5)
            assert not commit.done()
        finally:
            own_kafka.resume()
        offset = await asyncio.wait_for(commit, 60)

    assert offset == book.records()[-1].offset
    assert book.rows() == [(META_KEY, b"first"), (b"a\x001", b"1"), (META_KEY, b"meta")]


async def test_a_commit_can_be_given_up_while_the_broker_does_not_answer(own_kafka: Kafka) -> None:
    book = Book(own_kafka.bootstrap)
    before = asyncio.all_tasks()
    async with book.writer() as writer:
        await writer.commit(Sealed({}, [], [], b"first"))
        own_kafka.pause()
        try:
            commit = asyncio.create_task(writer.commit(Sealed({b"a\x001": b"1"}, [], [], b"meta")))
            await asyncio.wait([commit], timeout=0.5)
            commit.cancel()
            await asyncio.wait([commit], timeout=30)
            assert commit.done()
        finally:
            own_kafka.resume()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    await asyncio.wait([commit, *left], timeout=30)

    # Nothing goes on in its name.
    assert not [task for task in left if not task.done()]


# ---- whose clock


@pytest.mark.parametrize("hours", [2, -1, -24 * 31])
@pytest.mark.parametrize("kind", ["CreateTime", "LogAppendTime"])
async def test_what_is_committed_has_the_brokers_time_and_none_of_a_wrong_clock(
    kafka: Kafka, monkeypatch: pytest.MonkeyPatch, hours: int, kind: str
) -> None:
    # A broker refuses what is dated more than an hour ahead, and deletes old dead letters.
    by = {"message.timestamp.type": kind}
    changelog = make(kafka.bootstrap, config={"cleanup.policy": "compact", **by})
    dead_letters = make(kafka.bootstrap, config=by)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + hours * 3600)
    config = a_config(
        kafka.bootstrap,
        changelog=changelog,
        dead_letters=dead_letters,
        transactional_id=lambda partition: a_name(),
    )
    async with a_writer(config) as writer:
        await writer.commit(Sealed({b"a\x001": b"1"}, [], [a_letter()], b"meta"))
    monkeypatch.undo()

    for topic in (changelog, dead_letters):
        times = [record.timestamp_ms for record in reader(kafka.bootstrap).settled(topic)]
        assert times
        if kind == "LogAppendTime":
            assert all(abs(each / 1000 - now) < 600 for each in times)
        else:
            assert set(times) == {-1}  # Kafka's word for none: it goes by its own clock then
