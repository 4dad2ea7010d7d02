"""The feed of rows over several workers: who owns what is set by hand, and sockets are real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest

from app import __version__
from app.channels.document import topics_document
from app.config import Settings
from core.stages import Role
from dev.workers import until
from domain.rows import Row, encode_row, row_key
from tables.changes.ring import RowGroup
from tables.home.changelog import Meta
from tables.home.store import Local
from tables.partition import Owned
from tests.ledgers.feeding import EVENTS, LIMITS, LINES, lines_of
from tests.support.inside.fleet import Fleet, Worker
from tests.support.inside.shelf import SALES, TOPICS
from tests.support.judges.asyncapi_check import TopicContract
from web.feed.asked import read_asked
from web.feed.following import Following
from web.feed.owners import RowPages
from web.feed.pages import FeedPages
from web.feed.rows import OwnRows

PARTITIONS = 4
Json = dict[str, Any]
#: One of each partition.
SKUS = ["SKU-0", "SKU-5", "SKU-21", "SKU-3"]


class Teller:
    """The feed of one worker, and what it owns."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.shelf = worker, worker.shelf
        own = OwnRows(self.shelf, 1)
        self.pages = RowPages(own, worker.roster, worker.queries.peers, TOPICS)

        async def here(request: aiohttp.web.Request) -> aiohttp.web.Response:
            return await self.pages.answer(request, read_asked(request))

        feed_pages = FeedPages(self.pages.ask, lambda: 1)
        self.feed = Following(feed_pages, here, lambda request: True, LIMITS)
        worker.routes += self.feed.routes()

    def own(self, partition: int, changelog: str = "first") -> None:
        """As behind a take-over; another changelog is that of a store that is made anew."""
        known = self.shelf.held.get(partition)
        if known and known.owned and known.owned.meta.incarnation != changelog:
            self.shelf.drop(partition)
        if partition not in self.shelf.held:
            self.shelf.hold([partition], Role.ACTIVE)
        empty: Any = {key: {} for key in ("positions", "fingerprints", "counts")}
        meta = Meta(**empty, window=1, rules=1, incarnation=changelog)
        nothing: Any = None
        self.shelf.held[partition].owned = Owned(nothing, nothing, meta, {})

    def commit(self, sku: str, received: int) -> None:
        """A group with one row, as step 3 and 4 of `GroupCommit._commit`."""
        p = self.shelf.held[self.shelf.partition_of(sku)]
        assert p.owned is not None
        offset = p.store.local.meta_offset + 3  # a row, the meta record, a marker
        puts = {row_key(sku, "store"): encode_row(Row(received=received, events=received))}
        behind = p.store.local.meta_offset + 1
        p.store.write(puts, (), Local(offset + 1, offset, p.owned.meta.incarnation))
        p.advance({SALES: p.offsets.get(SALES, 0) + 1})
        self.shelf._committed(p, RowGroup(puts, offset + 1, p.offsets, behind))

    async def close(self) -> None:
        self.feed.end()
        self.pages.end()
        await self.feed.close()
        await self.pages.close()


class Telling:
    """Workers that each own every n-th partition."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.tellers = [Teller(worker) for worker in fleet.workers]

    def begin(self) -> None:
        for partition in range(PARTITIONS):
            self.tellers[partition % len(self.tellers)].own(partition)
        self.fleet.tell()

    def owner_of(self, sku: str) -> Teller:
        partition = self.tellers[0].shelf.partition_of(sku)
        return next(t for t in self.tellers if partition in t.shelf.held)

    def commit(self, sku: str, received: int) -> None:
        self.owner_of(sku).commit(sku, received)

    def moves(self, sku: str) -> None:
        """The next worker takes the partition over, with all that was committed."""
        partition, before = self.tellers[0].shelf.partition_of(sku), self.owner_of(sku)
        after = self.tellers[(self.tellers.index(before) + 1) % len(self.tellers)]
        old = before.shelf.held.pop(partition)
        old.close()
        after.own(partition)
        new = after.shelf.held[partition]
        new.store.write(dict(old.store.scan(b"\x01", None, 99)), (), old.store.local)
        new.advance(old.offsets)
        self.fleet.tell()

    async def page(self, worker: int, status: int = 200, **query: str) -> Json:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        answer = await self.fleet.get(worker, f"/v1/changes?of=rows&{asked}")
        assert answer.status == status, answer.data
        return dict(answer.body)

    async def followed(
        self, worker: int, after: str, is_enough: Callable[[list[Json]], bool], **more: str
    ) -> list[Json]:
        url = f"{self.fleet[worker].url}/v1/changes"
        query = {"of": "rows", "after": after, **more}
        async with aiohttp.request("GET", url, params=query, headers=LINES) as answer:
            assert answer.status == 200, await answer.text()
            return await lines_of(answer, is_enough)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not make a worker of this process a lost one."""
    monkeypatch.setattr("web.feed.owners._ANSWER_S", 600.0)


@pytest.fixture
async def telling() -> AsyncIterator[Telling]:
    async with _telling(3) as telling:
        yield telling


@asynccontextmanager
async def _telling(size: int) -> AsyncIterator[Telling]:
    fleet = Fleet(size, PARTITIONS)
    telling = Telling(fleet)
    async with fleet:
        telling.begin()
        try:
            yield telling
        finally:
            for teller in telling.tellers:
                await teller.close()


def rows(told: list[Json]) -> dict[str, int]:
    return {one["data"]["sku"]: one["data"]["received"] for one in told if one["event"] == "row"}


def events(told: list[Json]) -> list[str]:
    return [one["event"] for one in told]


async def test_rows_of_all_owners_are_told_by_any_worker_as_they_are_read(
    telling: Telling,
) -> None:
    began = await telling.page(0, after="end")
    for number, sku in enumerate(SKUS, 1):
        telling.commit(sku, number)

    for worker in range(3):
        page = await telling.page(worker, after=began["after"])
        assert rows(page["changes"]) == dict(zip(SKUS, (1, 2, 3, 4), strict=True))
        assert events(page["changes"]) == ["row"] * 4
        assert (page["at_end"], page["missing_partitions"]) == (True, [])
        for change in page["changes"]:
            row = (await telling.fleet.row(worker, change["data"]["sku"], "store")).body
            fresh = row.pop("freshness")
            assert change["data"] == row | {k: fresh[k] for k in ("partition", "position")}
        assert (await telling.page(worker, after=page["after"]))["changes"] == []


async def test_a_filter_tells_its_rows_alone_and_its_position_moves_on_with_the_others(
    telling: Telling,
) -> None:
    began = await telling.page(0, after="end")
    for sku in SKUS:
        telling.commit(sku, 1)

    page = await telling.page(1, after=began["after"], sku_prefix="SKU-5")
    assert list(rows(page["changes"])) == ["SKU-5"]
    assert (await telling.page(1, after=page["after"]))["changes"] == []
    nowhere = await telling.page(1, after=began["after"], location="tore")
    assert nowhere["changes"] == []


async def test_pages_that_are_short_lose_no_row_and_say_that_there_is_more(
    telling: Telling,
) -> None:
    after = (await telling.page(0, after="end"))["after"]
    for number in range(40):
        telling.commit(f"SKU-{number}", number + 1)
    told: dict[str, int] = {}
    while True:
        page = await telling.page(2, after=after, limit="6")
        assert len(page["changes"]) <= 6
        told |= rows(page["changes"])
        after = page["after"]
        if page["at_end"]:
            break
    assert told == {f"SKU-{number}": number + 1 for number in range(40)}


async def test_a_partition_with_another_owner_is_reset_alone_and_nothing_is_missed_behind_it(
    telling: Telling,
) -> None:
    began = await telling.page(0, after="end")
    telling.commit("SKU-0", 1)
    telling.moves("SKU-0")
    telling.commit("SKU-5", 2)
    telling.commit("SKU-0", 3)

    page = await telling.page(0, after=began["after"])
    partition = telling.tellers[0].shelf.partition_of("SKU-0")
    reset, *others = page["changes"]
    assert reset["event"] == "reset"
    assert reset["data"] == {"partitions": [partition], "reason": "behind"}
    assert rows(others) == {"SKU-5": 2}

    telling.commit("SKU-0", 4)
    listed = await telling.fleet.get(1, f"/v1/inventory?min_position={reset['id']}")
    assert {row["sku"]: row["received"] for row in listed.body["items"]} == {
        "SKU-0": 4, "SKU-5": 2,
    }  # fmt: skip
    behind = await telling.page(1, after=reset["id"])
    assert rows(behind["changes"]) == {"SKU-0": 4, "SKU-5": 2}
    assert "reset" not in events(behind["changes"])


async def test_a_reader_who_had_all_of_an_owner_goes_on_at_the_next_one(telling: Telling) -> None:
    began = await telling.page(0, after="end")
    telling.commit("SKU-0", 1)
    page = await telling.page(0, after=began["after"])
    telling.moves("SKU-0")
    # The new owner keeps changes as soon as somebody asks.
    same = await telling.page(1, after=page["after"])
    assert same["changes"] == []
    telling.commit("SKU-0", 2)

    assert rows((await telling.page(2, after=same["after"]))["changes"]) == {"SKU-0": 2}


async def test_a_position_of_another_table_or_of_none_is_a_reset_of_all(telling: Telling) -> None:
    page = await telling.page(0, after="end")
    for partition in range(PARTITIONS):
        telling.tellers[partition % 3].own(partition, "made anew")
    for sku in SKUS:
        telling.commit(sku, 5)

    for after, reason in ((page["after"], "other-table"), ("", "behind")):
        (reset,) = (await telling.page(1, after=after))["changes"]
        assert reset["event"] == "reset"
        assert reset["data"] == {"partitions": [*range(PARTITIONS)], "reason": reason}
        telling.commit("SKU-5", 6)
        assert rows((await telling.page(2, after=reset["id"]))["changes"]) == {"SKU-5": 6}
        telling.commit("SKU-5", 5)


async def test_a_list_gives_a_position_to_go_on_from(telling: Telling) -> None:
    for sku in SKUS:
        telling.commit(sku, 1)
    await telling.page(0, after="end")
    listed = (await telling.fleet.get(0, "/v1/inventory")).body
    telling.commit("SKU-3", 2)

    page = await telling.page(2, after=listed["positions"])
    assert rows(page["changes"]) == {"SKU-3": 2}


async def test_partitions_without_an_owner_are_named_and_their_rows_told_later(
    telling: Telling,
) -> None:
    began = await telling.page(0, after="end")
    lost = telling.owner_of("SKU-0")
    partition = lost.shelf.partition_of("SKU-0")
    lost.shelf.held[partition].owned = None
    lost.shelf.drop(partition)
    telling.fleet.tell()
    problem = await telling.page(0, 503, after=began["after"])
    assert problem["type"] == "/problems/partitions-unavailable"
    assert problem["missing_partitions"] == [partition]

    telling.commit("SKU-5", 1)
    page = await telling.page(0, after=began["after"])
    assert (page["missing_partitions"], page["at_end"]) == ([partition], False)
    assert rows(page["changes"]) == {"SKU-5": 1}

    lost.own(partition)
    telling.fleet.tell()
    telling.commit("SKU-0", 2)
    page = await telling.page(0, after=page["after"])
    assert (rows(page["changes"]), events(page["changes"])) == ({"SKU-0": 2}, ["row"])


async def test_a_stream_tells_each_change_through_a_death_aloud(telling: Telling) -> None:
    """Worker 2 owns SKU-5's partition, dies, and the reader of worker 0 is told of all others."""
    victim = telling.owner_of("SKU-5")
    other = next(sku for sku in SKUS if telling.owner_of(sku) is not victim)
    worker = next(n for n in range(3) if telling.tellers[n] is not victim)
    told: list[Json] = []

    def is_enough(lines: list[Json]) -> bool:
        told[:] = lines
        return rows(lines).get(other) == 9

    following = asyncio.create_task(telling.followed(worker, "end", is_enough))
    try:
        await until(_has(told, "position"), "told: where it begins", 60)
        telling.commit("SKU-5", 7)
        await until(_has(told, "row"), "told: the row", 60)
        await victim.worker.die()
        await until(_has(told, "waiting"), "told: to wait", 60)
        telling.commit(other, 9)
        await following
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following

    assert rows(told) == {"SKU-5": 7, other: 9}
    waiting = next(one for one in told if one["event"] == "waiting")
    assert waiting["data"]["type"] == "/problems/partitions-unavailable"
    contract = TopicContract(topics_document(Settings(), __version__))
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in told)
    assert contract.told(raw, LINES["Accept"]) == [f"{event}Line" for event in events(told)]


def _has(told: list[Json], event: str) -> Callable[[], Awaitable[bool]]:
    async def has() -> bool:
        return event in events(told)

    return has


async def test_server_sent_rows_have_their_place_behind_them_and_come_back_by_it(
    telling: Telling,
) -> None:
    began = await telling.page(0, after="end")
    telling.commit("SKU-5", 1)
    url = f"{telling.fleet[0].url}/v1/changes"
    headers = EVENTS | {"Last-Event-ID": began["after"]}
    query = {"of": "rows", "after": "end"}
    async with aiohttp.request("GET", url, params=query, headers=headers) as answer:
        got = b""
        async with asyncio.timeout(30):
            while b"event: position" not in got or not got.endswith(b"\n\n"):
                got += await answer.content.readany()

    retry, row, position = got.decode().split("\n\n")[:3]
    assert retry == "retry: 1000"
    assert row.startswith('event: row\ndata: {"sku":"SKU-5"')
    assert position.startswith("id: ")
    told = (await telling.page(1, after=position.split("\n")[0].removeprefix("id: ")))["changes"]
    assert told == []


async def test_a_quick_owner_leaves_no_other_one_out(telling: Telling) -> None:
    """The question to a slow one goes on from page to page, and is not asked anew."""
    mine = next(sku for sku in SKUS if telling.owner_of(sku) is telling.tellers[0])
    slow = telling.tellers[1].worker
    after = (await telling.page(0, after="end"))["after"]
    asked = len(slow.seen)
    slow.freeze()
    for number in range(1, 4):
        telling.commit(mine, number)
        page = await telling.page(0, after=after, wait_ms="10000")
        assert rows(page["changes"]) == {mine: number}
        after = page["after"]

    assert [target for _, target, _ in slow.seen[asked:] if "/v1/changes" in target][1:] == []
    slow.wake()


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ({"type": "inventory.sale.completed.v1"}, "type"),
        ({"after": "gifts-0@1"}, "after"),
        ({"after": f"row-{PARTITIONS}@1"}, "after"),
        ({"of": "rose"}, "of"),
    ],
)
async def test_what_no_row_has_is_refused_by_name(
    telling: Telling, query: dict[str, str], wrong: str
) -> None:
    url = f"{telling.fleet[0].url}/v1/changes"
    async with aiohttp.request("GET", url, params={"of": "rows"} | query) as answer:
        assert answer.status == 400
        assert [fault["parameter"] for fault in (await answer.json())["errors"]] == [wrong]
