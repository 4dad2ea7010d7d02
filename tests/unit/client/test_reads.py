"""Reads through the client, from the house's own workers."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from onhand_client import InvalidRequest, Row, __version__
from onhand_client.many import MOST
from tests.unit.client.serving import Script, a_client, a_row, a_server, a_shop


async def test_a_key_is_asked_at_its_owner_and_nowhere_else() -> None:
    async with a_shop() as shop, a_client(shop[0].url) as client:
        for number in range(20):
            answer = await client.row(f"SKU-{number:04d}", "store-1")
            assert answer.on_hand == 3 * number + 1
            assert answer.freshness.role == "active"
            assert answer.freshness.worker == shop[shop.owner_of(f"SKU-{number:04d}")].url

        assert sum(shop.asked()) == 20
        assert shop.hops() == 0


async def test_a_row_and_its_freshness_are_told_whole() -> None:
    async with a_shop(1) as shop, a_client(shop[0].url) as client:
        row, fresh = await client.row("SKU-0003", "store-1")

    assert row == Row(
        "SKU-0003", "store-1", on_hand=10, received=10, dispatched=0, sold=0, returned=0,
        adjusted=0, events=1, checksum="0" * 16, updated_at="1970-01-01T00:00:00.000Z",
    )  # fmt: skip
    assert fresh.position == f"sales-{fresh.partition}@9"
    assert (fresh.lag_events, fresh.version) == (0, 1)


async def test_a_key_that_no_fact_names_is_an_answer() -> None:
    async with a_shop() as shop, a_client(shop[0].url) as client:
        row = await client.row("NONE", "store-1")
        sku = await client.sku("NONE")

        assert (row.row, row.on_hand, row.freshness.role) == (None, 0, "active")
        assert (sku.totals, sku.rows, sku.on_hand) == (None, (), 0)
        assert sum(shop.asked()) == 2


async def test_a_sku_comes_with_its_rows() -> None:
    async with a_shop() as shop, a_client(shop[0].url) as client:
        answer = await client.sku("SKU-0003")

    assert answer.totals is not None
    assert answer.totals.received == answer.on_hand == 9 + 10 + 11
    assert [row.location for row in answer.rows] == ["store-0", "store-1", "store-2"]


@pytest.mark.parametrize("sku", ["a/b c?&#%", "Tee & Käse", "日本", "1+1=2"])
async def test_a_sku_may_have_any_letters(sku: str) -> None:
    async with a_shop(2) as shop, a_client(shop[0].url) as client:
        shop.put(sku, "Halle 3/ü", received=7)

        assert (await client.row(sku, "Halle 3/ü")).on_hand == 7
        assert shop.hops() == 0


async def test_what_is_no_name_is_told_with_the_parameter() -> None:
    async with a_shop(1) as shop, a_client(shop[0].url) as client:
        with pytest.raises(InvalidRequest) as told:
            await client.row("\u200b", "store-1")

        assert told.value.status == 400
        assert told.value.type == "/problems/invalid-request"
        assert "U+200B" in told.value.detail
        assert sum(shop.asked()) == 1  # nobody else would say otherwise


async def test_a_lookup_is_split_by_owner_and_joined_in_the_order_of_its_keys() -> None:
    async with a_shop() as shop, a_client(shop[0].url) as client:
        keys = [(f"SKU-{n // 3:04d}", f"store-{n % 3}") for n in reversed(range(60))]
        asked = [*keys[:30], ("NONE", "store-0"), *keys[30:], keys[0]]

        answer = await client.lookup(asked)

        assert list(answer.rows) == keys
        assert all(answer.rows[key].received == 59 - n for n, key in enumerate(keys))
        assert answer.unknown == [("NONE", "store-0")]
        assert answer.unanswered == []
        assert answer.freshness is not None
        assert shop.asked("/v1/lookup") == [1, 1, 1]
        assert shop.hops() == 0


async def test_more_than_1000_keys_of_a_worker_go_in_several_requests() -> None:
    async with a_shop(2, count=2, rows=0) as shop, a_client(shop[0].url) as client:
        keys = [(f"S{n}", "store-0") for n in range(4 * MOST)]

        answer = await client.lookup(keys)

        assert answer.unknown == keys
        assert shop.hops() == 0
        assert 4 <= sum(shop.asked("/v1/lookup")) <= 6


async def test_what_nobody_can_answer_for_is_named_where_a_part_will_do() -> None:
    async with a_shop(1, count=4) as shop, a_client(shop[0].url) as client:
        keys = [(f"SKU-{n:04d}", "store-0") for n in range(20)]
        shop[0].shelf.drop(2)
        lost = [key for key in keys if shop[0].shelf.partition_of(key[0]) == 2]

        answer = await client.lookup(keys, partial=True)

        assert answer.unanswered == lost
        assert list(answer.rows) == [key for key in keys if key not in lost]


async def test_a_list_goes_on_until_its_end() -> None:
    async with a_shop() as shop, a_client(shop[0].url) as client:
        every = [row.key async for row in client.rows()]
        some = [row.key async for row in client.rows(sku_prefix="SKU-001", location="store-2")]
        pages = [page async for page in client.pages(limit=25)]

    assert every == [(f"SKU-{n // 3:04d}", f"store-{n % 3}") for n in range(60)]
    assert some == [(f"SKU-{n:04d}", "store-2") for n in range(10, 20)]
    assert [row.key for page in pages for row in page.rows] == every
    assert len(pages) >= 3
    assert pages[-1].next_cursor is None
    assert pages[0].positions.count("sales-") == 6


async def test_a_page_may_be_asked_for_again_by_its_cursor() -> None:
    async with a_shop() as shop, a_client(shop[0].url) as client:
        first = await anext(client.pages(limit=10))
        rest = [row async for page in client.pages(limit=10, cursor=first.next_cursor)
                for row in page.rows]  # fmt: skip

    assert len(first.rows) + len(rest) == 60
    assert rest[0].key > first.rows[-1].key


async def test_pages_come_back_for_partitions_that_nobody_could_answer_for() -> None:
    async with a_shop(1, count=4) as shop, a_client(shop[0].url) as client:
        shop[0].shelf.drop(2)
        pages = client.pages(partial=True)
        first = await anext(pages)
        coming = asyncio.ensure_future(anext(pages))
        shop[0].shelf.hold([2], sales=10)
        for number in range(60):
            shop.put(f"SKU-{number // 3:04d}", f"store-{number % 3}")
        second = await coming

        assert list(first.missing_partitions) == [2]
        assert list(second.missing_partitions) == []
        assert len({row.key for row in [*first.rows, *second.rows]}) == 60


async def test_what_stays_missing_ends_the_pages_with_a_cursor() -> None:
    async with a_shop(1, count=4) as shop, a_client(shop[0].url) as client:
        shop[0].shelf.drop(2)

        pages = [page async for page in client.pages(partial=True, timeout_s=1.0)]

        assert pages[-1].next_cursor is not None
        assert list(pages[-1].missing_partitions) == [2]


async def test_who_allows_lag_is_answered_by_owners_and_standbys_side_by_side() -> None:
    async with a_shop(3, count=3) as shop, a_client(shop[0].url) as client:
        calls = [client.row("SKU-0003", "store-1", max_lag_events=9) for _ in range(40)]
        roles = {answer.freshness.role for answer in await asyncio.gather(*calls)}
        exact = await client.row("SKU-0003", "store-1")

        assert roles == {"active", "standby"}
        assert exact.freshness.role == "active"
        assert shop.hops() == 0


async def test_the_user_agent_names_the_program_and_this_package() -> None:
    script = Script(lambda request: web.json_response(a_row("A", "http://x")))
    async with a_server(handler=script) as url, a_client(url, user_agent="till/7") as client:
        await client.row("A", "store-0")

    assert script.seen[0][3]["User-Agent"] == f"till/7 onhand-client/{__version__}"


async def test_a_closed_client_says_so() -> None:
    async with a_shop(1) as shop:
        async with a_client(shop[0].url) as client:
            await client.row("SKU-0003", "store-1")
        await client.close()
        with pytest.raises(RuntimeError, match="closed"):
            await client.row("SKU-0003", "store-1")
