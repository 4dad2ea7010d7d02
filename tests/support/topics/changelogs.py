"""A changelog written by another client, a follower of it, and stores to look into."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager

import msgspec

from core.stages import Role
from tables.home.changelog import ChangelogChanged, Meta
from tables.home.feed import Feed
from tables.home.follower import Follower
from tables.home.store import Store, StoreUnfit, row_pairs
from tables.keys import META_KEY
from tables.ports import Restored
from tables.stats import Stats
from tests.support.topics.logs import Put, Writer, a_name, make, reader, remove, topic_id
from wire.transactions import Brokers

WAIT_S = 60.0
COMPACT = {"cleanup.policy": "compact", "max.message.bytes": str(8 * 2**20)}
#: More than one fetch takes of a partition, in bytes that do not compress.
HALF_A_FETCH = 1_200_000

Rows = Mapping[str, str | None]


def a_meta(position: int, incarnation: str, previous: int = -1) -> bytes:
    return msgspec.json.encode(
        Meta(
            positions={"sales": position}, fingerprints={}, counts={}, window=10, rules=1,
            incarnation=incarnation, previous=previous,
        )
    )  # fmt: skip


def puts(rows: Rows) -> list[Put]:
    return [Put(key.encode(), None if row is None else row.encode()) for key, row in rows.items()]


class Changelog:
    """A changelog of a test's own, and the newest writer of each of its partitions."""

    def __init__(
        self, kafka: str, partitions: int = 1, config: Mapping[str, str] = COMPACT
    ) -> None:
        self.kafka, self.partitions, self.config = kafka, partitions, dict(config)
        self.topic = make(kafka, a_name(), partitions, config)
        self._writer = self._new_writer()
        self.id = topic_id(kafka, self.topic)
        #: Of the newest meta record of each partition.
        self._metas: dict[int, int] = {}

    def _new_writer(self) -> Writer:
        return Writer(self.kafka, a_name(), message_max_bytes=2**22, batch_size=2**22)

    def commit(self, rows: Rows, position: int, incarnation: str = "", partition: int = 0) -> None:
        """One group commit: rows (None deletes), then the meta record."""
        self.commit_in_batches([rows], position, incarnation, partition)

    def commit_in_batches(
        self, batches: Iterable[Rows], position: int, incarnation: str = "", partition: int = 0
    ) -> None:
        """One group commit of several record batches; the meta record is in the last."""
        self._writer.begin()
        for rows in batches:
            self._writer.write(self.topic, puts(rows), partition)
        meta = a_meta(position, incarnation or self.id, self._metas.get(partition, -1))
        self._writer.write(self.topic, [Put(META_KEY, meta)], partition)
        self._writer.commit()
        self._writer.settle(self.topic, partition)
        self._metas[partition] = self.end(partition) - 2

    def abort(self, rows: Rows, position: int) -> None:
        """What a writer leaves behind that is fenced before its commit."""
        records = [*puts(rows), Put(META_KEY, a_meta(position, self.id))]
        self._writer.aborted(self.topic, records)
        self._writer.settle(self.topic)

    def recreate(self) -> None:
        """Delete it and create it again, empty."""
        remove(self.kafka, self.topic)
        make(self.kafka, self.topic, self.partitions, self.config)
        self._writer, self.id, self._metas = (
            self._new_writer(),
            topic_id(self.kafka, self.topic),
            {},
        )

    def forget_metas(self) -> None:
        """What is committed next says that it is the first."""
        self._metas.clear()

    def end(self, partition: int = 0) -> int:
        return reader(self.kafka).end(self.topic, partition)


class Rig:
    """A follower; what it told while it followed."""

    def __init__(self, changelog: Changelog) -> None:
        self.changelog = changelog
        self.failed: list[str] = []
        #: Why stores could not be gone on with.
        self.unfit: list[StoreUnfit | ChangelogChanged] = []
        self.stats = Stats()
        self.brokers = Brokers({"bootstrap_servers": changelog.kafka}, [changelog.topic])
        self.after_each: Callable[[Feed], None] = lambda feed: None
        self.follower = Follower(
            {"bootstrap_servers": changelog.kafka},
            changelog.topic,
            changelog.partitions,
            50,
            self.stats,
            lambda feed: self.after_each(feed),
            self._on_unfit,
            self.brokers.topics,
            self._fail,
        )

    def _on_unfit(self, feed: Feed, why: StoreUnfit | ChangelogChanged) -> None:
        self.unfit.append(why)

    async def _fail(self, sentence: str, error: BaseException | None) -> None:
        self.failed.append(sentence)

    async def add(self, store: Store, partition: int = 0, *, readable: bool = False) -> Feed:
        """Feed a store up to where the changelog ends now, and on."""
        return self.follower.add(
            partition, store, readable, await self.follower.look(partition), Role.ACTIVE
        )

    async def restore(
        self, store: Store, partition: int = 0, *, readable: bool = False
    ) -> Restored:
        """Feed a store up to where the changelog ends now; raises StoreUnfit."""
        feed = await self.add(store, partition, readable=readable)
        await asyncio.wait([feed.caught_up], timeout=WAIT_S)
        if feed.caught_up.cancelled():
            raise self.unfit[-1]
        restored = feed.caught_up.result()
        self.follower.remove(feed)
        return restored


@asynccontextmanager
async def following(changelog: Changelog) -> AsyncIterator[Rig]:
    rig = Rig(changelog)
    await rig.brokers.start()
    await rig.follower.start()
    try:
        yield rig
    finally:
        await rig.follower.stop()
        await rig.brokers.stop()


def rows_of(store: Store) -> dict[str, str]:
    return {key.decode(): row.decode() for key, row in row_pairs(store)}


def position_of(store: Store) -> int | None:
    raw = store.get(META_KEY)
    return None if raw is None else msgspec.json.decode(raw, type=Meta).positions["sales"]


def blobs(value: str) -> list[dict[str, str | None]]:
    """Three batches of the same rows' worth; together more than one fetch brings."""
    noise = os.urandom(HALF_A_FETCH).hex()[:HALF_A_FETCH]
    return [{f"{n}": value, f"\x00noise{n}": noise} for n in range(3)]
