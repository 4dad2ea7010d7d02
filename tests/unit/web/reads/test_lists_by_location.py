"""The list of a location is the same by an index and by a scan of all rows."""

from __future__ import annotations

import asyncio
from unittest.mock import patch
from urllib.parse import urlencode

from hypothesis import example, given
from hypothesis import strategies as st

from tables.secondary import indexes
from tables.tasks import Tasks
from tests.support.inside.shelf import Shelf
from tests.unit.web.reads.test_lists import a_page, a_shelf, a_split, keys, much_stock, names, stock
from web.reads import merging
from web.reads.cursors import RowKey

prefixes = st.sampled_from(["", "a", "\U0001f4e6"])
filtered = st.tuples(names, prefixes, st.none() | st.integers(-3, 3))


@patch.multiple(merging, MAX_EXAMINED=3, FIRST_CHUNK=1, LAST_CHUNK=2, FIRST_NAMED=1)
@patch.object(indexes, "PIECE_ROWS", 2)
@given(
    stock=much_stock,
    more=stock,
    asked=filtered,
    limit=st.integers(1, 7),
    whole_after=st.integers(0, 4),
)
async def test_the_list_of_a_location_is_the_same_before_and_after_its_index_is_whole(
    stock: dict[RowKey, int],
    more: dict[RowKey, int],
    asked: tuple[str, str, int | None],
    limit: int,
    whole_after: int,
) -> None:
    location, prefix, below = asked
    shelf, tasks, arriving = a_shelf(), Tasks(), list(more.items())
    shelf.indexed(tasks)
    for (sku, place), on_hand in stock.items():
        shelf.put(sku, place, adjusted=on_hand)
    query = {"location": location, "sku_prefix": prefix, "limit": str(limit)}
    if below is not None:
        query["on_hand_below"] = str(below)

    found, pages = list[RowKey](), 0
    cursor: str | None = ""
    while cursor is not None:
        if pages == whole_after:
            async with asyncio.timeout(60):
                await asyncio.gather(*tasks)
        page = await a_page(
            a_split(shelf), urlencode(query | {"cursor": cursor} if cursor else query)
        )
        found += keys(page["items"])
        cursor = page["next_cursor"]
        query["cursor"] = cursor
        pages += 1
        for (sku, place), on_hand in arriving[:3]:
            if (sku, place) not in stock:
                shelf.put(sku, place, adjusted=on_hand)
        arriving = arriving[3:]
    await tasks.cancel()

    def wanted(rows: dict[RowKey, int]) -> set[RowKey]:
        return {
            key
            for key, on_hand in rows.items()
            if key[1] == location and key[0].startswith(prefix)
            if below is None or on_hand < below
        }

    assert found == sorted(set(found))
    assert wanted(stock) <= set(found) <= wanted(more | stock)


@given(
    stock=stock,
    location=st.sampled_from("aB!"),
    after=st.none() | st.tuples(names, names),
    limit=st.integers(1, 9),
    prefix=prefixes,
)
@example({("a", "B"): 1}, "B", ("a", "!"), 9, "")  # a scan went so far before the index was whole
@example({("a", "B"): 1, ("a!", "B"): 1}, "B", ("a", "a"), 9, "")
async def test_rows_at_a_location_go_on_behind_any_row(
    stock: dict[RowKey, int], location: str, after: RowKey | None, limit: int, prefix: str
) -> None:
    shelf, tasks = Shelf(1), Tasks()
    shelf.hold([0])
    shelf.indexed(tasks)
    for key in stock:
        shelf.put(*key, adjusted=1)
    assert shelf.at(0, location, after, limit, prefix) is None
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)

    found = shelf.at(0, location, after, limit, prefix)

    assert found is not None
    there = [row for row in shelf.scan(0, after, 100, prefix) if row[1] == location]
    assert found.rows == there[:limit]
    assert found.reached == (found.rows[-1][:2] if len(found.rows) == limit else None)


@patch.multiple(merging, MAX_EXAMINED=3, FIRST_NAMED=1, LAST_CHUNK=2)
async def test_rows_that_are_no_more_are_left_out_and_cut_no_list_short() -> None:
    shelf, tasks = a_shelf(), Tasks()
    shelf.indexed(tasks)
    skus = [f"{number:02}" for number in range(60)]
    for sku in skus:
        shelf.put(sku, "7", adjusted=1)
    await a_page(a_split(shelf), "location=7")
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)
    for sku in skus[10:50]:  # as a repair does
        shelf.remove(sku, "7")

    found, query = list[RowKey](), "location=7&limit=4"
    while query:
        page = await a_page(a_split(shelf), query)
        found += keys(page["items"])
        cursor = page["next_cursor"]
        query = f"location=7&limit=4&cursor={cursor}" if cursor else ""

    assert found == [(sku, "7") for sku in skus[:10] + skus[50:]]
    await tasks.cancel()


async def test_the_list_of_a_location_costs_its_rows_once_the_index_is_whole() -> None:
    shelf, tasks = a_shelf(), Tasks()
    shelf.indexed(tasks)
    for number in range(3000):
        shelf.put(f"{number:04}", f"{number % 100}", adjusted=1)
    await a_page(a_split(shelf), "location=7")
    async with asyncio.timeout(60):
        await asyncio.gather(*tasks)

    with patch.object(shelf, "scan", side_effect=AssertionError("all rows were looked at")):
        page = await a_page(a_split(shelf), "location=7&sku_prefix=1")

    assert keys(page["items"]) == [(f"{number:04}", "7") for number in range(1007, 2000, 100)]
    await tasks.cancel()
