"""An InventoryTable on a real Kafka, with a transport and a coordinator in the test's hand."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from core.partitioning import partition_for
from core.records import Record
from core.stages import Stage
from dev.workers import until
from domain.events import StockEvent
from domain.rows import Row, row_key
from domain.rules.held import CURRENT
from domain.stock import STOCK
from tables.config import TableConfig
from tables.decoder import Batch, Decoder
from tables.home.changelog import ChangelogWriter, Meta
from tables.home.memory import MemoryStores
from tables.home.sources import fingerprint
from tables.home.store import Stores
from tables.keys import META_KEY
from tables.partition import Partition
from tables.ports import Sealed
from tables.stock import InventoryTable
from tests.support.inputs.builders import a_receipt
from tests.support.inside.delivered import WAIT_S, FakeDelivery, FakeMembership
from tests.support.topics.fetching import as_sent
from tests.support.topics.logs import (
    TIMEOUT_S,
    Put,
    Writer,
    a_name,
    cut,
    make,
    make_all,
    plain_writer,
    reader,
    remove,
    topic_id,
)
from wire.fetch import Fetched
from wire.transactions import Brokers

WINDOW = 1000
COMPACT = {"cleanup.policy": "compact", "max.message.bytes": str(8 * 2**20)}
DEAD_LETTERS = {"max.message.bytes": str(2 * 2**20)}
ROLES = ("shipments", "sales", "adjustments")


def a_config(kafka: str, **changes: Any) -> TableConfig:
    """Of a table of stock without topics."""
    settings: dict[str, Any] = {
        "projection": STOCK,
        "kafka": {"bootstrap_servers": kafka},
        "topics": {},
        "partitions": 1,
        "window": WINDOW,
        "commit_interval_s": 0.01,
        "session_timeout_s": 10.0,
        "url": "http://me",
    }
    return TableConfig(**settings | changes)


class Shop:
    """Topics of one deployment, and what lies on them."""

    def __init__(
        self, kafka: str, partitions: int = 1, changelog: Mapping[str, str] = COMPACT
    ) -> None:
        self.kafka, self.partitions = kafka, partitions
        self.name = a_name()
        self.topics = {f"{self.name}.{role}": role for role in ROLES}
        self.shipments, self.sales, _ = self.topics
        self.changelog, self.dead_letters = f"{self.name}-log", f"{self.name}-dlq"
        sources: dict[str, dict[str, str]] = {topic: {} for topic in self.topics}
        ours = {self.changelog: dict(changelog), self.dead_letters: DEAD_LETTERS}
        make_all(kafka, sources | ours, partitions)
        self._writer = plain_writer(kafka)
        self._reader = reader(kafka)
        self._decoder = Decoder("domain.stock:STOCK", self.topics, partitions)

    def transactional_id(self, partition: int) -> str:
        return f"{self.name}-{partition}"

    def config(self) -> TableConfig:
        return a_config(
            self.kafka,
            topics=self.topics,
            changelog=self.changelog,
            dead_letters=self.dead_letters,
            transactional_id=self.transactional_id,
            partitions=self.partitions,
        )

    def append(
        self, events: Iterable[StockEvent | bytes], topic: str = "", partition: int = 0
    ) -> None:
        """Facts, or what is meant to be one, in one record batch."""
        encoded = [e if isinstance(e, bytes) else msgspec.json.encode(e) for e in events]
        keys = [b"SKU" if isinstance(e, bytes) else e.data.sku.encode() for e in events]
        records = [Put(key, value) for key, value in zip(keys, encoded, strict=True)]
        self._writer.write(topic or self.shipments, records, partition)

    def recreate(self, topic: str, events: Sequence[StockEvent] = ()) -> None:
        """The same name, another topic."""
        remove(self.kafka, topic)
        make(self.kafka, topic, self.partitions, COMPACT if topic == self.changelog else None)
        self._writer = Writer(self.kafka)
        if events:
            self.append(events, topic)

    def restore_copy(self, topic: str, leave_out: int, then: Sequence[StockEvent]) -> None:
        """Delete a topic, and bring its partition 0 back with the same times but for one record."""
        kept = [r for r in self._reader.settled(topic) if r.offset != leave_out]
        remove(self.kafka, topic)
        make(self.kafka, topic, self.partitions)
        self._writer = Writer(self.kafka)
        records = [Put(r.key, r.value, r.headers, r.timestamp_ms) for r in kept]
        self._writer.write(topic, records)
        self.append(then, topic)

    def cut(self, topic: str, before: int) -> None:
        cut(self.kafka, topic, before)

    async def fence(self, partition: int = 0) -> None:
        """As another worker would: from here on every older writer is refused."""
        async with self.writer(partition):
            pass

    @asynccontextmanager
    async def writer(self, partition: int = 0) -> AsyncIterator[ChangelogWriter]:
        """Another worker's."""
        async with a_writer(self.config(), partition) as writer:
            yield writer

    def batch(
        self,
        positions: dict[str, int],
        epoch: int,
        topic: str,
        partition: int = 0,
        more: bool = False,
    ) -> Batch:
        """What lies on the topic from a position to its end, as it would be fetched."""
        start = positions.get(topic, 0)
        end = self.end(topic, partition)
        records: list[Record] = [
            (r.offset, r.timestamp_ms, r.key, r.value, r.headers)
            for r in self._reader.records(topic, partition, start)
            if start <= r.offset < end
        ]
        part = Fetched(as_sent(records), start, max(end, start))
        return self._decoder.batch(topic, partition, part, epoch, more)

    def nothing(self, partition: int, next_offset: int, epoch: int) -> Batch:
        """A fetch of shipments that brought markers alone, from the beginning on."""
        part = Fetched(b"", 0, next_offset)
        return self._decoder.batch(self.shipments, partition, part, epoch)

    def end(self, topic: str, partition: int = 0) -> int:
        """For committed readers."""
        return self._reader.end(topic, partition)

    def committed_rows(self, partition: int = 0) -> dict[str, Any]:
        """By another client, from the changelog alone: rows by `sku/location`."""
        rows: dict[bytes, bytes | None] = {}
        for record in self._reader.settled(self.changelog, partition):
            if record.key and record.key[:1] != b"\x00":
                rows[record.key] = record.value
        return {
            key.decode().replace("\x00", "/"): msgspec.json.decode(value)
            for key, value in rows.items()
            if value is not None
        }

    def metas(self, partition: int = 0, markers_s: float = TIMEOUT_S) -> list[Meta]:
        """Every meta record in the changelog, in order; see `Reader.settled`."""
        return [
            msgspec.json.decode(record.value or b"", type=Meta)
            for record in self._reader.settled(self.changelog, partition, markers_s)
            if record.key == META_KEY
        ]


def a_delivery_of(count: int, first: int = 0, quantity: int = 1) -> list[StockEvent]:
    """Facts of as many rows: `SKU-0000/here` and on."""
    return [
        a_receipt(id=f"{n}", sku=f"SKU-{n:04}", location="here", quantity=quantity)
        for n in range(first, first + count)
    ]


def skus_of(partition: int, partitions: int, count: int) -> list[str]:
    """SKUs that live there."""
    names = (f"SKU-{n:04}" for n in range(10_000))
    mine = (name for name in names if partition_for(name.encode(), partitions) == partition)
    return [next(mine) for _ in range(count)]


def stocked(kafka: str, partitions: int) -> Shop:
    """Two deliveries on each partition."""
    shop = Shop(kafka, partitions)
    for partition in range(partitions):
        shop.append(
            [a_receipt(id=sku, sku=sku) for sku in skus_of(partition, partitions, 2)],
            partition=partition,
        )
    return shop


class Worker:
    """One worker's table."""

    def __init__(self, shop: Shop, stores: Stores | None = None, **changes: Any) -> None:
        self.shop = shop
        self.membership, self.delivery = FakeMembership(), FakeDelivery()
        self.failed: list[str] = []
        #: Partitions that another worker says it owns.
        self.owned_elsewhere: set[int] = set()
        config = msgspec.structs.replace(shop.config(), **changes)
        self.table = InventoryTable(
            config,
            stores or MemoryStores(),
            self.membership,
            self.delivery,
            self._fail,
            lambda partition: partition in self.owned_elsewhere,
        )

    async def _fail(self, sentence: str, error: BaseException | None) -> None:
        self.failed.append(sentence)

    async def has_failed(self) -> None:
        """Wait until the table has ended the worker."""

        async def failed() -> bool:
            return bool(self.failed)

        await until(failed, "failed", WAIT_S)

    def partition(self, number: int = 0) -> Partition:
        return self.table.held[number]

    def state(self, number: int = 0) -> Stage | None:
        partition = self.table.held.get(number)
        return None if partition is None else partition.state

    async def is_(self, state: Stage | None, number: int = 0) -> None:
        """Wait for a state."""

        async def there() -> bool:
            return self.state(number) is state and not self.failed

        await until(there, f"{state}, but {self.state(number)} {self.failed}", WAIT_S, 0.005)

    async def active(self, number: int = 0) -> None:
        """Wait until the partition is delivered under its newest assignment."""

        async def delivering() -> bool:
            started = self.delivery.started.get(number)
            return started is not None and started[1] == self.partition(number).epoch

        await self.is_(Stage.ACTIVE, number)
        await until(delivering, "delivering", WAIT_S, 0.005)

    async def own(self, *partitions: int) -> None:
        """Be assigned them, and take them over."""
        await self.table.assign(partitions, ())
        for number in partitions:
            await self.active(number)

    async def rebalance(self, actives: Iterable[int], standbys: Iterable[int] = ()) -> None:
        """As Faust does it."""
        await self.table.revoke()
        await self.table.assign(actives, standbys)

    async def deliver(self, topic: str = "", number: int = 0, more: bool = False) -> None:
        """Hand over what lies on a topic from where delivery was started."""
        topic = topic or self.shop.shipments
        positions, epoch = self.delivery.started[number]
        await self.table.fold(self.shop.batch(positions, epoch, topic, number, more))

    async def catch_up(self, topic: str = "", number: int = 0) -> None:
        """As the transport does: deliver again after every take-over, until all is committed."""
        topic = topic or self.shop.shipments
        end = self.shop.end(topic, number)
        delivered = 0

        async def caught_up() -> bool:
            nonlocal delivered
            _, epoch = self.delivery.started.get(number, ({}, delivered))
            if epoch != delivered and self.state(number) is Stage.ACTIVE:
                delivered = epoch
                await self.deliver(topic, number)
            return await self.table.reached(number, {topic: end - 1}, 0.05)

        await until(caught_up, f"caught up; {self.failed}", WAIT_S, 0)

    async def committed(self, topic: str = "", number: int = 0) -> None:
        """Wait until all that lies on a topic is in committed rows."""
        topic = topic or self.shop.shipments
        end = self.shop.end(topic, number)
        assert await self.table.reached(number, {topic: end - 1}, WAIT_S), self.failed

    def rows(self, number: int = 0) -> dict[str, int]:
        """What readers see: stock by `sku/location`."""
        assert self.table.freshness(number) is not None
        found = self.table.scan(number, None, 100_000)
        return {f"{sku}/{location}": row.on_hand for sku, location, row in found}


@asynccontextmanager
async def a_worker(
    shop: Shop, stores: Stores | None = None, **changes: Any
) -> AsyncIterator[Worker]:
    """A table that is started, and stopped at the end of the block.

    Args:
        changes: of its TableConfig.
    """
    worker = Worker(shop, stores, **changes)
    await worker.table.start()
    try:
        yield worker
    finally:
        await worker.table.stop()


@asynccontextmanager
async def a_writer(config: TableConfig, partition: int = 0) -> AsyncIterator[ChangelogWriter]:
    """A writer over connections of its own."""
    brokers = Brokers(config.kafka, config.written)
    await brokers.start()
    try:
        yield await ChangelogWriter.open(brokers, config, partition)
    finally:
        await brokers.stop()


async def with_history(shop: Shop, broken: Mapping[bytes, bytes] | None = None) -> None:
    """Three facts, and what an owner committed of them: so that no step has nothing to do.

    broken: what stands in the place of some rows.
    """
    shop.append(a_delivery_of(3))
    row = Row(received=1, events=1, checksum=1, updated_at=1)
    rows = {row_key(f"SKU-{n:04}", "here"): msgspec.json.encode(row) for n in range(3)}
    rows |= broken or {}
    [first, *_] = shop.batch({}, 0, shop.shipments).originals()
    meta = Meta(
        positions={shop.shipments: 3, shop.sales: 0},
        fingerprints={shop.shipments: fingerprint(first)},
        counts={shop.shipments: (3, 0, 0)},
        window=WINDOW,
        rules=CURRENT.number,
        incarnation=topic_id(shop.kafka, shop.changelog),
    )
    async with shop.writer() as writer:
        await writer.commit(Sealed(rows, [], [], msgspec.json.encode(meta)))
