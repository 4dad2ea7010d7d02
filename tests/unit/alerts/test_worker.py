"""When a worker begins to tell a partition, and when it ends: by owner, version and position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from agents.alerts import alerts as module
from agents.alerts.alerts import Alerts, AlertsConfig, OwnedRows
from agents.alerts.ports import NotOurs
from agents.alerts.teller import Telling
from agents.alerts.told import DeliveryState
from core.versions import Versions
from dev.workers import until
from domain.alerts import AlertRules
from domain.rows import Row, row_key
from tables.ports import NotAMember
from tests.support.inside.telling import LOW, Desk, Key, Topic

KEY = ("A", "shop")


class Table:
    """Partition 0 of a table, as alerts look at it."""

    def __init__(self) -> None:
        self.held: dict[int, None] = {0: None}
        self.token: str | None = "one"
        self.listeners: list[Callable[[], None]] = []
        self.watchers: list[Callable[[int, Iterable[bytes]], None]] = []
        self.rows: dict[Key, int] = {KEY: 3}
        self.ends, self.counted = {"sales": 5}, 5
        self.asked: list[Mapping[str, int]] = []

    def ownership(self, partition: int) -> str | None:
        return self.token

    def countable(self, partition: int) -> dict[str, int]:
        return dict(self.ends)

    async def reached(self, partition: int, last: Mapping[str, int], timeout_s: float) -> bool:
        self.asked.append(last)
        await asyncio.sleep(0)
        return all(self.counted > at for at in last.values())

    def get_many(self, partition: int, keys: Sequence[Key]) -> list[Row | None]:
        return [Row(adjusted=self.rows[key]) for key in keys]

    def scan(self, partition: int, after: Key | None, limit: int) -> list[tuple[str, str, Row]]:
        return [(*key, Row(adjusted=n)) for key, n in self.rows.items() if not after or key > after]

    def commit(self, on_hand: int) -> None:
        self.rows[KEY] = on_hand
        for tell in self.watchers:
            tell(0, [row_key(*KEY)])

    def changes(self, token: str | None) -> None:
        self.token = token
        for tell in self.listeners:
            tell()


class Home(Topic):
    """The topic, with what a worker asks of it besides."""

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def written_elsewhere(self, partitions: Collection[int]) -> set[int]:
        return set()


class Receiver(Desk):
    """The desk, which a worker closes."""

    async def stop(self) -> None:
        pass


class Group:
    """What the coordinator says of this worker."""

    is_member = True

    async def confirm(self) -> None:
        if not self.is_member:
            raise NotAMember


class Shop:
    """A worker of version 1, while the record says that `active` is active."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.table, self.home, self.desk, self.group = Table(), Home(), Receiver(), Group()
        self.heard = self.active = 1

        async def read_control(kafka: Any, topic: str) -> Any:
            class History:
                last = Versions(epoch=1, change=cast(Any, "begin"), active=self.active, versions={})

            return History

        patch.setattr(module, "read_control", read_control)
        telling = Telling(AlertRules([LOW]), self.desk, self.home, 1)
        self.alerts = Alerts(
            AlertsConfig({}, "control"), cast(Any, self.table), cast(Any, self.group),
            lambda: self.heard == 1, telling, cast(Any, self.home), cast(Any, self.desk),
        )  # fmt: skip

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        await self.alerts.start()
        try:
            yield
        finally:
            await self.alerts.stop()

    async def sent(self, count: int) -> None:
        async def so() -> bool:
            return [told.state for told in self.home.committed].count(DeliveryState.SENT) == count

        await until(so, f"{count} sent", 60)

    async def began(self) -> None:
        """Wait until the right to tell was taken, once or again."""

        async def so() -> bool:
            return self.home.epoch > 0

        await until(so, "the right to tell is taken", 60)


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Shop:
    return Shop(monkeypatch)


async def test_what_is_owned_is_told_and_told_no_more_when_it_is_not(shop: Shop) -> None:
    async with shop.open():
        await shop.sent(1)
        shop.table.commit(20)
        await shop.sent(2)
        shop.table.changes(None)
        shop.table.commit(3)
        shop.table.changes("two")
        await shop.sent(3)

    assert len(set(shop.desk.ids)) == len(shop.desk.ids) == 3
    assert shop.home.epoch == 2  # one right to tell for each ownership


async def test_a_version_tells_from_when_it_hears_that_it_is_active(shop: Shop) -> None:
    shop.heard = shop.active = 2
    async with shop.open():
        for _ in range(50):
            await asyncio.sleep(0)
        assert shop.home.epoch == 0  # it does not even ask for the right
        shop.heard = shop.active = 1
        shop.alerts.changed()
        await shop.sent(1)


async def test_a_version_that_has_not_heard_of_a_promotion_tells_nothing(shop: Shop) -> None:
    shop.active = 2
    async with shop.open():
        await shop.began()
        assert shop.desk.posts == []

    assert shop.home.committed == []


@pytest.mark.parametrize("cause", ["version", "group", "table"])
async def test_each_of_three_may_say_that_a_worker_is_not_to_tell(shop: Shop, cause: str) -> None:
    rows = OwnedRows(shop.alerts, 0, "one")
    await rows.confirm()

    if cause == "version":
        shop.active = 2
    elif cause == "group":
        shop.group.is_member = False
    else:
        shop.table.token = "two"

    with pytest.raises(NotOurs):
        await rows.confirm()


async def test_it_waits_for_what_was_there_and_not_for_what_comes_later(shop: Shop) -> None:
    shop.table.counted = 3
    waiting = asyncio.create_task(OwnedRows(shop.alerts, 0, "one").caught_up())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()

    shop.table.ends = {"sales": 900}
    shop.table.counted = 5
    await asyncio.wait_for(waiting, 60)

    assert {tuple(last.items()) for last in shop.table.asked} == {(("sales", 4),)}


async def test_it_does_not_wait_for_what_somebody_else_holds_up(shop: Shop) -> None:
    shop.table.counted = 3
    waiting = asyncio.create_task(OwnedRows(shop.alerts, 0, "one").caught_up())
    await asyncio.sleep(0)

    shop.table.ends = {"sales": 3}

    await asyncio.wait_for(waiting, 60)


async def test_who_loses_the_partition_while_it_waits_tells_nothing(shop: Shop) -> None:
    shop.table.counted = 3
    waiting = asyncio.create_task(OwnedRows(shop.alerts, 0, "one").caught_up())
    await asyncio.sleep(0)
    shop.table.token = None

    with pytest.raises(NotOurs):
        await asyncio.wait_for(waiting, 60)
