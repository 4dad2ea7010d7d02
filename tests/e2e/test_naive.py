"""The same harness over a Faust app as the tutorial writes it: our tests can fail."""

import aiohttp

from dev.kafka import free_port
from dev.oracle.stock import Oracle
from dev.traffic.shop import Habits
from dev.workers import Worker, until
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster
from tests.support.judges.watch import GroupOffsets

PARTITIONS = 4
NAIVE = ("-m", "faust", "-A", "bench.peers.naive.app", "worker", "-l", "info")
# Every record readable and told once: even so the naive app counts some twice.
POLITE = Habits(repeated=0, unreadable=0)


async def test_after_a_kill_the_naive_app_has_counted_sales_twice(cluster: Cluster) -> None:
    await cluster.create_topics()
    naive = a_naive_worker(cluster)
    try:
        naive.start()
        shop = a_shop(partitions=PARTITIONS, habits=POLITE)
        with cluster.feeding(shop, rate=300) as feeder:
            await until_committed(cluster, naive, 200)
            await feeder.more(600)  # two seconds: in the midst of its commit interval
            naive.kill()
            naive.start()
            await feeder.more(300)
        oracle = cluster.oracle()
        await until_committed(cluster, naive, oracle.fed)
        wrong = await rows_that_differ(naive, oracle)
    finally:
        naive.kill()

    assert wrong, f"all {len(oracle.rows())} rows right: the kill fell between two commits"


def a_naive_worker(cluster: Cluster) -> Worker:
    port = free_port()
    settings = {
        "NAIVE_KAFKA": cluster.kafka,
        "NAIVE_TOPIC_PREFIX": cluster.prefix,
        "NAIVE_ID": cluster.name,
        "NAIVE_PARTITIONS": str(PARTITIONS),
        "NAIVE_DATA_DIR": str(cluster.folder / "naive"),
        "NAIVE_WEB_PORT": str(port),
        "BROKER_SESSION_TIMEOUT": "6",  # Faust's own variable: the dead are missed after 60 s
        "BROKER_HEARTBEAT_INTERVAL": "1",
    }
    return Worker("naive", cluster.folder, settings, port, command=NAIVE)


async def until_committed(cluster: Cluster, naive: Worker, records: int) -> None:
    """Wait until the naive app says that it has handled so many records for good."""
    group = GroupOffsets(cluster.kafka, cluster.name, cluster.sources, PARTITIONS)

    async def so_many() -> bool:
        assert naive.alive, naive.tail()
        return sum((group.read() or {}).values()) >= records

    try:
        await until(so_many, f"committed: {records:,} records", 60, every_s=0.2)
    finally:
        group.close()


async def rows_that_differ(naive: Worker, oracle: Oracle) -> list[str]:
    """Ask for every row, as its users would."""
    differ = []
    async with aiohttp.ClientSession() as http:
        for (sku, location), row in oracle.rows().items():
            async with http.get(f"{naive.url}/inventory/{sku}/{location}/") as response:
                found = (await response.json())["on_hand"]
            if found != row.on_hand:
                differ.append(f"{sku} at {location}: {found} instead of {row.on_hand}")
    return differ
