"""The same harness over a Faust app as the tutorial writes it: our tests can fail."""

import asyncio

import aiohttp
from confluent_kafka import ConsumerGroupState

from dev.kafka import free_port
from dev.oracle.log import ends_of
from dev.oracle.stock import Oracle
from dev.traffic.shop import Habits
from dev.workers import Worker, until
from tests.support.breaking.kafka_tools import admin
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster
from tests.support.judges.watch import GroupOffsets

PARTITIONS = 4
#: Where its table's rows go.
TABLE = "inventory-changelog"
DEADLINE_S = 180
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
            await killed_between_two_commits(cluster, naive)
            naive.start()
            await feeder.more(300)
        oracle = cluster.oracle()
        await until_committed(cluster, naive, oracle.fed)
        wrong = await rows_that_differ(naive, oracle)
    finally:
        naive.kill()

    assert wrong, f"all {len(oracle.rows())} rows right, though the kill fell between two commits"


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


async def killed_between_two_commits(cluster: Cluster, naive: Worker) -> None:
    """Kill it once it has committed something, and has counted what it has not committed.

    Whether it had is judged when it is dead, and when Kafka takes no commit of its any more. If it
    had committed just then, it is started and killed again.
    """

    async def died_so() -> bool:
        await until_committed(cluster, naive, 200)
        await until(ahead, "counted: what is not committed yet", DEADLINE_S)
        naive.kill()
        await until(missed, "missed by its group: the naive app", DEADLINE_S, every_s=0.5)
        if await ahead():
            return True
        naive.start()
        return False

    async def ahead() -> bool:
        """Each record that it counts is one record of its table's changelog."""
        ends = await asyncio.to_thread(ends_of, cluster.kafka, [f"{cluster.name}-{TABLE}"])
        return sum(ends.values()) > committed_by(cluster)

    async def missed() -> bool:
        client = admin(cluster.kafka)
        asked = client.describe_consumer_groups([cluster.name])[cluster.name]
        found = await asyncio.to_thread(asked.result, DEADLINE_S)
        return found.state is ConsumerGroupState.EMPTY

    await until(died_so, "killed between two commits: the naive app", 3 * DEADLINE_S)


async def until_committed(cluster: Cluster, naive: Worker, records: int) -> None:
    """Wait until the naive app says that it has handled so many records for good."""

    async def so_many() -> bool:
        assert naive.alive, naive.tail()
        return committed_by(cluster) >= records

    await until(so_many, f"committed: {records:,} records", DEADLINE_S, every_s=0.2)


def committed_by(cluster: Cluster) -> int:
    """How many records the naive app's group has handled for good."""
    group = GroupOffsets(cluster.kafka, cluster.name, cluster.sources, PARTITIONS)
    try:
        return sum((group.read() or {}).values())
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
