"""Topics that somebody changes while workers run: what counts on, what stops, who is told."""

import asyncio
from typing import Any

import aiohttp
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from dev.reads.answers import ask
from dev.workers import Worker, until
from tests.support.breaking.kafka_tools import LOG_FOR_EVER, admin, recreate, set_topic
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

PARTITIONS = 4
SETTINGS = {"ONHAND_TOPICS_CHECK_S": "1"}


async def ready(http: aiohttp.ClientSession, worker: Worker) -> dict[str, Any]:
    """What /ready says; it must be 200."""
    async with http.get(f"{worker.url}/ready") as response:
        body: dict[str, Any] = await response.json()
        assert response.status == 200, body
        return body


async def warned(http: aiohttp.ClientSession, cluster: Cluster, word: str) -> None:
    """Wait until every worker warns of it."""

    async def all_warn() -> bool:
        said = [await ready(http, worker) for worker in cluster.alive]
        return all(any(word in text for text in body["warnings"]) for body in said)

    await until(all_warn, f"warned of {word}", 60, every_s=0.2)
    for worker in cluster.alive:
        async with http.get(f"{worker.url}/metrics") as response:
            assert "onhand_topic_problems{" in await response.text()
        assert any(word in line and "ERROR" in line for line in worker.tail(500).splitlines())


async def test_retention_is_told_and_counted_on_and_added_partitions_stop_the_counting(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    await cluster.start("a", "b")
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as http:
        assert (await ready(http, cluster.worker("a")))["warnings"] == []
        sales = f"{cluster.prefix}sales"
        await set_topic(cluster.kafka, sales, {"retention.ms": "604800000"})
        await warned(http, cluster, "retention.ms=604800000")
        with cluster.feeding(a_shop(partitions=PARTITIONS), 500):
            pass
        oracle = await cluster.assert_exact()

        client = admin(cluster.kafka)
        grown = client.create_partitions([NewPartitions(sales, PARTITIONS + 4)])
        await asyncio.to_thread(grown[sales].result, 20)
        await warned(http, cluster, f"{sales} has {PARTITIONS + 4} partitions")
        with cluster.feeding(a_shop(partitions=PARTITIONS, seed=2, run="later"), 200):
            pass
        for worker in cluster.alive:
            held = (await ready(http, worker))["partitions"]
            assert {each["role"] for each in held} <= {"former", "standby"}, held
            for key, row in list(oracle.rows().items())[:20]:
                answer = await ask(http, worker.url, key)
                assert answer.row == row, answer
                assert answer.role != "active", answer


async def test_a_source_that_is_made_anew_stops_the_counting_and_no_read(cluster: Cluster) -> None:
    await cluster.create_topics()
    await cluster.start("a", "b")
    with cluster.feeding(a_shop(partitions=PARTITIONS), 800):
        pass
    oracle = await cluster.assert_exact()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as http:
        await warned_not(http, cluster)
        await recreate(cluster.kafka, f"{cluster.prefix}sales", PARTITIONS, LOG_FOR_EVER)
        await warned(http, cluster, "sales was deleted and created again")
        with cluster.feeding(a_shop(partitions=PARTITIONS, seed=2, run="other"), 400):
            pass
        for worker in cluster.alive:
            for key, row in list(oracle.rows().items())[:20]:
                answer = await ask(http, worker.url, key)
                assert (answer.status, answer.row) == (200, row), answer
    assert all(worker.alive for worker in cluster.workers.values())


async def warned_not(http: aiohttp.ClientSession, cluster: Cluster) -> None:
    """Nothing is wrong, as every worker has seen."""
    for worker in cluster.alive:
        assert (await ready(http, worker))["warnings"] == []
