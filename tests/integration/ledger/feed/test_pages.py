"""Pages of the feed: every record once, with the oracle's verdict, from any position on."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from random import Random
from typing import Any

import aiohttp
import pytest

from core.positions import read_position
from dev.oracle.stock import Oracle, Record
from ledger.lines import TOPICS
from ledger.upkeep.compacting import compact
from tests.ledgers.feeding import FedLedger
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import LOCATIONS, PARTITIONS, START_MS, a_log, judged

Json = dict[str, Any]
SEED, RECORDS = 5, 300
#: What does not ask SQL anything that others here do not.
ON_SQLITE = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)


def filled(kept: Kept) -> tuple[list[Record], Oracle]:
    records = a_log(SEED, RECORDS)
    for batch in in_batches(records, 80):
        kept.feed(batch)
    return records, judged(records)


async def page(ledger: FedLedger, **query: str | int) -> tuple[int, Json]:
    timeout = aiohttp.ClientTimeout(total=30)
    asked = {name.removesuffix("_"): str(value) for name, value in query.items()}
    url = f"{ledger.url}/v1/changes"
    async with aiohttp.request("GET", url, params=asked, timeout=timeout) as answer:
        return answer.status, await answer.json(content_type=None)


async def all_of(ledger: FedLedger, after: str, **query: str | int) -> list[Json]:
    """Lines of all pages from a position on."""
    lines: list[Json] = []
    while True:
        status, found = await page(ledger, after=after, **query)
        assert status == 200, found
        lines += found["changes"]
        after = found["after"]
        assert not found["changes"] or found["changes"][-1]["id"] == after
        if found["at_end"]:
            return lines


def place_of(line: Json) -> tuple[str, int, int]:
    ((place, offset),) = read_position(line["data"]["position"]).items()
    return *place, offset


def assert_in_order(places: list[tuple[str, int, int]]) -> None:
    by_partition = defaultdict(list)
    for topic, part, offset in places:
        by_partition[topic, part].append(offset)
    assert all(offsets == sorted(set(offsets)) for offsets in by_partition.values())


@pytest.fixture
async def ledger(kept: Kept) -> Any:
    fed = FedLedger(kept)
    await fed.starts()
    yield fed
    await fed.dies()


async def test_every_record_is_told_once_in_its_partitions_order_with_its_verdict(
    kept: Kept, ledger: FedLedger
) -> None:
    records, oracle = filled(kept)

    for limit in (1000, 7):
        lines = await all_of(ledger, "", limit=limit)

        places = [place_of(line) for line in lines]
        assert_in_order(places)
        assert sorted(places) == sorted(record.place for record in records)
    on_hand: dict[tuple[str, str], int] = defaultdict(int)
    for line in lines:
        data, place = line["data"], place_of(line)
        assert line["event"] == "fact"
        assert (data["outcome"] == "refused") == (place in oracle.refused)
        assert (data["outcome"] == "repeated") == (place in oracle.repeated) == ("of" in data)
        assert data.get("refused") == oracle.refused.get(place)
        if data["outcome"] == "applied":
            on_hand[data["sku"], data["location"]] += data["change"]
    assert on_hand == {key: row.on_hand for key, row in oracle.rows().items()}


@ON_SQLITE
async def test_a_reader_goes_on_from_the_id_of_any_line_and_misses_and_repeats_nothing(
    kept: Kept, ledger: FedLedger
) -> None:
    records, _ = filled(kept)
    random = Random(1)

    for _ in range(4):
        after, had = "", []
        while True:
            status, found = await page(ledger, after=after, limit=random.choice((3, 50, 200)))
            assert status == 200, found
            lines = found["changes"]
            if not lines:
                break
            # It is killed with some of the page in its books.
            kept_lines = lines[: random.randint(1, len(lines))]
            had += [place_of(line) for line in kept_lines]
            after = kept_lines[-1]["id"]

        assert_in_order(had)
        assert sorted(had) == sorted(record.place for record in records)


async def test_a_filter_leaves_out_the_others_and_its_positions_pass_over_them(
    kept: Kept, ledger: FedLedger
) -> None:
    filled(kept)
    every = [line["data"] for line in await all_of(ledger, "")]
    end = (await page(ledger, after="end"))[1]["after"]
    for query, is_wanted in (
        ({"sku_prefix": "SKU-"}, lambda d: d.get("sku", "").startswith("SKU-")),
        ({"location": LOCATIONS[2]}, lambda d: d.get("location") == LOCATIONS[2]),
        (
            {"type": "inventory.sale.returned.v1", "sku_prefix": "SKU-1"},
            lambda d: (d.get("type"), d.get("sku")) == ("inventory.sale.returned.v1", "SKU-1"),
        ),
    ):
        lines = await all_of(ledger, "", limit=20, **query)

        wanted = {data["position"] for data in every if is_wanted(data)}
        assert wanted
        assert {line["data"]["position"] for line in lines} == wanted
        assert len(lines) == len(wanted)
        assert lines[-1]["id"] == end
    assert await all_of(ledger, "", sku_prefix="nobody's") == []


@ON_SQLITE
async def test_a_large_page_is_cut_and_nothing_of_it_is_lost(
    kept: Kept, ledger: FedLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, _ = filled(kept)
    monkeypatch.setattr("web.feed.answering._PAGE_BYTES", 2_000)

    _, first = await page(ledger)
    lines = await all_of(ledger, "")

    assert 1 < len(first["changes"]) < 20
    assert sorted(map(place_of, lines)) == sorted(record.place for record in records)


async def test_positions_are_of_their_log_and_of_no_other(
    kept: Kept, ledger: FedLedger, new_database: Any
) -> None:
    records, _ = filled(kept)
    _, found = await page(ledger, limit=150)
    after = found["after"]
    rest = await all_of(ledger, after)

    # A ledger that was built anew from the same log, in other pieces, takes them.
    again = Kept(new_database())
    for batch in in_batches(records, 33):
        again.feed(batch)
    other = FedLedger(again)
    await other.starts()
    assert await all_of(other, after) == rest
    await other.dies()
    again.close()

    # One of another log of the same names does not.
    anew = Kept(new_database())
    for batch in in_batches(a_log(SEED + 1, RECORDS), 80):
        anew.feed(batch)
    other = FedLedger(anew)
    await other.starts()
    status, refused = await page(other, after=after)
    assert (status, refused["errors"][0]["parameter"]) == (400, "after")
    assert "cut or made anew" in refused["detail"]
    await other.dies()
    anew.close()


@ON_SQLITE
async def test_a_position_that_can_be_none_of_this_log_is_refused_and_one_of_later_is_waited_for(
    kept: Kept, ledger: FedLedger
) -> None:
    records, _ = filled(kept)
    for after, says in (
        ("gifts-0@3", "names 'gifts-0'"),
        (f"sales-{PARTITIONS}@3", f"names 'sales-{PARTITIONS}'"),
        ("sales", "must be a position"),
    ):
        status, found = await page(ledger, after=after)
        assert (status, says in found["detail"]) == (400, True), found
    last = max(r.offset for r in records if (r.topic, r.partition) == ("sales", 0))
    status, found = await page(ledger, after=f"sales-0@{last + 1}")
    assert (status, found["type"]) == (503, "/problems/not-caught-up")
    # As a position of rows: it names no log, and the control record is none of it.
    status, found = await page(ledger, after=f"sales-0@{last},control@7", of="facts")
    assert status == 200
    assert {(t, p) for t, p, _ in map(place_of, found["changes"])} == {
        (topic, part) for topic in TOPICS for part in range(PARTITIONS)
    } - {("sales", 0)}
    status, found = await page(ledger, of="rows")
    assert (status, "workers tell rows" in found["detail"]) == (400, True)


@ON_SQLITE
async def test_what_was_compacted_is_missed_aloud_and_left_out_only_if_asked_for(
    kept: Kept, ledger: FedLedger
) -> None:
    records, _ = filled(kept)
    middle = START_MS * 1000 + (records[RECORDS // 2].timestamp_ms - START_MS) * 1000
    gone = compact(kept.engine, middle, window=0)
    assert 0 < gone.lines < RECORDS

    status, found = await page(ledger)
    assert (status, found["type"]) == (404, "/problems/before-history")
    assert "after=begin" in found["detail"]
    status, found = await page(ledger, after="begin", limit=1000)
    assert (status, len(found["changes"])) == (200, RECORDS - gone.lines)
    assert (await page(ledger, after=found["after"]))[1]["changes"] == []


@ON_SQLITE
async def test_a_page_waits_for_the_next_fact_and_for_no_other(
    kept: Kept, ledger: FedLedger
) -> None:
    filled(kept)
    _, found = await page(ledger, after="end")
    assert (found["changes"], found["at_end"]) == ([], True)
    end = found["after"]
    assert (await page(ledger, after=end, wait_ms=1))[1] == found

    more = a_log(SEED, RECORDS + 60)[RECORDS:]
    wanted = [r for r in more if b'"SKU-2"' in (r.value or b"") and r.key == b"SKU-2"]
    assert wanted

    waiting = asyncio.create_task(page(ledger, after=end, wait_ms=9_000, sku_prefix="SKU-2"))
    for record in more:
        await asyncio.sleep(0)
        kept.feed([record])
    status, found = await waiting

    assert status == 200
    assert json.dumps(found["changes"]).count('"SKU-2"') >= 1
    assert all(line["data"]["sku"] == "SKU-2" for line in found["changes"])
