"""The feed of real workers: who follows it misses and repeats nothing, whoever is killed."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from dev.oracle.rows import Key
from dev.workers import Worker, until
from tests.support.cluster.feed import a_shop
from tests.support.cluster.following import Filling, Following
from tests.support.cluster.workers import LEDGER, Cluster

PARTITIONS = 3


async def test_a_follower_counts_what_the_log_says_though_all_who_tell_it_are_killed(
    cluster: Cluster, tmp_path: Path
) -> None:
    await cluster.create_topics()
    ledger = Worker("ledger", tmp_path, cluster.settings, command=LEDGER)
    cluster.workers["ledger"] = ledger
    ledger.start()
    await cluster.start("a", "b")
    await ledger.ready()
    await _followed(cluster, ledger, tmp_path)


async def _followed(cluster: Cluster, ledger: Worker, folder: Path) -> None:
    a, b = cluster.worker("a"), cluster.worker("b")
    follower = Following("follower", "facts", folder, a.url, b.url)
    warehouse = Filling(folder, b.url, a.url)
    for program in (follower, warehouse):
        program.start()

    # For as long as it takes: there is always more to count.
    with cluster.feeding(a_shop(partitions=PARTITIONS, skus=40), rate=300):
        # The worker that tells it, the ledger that tells that, and itself; in the middle.
        await follower.outlives(a, ledger, follower)
        await warehouse.outlives(warehouse)
    rows = cluster.oracle().rows()
    wanted = {key: (row.on_hand, row.events) for key, row in rows.items()}

    all_facts = sum(facts for _, facts in wanted.values())

    async def has_all() -> bool:
        return min(follower.facts(), warehouse.facts()) >= all_facts

    try:
        await until(has_all, "counted: the whole log", 120, every_s=0.2)
    except AssertionError as late:
        raise AssertionError(f"{late}\n{cluster.logs()}") from None
    for program in (follower, warehouse):
        program.kill()
        assert program.stock() == wanted
    assert set(warehouse.told().values()) == {1}
    await _begun_with_rows(b, wanted)
    assert await b.stop() == await ledger.stop() == 0


async def _begun_with_rows(worker: Worker, wanted: dict[Key, tuple[int, int]]) -> None:
    """Who wants no old facts lists the rows at a position, and follows from there."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(worker.url, timeout=timeout) as http:
        async with http.get("/v1/changes", params={"after": "end"}) as answer:
            end = (await answer.json())["after"]
        query = {"at_position": end, "limit": "1000"}
        async with http.get("/v1/inventory", params=query) as answer:
            rows = (await answer.json())["items"]
    assert {(r["sku"], r["location"]): (r["on_hand"], r["events"]) for r in rows} == wanted
