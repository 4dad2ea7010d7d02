"""The feed of rows of real workers: an index becomes what the rows are, whoever is killed."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp

from dev.oracle.rows import Key
from dev.workers import ROOT, until
from tests.support.cluster.feed import a_shop
from tests.support.cluster.following import Following
from tests.support.cluster.workers import Cluster

PARTITIONS = 3


async def test_an_index_becomes_what_the_rows_are_though_all_who_tell_it_are_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    await cluster.create_topics()
    await cluster.start("a", "b")
    a, b = cluster.worker("a"), cluster.worker("b")
    index = Following("search", "events", tmp_path, a.url, b.url)
    index.start()

    # For as long as it takes: there is always more to index.
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=40), rate=300):
        # The worker that tells it, which owns some rows; the owner of all others; and itself.
        await index.outlives(a, b, index)
    wanted = {key: (row.on_hand, row.events) for key, row in cluster.oracle().rows().items()}

    async def is_the_same() -> bool:
        return index.stock() == wanted

    try:
        await until(is_the_same, "indexed: all rows, as the log says", 120, every_s=0.2)
    except AssertionError as late:
        raise AssertionError(f"{late}\n{cluster.logs()}") from None
    index.kill()
    _must_find(index, wanted)
    await _is_told_of_the_next_change(b.url)
    assert await b.stop() == await a.stop() == 0


def _must_find(index: Following, wanted: dict[Key, tuple[int, int]]) -> None:
    sku = min(wanted)[0]
    command = [sys.executable, "-m", "examples.search", str(index.file), "--find", sku]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {(s, where): int(n) for n, s, where in (line.split() for line in said.splitlines())}
    assert found == {key: n for key, (n, _) in wanted.items() if key[0] == sku}


async def _is_told_of_the_next_change(url: str) -> None:
    """By pages, too; whoever came back last may still change the owners, so more facts come."""
    line = {"source": "till", "sku": "a new one", "location": "here", "quantity": 7}
    asked = {"of": "rows", "after": "end", "sku_prefix": "a new", "wait_ms": "2000"}
    told: list[dict[str, Any]] = []
    numbers = itertools.count()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as http:

        async def is_told() -> bool:
            async with http.get(f"{url}/v1/changes", params=asked) as answer:
                page = await answer.json()
                if answer.status == 503:
                    return False
                assert answer.status == 200, page
            asked["after"] = page["after"]
            told.extend(one["data"] for one in page["changes"] if one["event"] == "row")
            body = line | {"id": str(next(numbers))}
            async with http.post(f"{url}/v1/shipments", json=body) as answer:
                await answer.read()
            return bool(told)

        await until(is_told, "told: the new row", 120)
    assert {(row["sku"], row["location"]) for row in told} == {("a new one", "here")}
    assert [row["on_hand"] for row in told] == [7 * row["events"] for row in told]
