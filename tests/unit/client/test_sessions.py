"""A caller reads its own writes and never goes back in time, whoever answers."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp import web

from core.stages import Role
from onhand_client import AsyncClient, Line, NotCaughtUp, Unsure
from tests.support.inside.shelf import SALES
from tests.unit.client.serving import (
    Script,
    Shop,
    a_client,
    a_row,
    a_shop,
    serving,
)

LINE: Line = {"source": "till-1", "sku": "SKU-0003", "location": "store-1", "quantity": 1}


def floors(script: Script) -> list[str | None]:
    """What each request named as its least position."""
    queries = [parse_qs(urlsplit(path).query) for _, path, *_ in script.seen]
    return [query.get("min_position", [None])[0] for query in queries]


def count_it(shop: Shop, partition: int, sold: int) -> None:
    """All workers that hold it have counted the sale now."""
    for worker in shop.workers:
        if partition in worker.shelf.held:
            worker.shelf.put("SKU-0003", "store-1", received=10, sold=sold)
            worker.shelf.advance(partition, 11 + sold)


async def test_a_session_reads_its_own_write() -> None:
    async with a_shop() as shop, a_client(*shop.urls) as client:
        partition = shop[0].shelf.partition_of("SKU-0003")
        shop.log.ends[SALES, partition] = 11  # the next is beyond all that is counted
        session = client.session()

        written = await session.post_sales([LINE])
        reading = asyncio.create_task(session.row("SKU-0003", "store-1"))
        elsewhere = await client.row("SKU-0003", "store-1")
        assert elsewhere.on_hand == 10  # whoever has no session does not wait
        assert not reading.done()
        count_it(shop, partition, 1)

        answer = await reading
        assert written.position == f"sales-{partition}@11"
        assert answer.on_hand == 9


async def test_it_reads_its_own_write_in_lists_lookups_and_totals() -> None:
    async with a_shop() as shop, a_client(*shop.urls) as client:
        partition = shop[0].shelf.partition_of("SKU-0003")
        shop.log.ends[SALES, partition] = 11
        sessions = [client.session() for _ in range(3)]
        written = await sessions[0].post_sales([LINE])
        for session in sessions[1:]:
            session._seen.wrote(written.position)  # type: ignore[union-attr]

        async def listed() -> int:
            return sum([row.on_hand async for row in sessions[0].rows(sku_prefix="SKU-0003")])

        async def looked_up() -> int:
            found = await sessions[1].lookup([("SKU-0003", f"store-{n}") for n in range(3)])
            return sum(row.on_hand for row in found.rows.values())

        async def totalled() -> int:
            return (await sessions[2].sku("SKU-0003")).on_hand

        reading = asyncio.gather(listed(), looked_up(), totalled())
        await asyncio.sleep(0)
        count_it(shop, partition, 1)

        assert list(await reading) == [29, 29, 29]


async def test_an_answer_is_named_as_the_least_of_the_next_with_its_epoch() -> None:
    script = Script(
        lambda request: web.json_response(a_row("A", "http://x", position="sales-0@5,control@2")),
        lambda request: web.json_response(a_row("A", "http://x", position="sales-0@9,control@2")),
    )
    async with serving(script) as client:
        session = client.session()
        for _ in range(3):
            await session.row("A", "store-0")

    assert floors(script) == [None, "sales-0@5,control@2", "sales-0@9,control@2"]
    assert session.position == "sales-0@9,control@2"


async def test_an_older_answer_than_the_one_before_is_not_taken() -> None:
    script = Script(
        lambda request: web.json_response(a_row("A", "http://x", sales=9)),
        lambda request: web.json_response(a_row("A", "http://x", sales=8)),
        lambda request: web.json_response(a_row("A", "http://x", sales=10)),
    )
    async with serving(script) as client:
        session = client.session()
        positions = [(await session.row("A", "store-0")).freshness.position for _ in range(2)]

        assert positions == ["sales-0@9", "sales-0@10"]
        assert len(script.seen) == 3


async def test_what_stays_older_is_told_as_not_caught_up() -> None:
    script = Script(lambda request: web.json_response(a_row("A", "http://x", sales=8)))
    async with serving(script, timeout_s=1.0) as client:
        with pytest.raises(NotCaughtUp, match="sales-0@8"):
            await client.session("sales-0@9").row("A", "store-0")


async def test_only_the_partition_that_is_asked_is_named() -> None:
    async with a_shop(1) as shop, a_client(shop[0].url) as client:
        session = client.session()
        for number in range(8):
            await session.row(f"SKU-{number:04d}", "store-0")
        await session.row("SKU-0003", "store-0")

        p = shop[0].shelf.partition_of("SKU-0003")
        assert f"min_position=sales-{p}@9&" in shop[0].seen[-1][1]
        assert session.position.count("@") > 2


async def test_a_standby_that_is_behind_a_session_does_not_answer_it() -> None:
    async with a_shop(2, count=1) as shop, a_client(*shop.urls) as client:
        shop[0].shelf.advance(0, 20)
        shop[0].shelf.put("SKU-0003", "store-1", received=20)
        session = client.session()
        assert (await session.row("SKU-0003", "store-1")).on_hand == 20

        answers = [await session.row("SKU-0003", "store-1", max_lag_events=99) for _ in range(6)]

        assert {answer.on_hand for answer in answers} == {20}
        assert shop[1].shelf.freshness(0).role is Role.STANDBY  # type: ignore[union-attr]


async def test_a_session_goes_on_elsewhere_by_its_export() -> None:
    async with a_shop() as shop, a_client(*shop.urls) as client:
        first = client.session()
        await first.post_sales([LINE])
        cookie = first.export()

        async with a_client(*shop.urls) as other:
            assert other.session(cookie).position == first.position != ""


async def test_a_broken_cookie_is_told_at_once() -> None:
    async with AsyncClient("http://127.0.0.1:1") as client:
        with pytest.raises(ValueError, match="no exported session"):
            client.session("garbage")


async def test_a_write_that_is_known_in_part_is_waited_for_too() -> None:
    async with a_shop(1, count=1) as shop, a_client(shop[0].url, write_timeout_s=1.0) as client:
        shop.log.confirms = 1
        session = client.session()
        with pytest.raises(Unsure):
            await session.post_sales([LINE, {**LINE, "location": "store-2"}])

        assert session.position.startswith("sales-0@")
