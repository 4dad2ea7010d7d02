"""Small stand-ins for what the web talks to."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from core.stages import Freshness, Role, Stage
from domain.rows import Row, encode_row, row_key
from tables.home.feed import Progress
from tables.reading import PartitionStatus
from tables.stats import Stats
from tables.stock import StockReading
from tests.support.inside.shelf import Confirmed
from web.writes.loads import LoadAnswer, LoadAsked, LoadEnd, LoadQuestions

URL = "http://10.0.0.7:6066"
T = TypeVar("T")


def a_status(
    partition: int,
    state: Stage = Stage.ACTIVE,
    role: Role | None = Role.ACTIVE,
    restore: Progress | None = None,
    stopped_because: str | None = None,
    standby_lag_records: int | None = None,
) -> PartitionStatus:
    return PartitionStatus(
        partition=partition,
        state=state,
        role=role,
        epoch=1,
        position=f"sales-{partition}@9",
        offsets={"sales": 10},
        lags={"sales": 4, "shipments": 1},
        lag_events=5,
        as_of_ms=1795428000180,
        standby_lag_records=standby_lag_records,
        restore=restore,
        stopped_because=stopped_because,
    )


class FakeLoader:
    """Answers what it is told to; meanwhile, while `held`, it is busy with the document."""

    def __init__(self) -> None:
        self.asked: list[LoadAsked] = []
        self.answer = LoadAnswer(end=LoadEnd.UNFINISHED, detail="Nobody loads here.")
        self.held = asyncio.Event()
        self.held.set()
        self.began = asyncio.Condition()

    async def load(self, asked: LoadAsked, questions: LoadQuestions) -> LoadAnswer:
        async with self.began:
            self.asked.append(asked)
            self.began.notify_all()
        await self.held.wait()
        return self.answer

    async def begun(self, count: int) -> None:
        """Wait until so many were given to it."""
        async with asyncio.timeout(30), self.began:
            await self.began.wait_for(lambda: len(self.asked) >= count)

    async def stop(self) -> None:
        self.held.set()


class FakeTable(StockReading):
    """A table in memory that owns all of its partitions until told otherwise."""

    def __init__(self, count: int = 4) -> None:
        super().__init__(count, URL, Confirmed(), 5.0)
        self.stats = Stats()
        self.rows: dict[tuple[str, str], Row] = {}
        self.statuses = [a_status(partition) for partition in range(count)]

    def freshness(self, partition: int) -> Freshness | None:
        held = next((s for s in self.statuses if s.partition == partition), None)
        if held is None or held.role is None:
            return None
        return Freshness(held.role, URL, partition, held.position, held.lag_events, held.as_of_ms)

    def get(self, partition: int, sku: str, location: str) -> Row | None:
        assert partition == self.partition_of(sku)
        return self.rows.get((sku, location))

    def get_many(self, partition: int, keys: Sequence[tuple[str, str]]) -> list[Row | None]:
        return [self.get(partition, *key) for key in keys]

    def rows_of(
        self, partition: int, sku: str, after: str | None = None, limit: int = 500
    ) -> list[tuple[str, Row]]:
        found = self.scan(partition, None if after is None else (sku, after), limit, sku)
        return [(location, row) for name, location, row in found if name == sku]

    def scan(
        self,
        partition: int,
        after: tuple[str, str] | None = None,
        limit: int = 500,
        sku_prefix: str = "",
    ) -> list[tuple[str, str, Row]]:
        return [
            (*key, row)
            for key, row in sorted(self.rows.items())
            if self.partition_of(key[0]) == partition
            and key[0].startswith(sku_prefix)
            and (after is None or key > after)
        ][:limit]

    def between(
        self,
        partition: int,
        start: bytes,
        stop: bytes | None,
        limit: int,
        decode: Callable[[bytes, bytes], T],
    ) -> list[T]:
        rows = sorted(
            (row_key(*key), row)
            for key, row in self.rows.items()
            if self.partition_of(key[0]) == partition
        )
        found = [(key, row) for key, row in rows if start <= key and (stop is None or key < stop)]
        return [decode(key, encode_row(row)) for key, row in found[:limit]]

    async def reached(self, partition: int, offsets: Mapping[str, int], timeout_s: float) -> bool:
        held = next(s for s in self.statuses if s.partition == partition)
        return all(held.offsets.get(topic, 0) > offset for topic, offset in offsets.items())

    def status(self) -> list[PartitionStatus]:
        return self.statuses

    def oldest_unapplied_s(self) -> float:
        return 1.5

    def window_seconds(self) -> dict[str, float]:
        return {"sales": 86400.0}
