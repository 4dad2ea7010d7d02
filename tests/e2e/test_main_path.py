"""The main path, by a user who has only HTTP and topics: 50,000 events, two workers, crashes."""

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from dev.kafka import Kafka
from dev.oracle.rows import Key
from dev.oracle.stock import Oracle
from dev.reads.answers import Answer
from dev.reads.verdicts import Verdict, judge
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster
from tests.support.judges.oracle import reasons

EVENTS = 50_000
STREAM_PER_S = 2_500
EVERY_REASON = {
    "not_json",
    "bad_envelope",
    "bad_data",
    "bad_time",
    "unknown_type",
    "missing_key",
    "key_mismatch",
    "misrouted",
    "null_value",
    "id_conflict",
}


@pytest.fixture(scope="module")
def shops(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers, and a log that already holds half of the events."""
    cluster = Cluster(kafka.bootstrap, tmp_path_factory.mktemp("main"))

    async def begin() -> None:
        await cluster.create_topics()
        with cluster.feeding(a_shop(partitions=cluster.partitions, run="first"), EVENTS // 2):
            await cluster.start("a", "b")
        await cluster.settled()

    try:
        asyncio.run(begin())
        yield cluster
    finally:
        cluster.close()


def keys_of_a_shop() -> list[Key]:
    shop = a_shop(partitions=1)
    return [(sku, store) for sku in shop.skus[:60] for store in [*shop.stores[:5], "nowhere"]]


def judged(cluster: Cluster, answers: list[Answer], oracle: Oracle) -> Verdict:
    verdict = judge(answers, oracle, cluster.starts)
    assert not verdict.wrong, (len(verdict.wrong), verdict.wrong[:5])
    assert not verdict.back, (len(verdict.back), verdict.back[:5])
    return verdict


async def test_every_row_is_what_the_log_says_after_a_kill_in_mid_stream(shops: Cluster) -> None:
    shop = a_shop(partitions=shops.partitions, seed=8, run="second")
    async with shops.readers(keys_of_a_shop(), rate=200) as answers:
        with shops.feeding(shop, EVENTS // 2, STREAM_PER_S) as feeder:
            await feeder.more(EVENTS // 8)
            shops.worker("a").kill()
            await feeder.more(EVENTS // 8)
            await shops.start("a")
        oracle = await shops.assert_exact()

    assert oracle.fed == EVENTS
    assert set(reasons(oracle)) == EVERY_REASON
    assert len(oracle.repeated) > EVENTS * 0.03
    verdict = judged(shops, answers, oracle)
    assert verdict.roles["active"] > 100


async def test_every_row_is_what_the_log_says_after_all_disks_are_wiped(shops: Cluster) -> None:
    async with shops.readers(keys_of_a_shop(), rate=200) as answers:
        for worker in shops.workers.values():
            worker.kill()
            worker.wipe()
        await shops.start("a", "b")
        oracle = await shops.assert_exact()

    assert judged(shops, answers, oracle).asked > 0


async def test_a_sale_before_its_shipment_leaves_less_than_nothing_on_hand(shops: Cluster) -> None:
    a, b = shops.worker("a"), shops.worker("b")
    sale = {"source": "till-1", "id": "early", "sku": "EARLY", "location": "shop", "quantity": 3}
    async with aiohttp.ClientSession() as http:
        for kind, identity, worker, expected in (
            ("sales", "early", a, -3),
            ("shipments", "truck", b, 0),
            ("shipments", "truck", a, 0),
        ):
            line = sale | {"id": identity}
            async with http.post(f"{worker.url}/v1/{kind}", json=line) as response:
                assert response.status == 202, await response.text()
                token = (await response.json())["position"]
            for asked in (a, b):
                url = f"{asked.url}/v1/inventory/EARLY/shop"
                query = {"min_position": token, "wait_ms": "10000"}
                async with http.get(url, params=query) as response:
                    assert response.status == 200, await response.text()
                    assert (await response.json())["on_hand"] == expected


async def test_a_list_in_small_pages_is_complete_and_ordered_through_each_worker(
    shops: Cluster,
) -> None:
    await shops.caught_up()
    expected = {
        key for key, row in shops.oracle().rows().items() if key[1] == "store-003"
    }  # in order: `read_list` refuses anything else
    for worker in shops.alive:
        found = await shops.rows(worker, "location=store-003&limit=40")
        assert set(found) == expected
