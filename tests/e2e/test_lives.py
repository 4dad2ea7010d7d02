"""Workers come and go by signal, several at once, as supervisors do it."""

from pathlib import Path

from aiokafka import AIOKafkaConsumer
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._resource import ResourceType

from core.stages import Role
from dev.kafka import Kafka
from dev.workers import Late, Worker, until
from tests.support.breaking.faults import under_load
from tests.support.breaking.kafka_tools import allow_only
from tests.support.cluster import lives
from tests.support.cluster.workers import Cluster

PARTITIONS = 6
#: So that a worker nearly always holds something folded that it has not committed.
SETTINGS = {"ONHAND_COMMIT_INTERVAL_MS": "2000"}


async def test_a_worker_that_stops_keeps_nothing_from_its_successors_whatever_else_happens(
    cluster: Cluster,
) -> None:
    """One waits for a slow caller while the group rebalances around it."""
    a, b, c = (cluster.worker(name) for name in "abc")
    b.command = lives.PATIENT
    async with under_load(cluster, "a", "b", "c") as load:
        async with lives.a_slow_caller(b) as was_answered:
            b.ask_to_stop()
            assert await a.stop() == 0
            await lives.owns_all(cluster, c)
            assert not was_answered()
        assert await b.ended() == 0
        await cluster.start("a", "b")
        await load.committed_more(500)
        await lives.rolled(cluster, "bca", apart_s=0.2)
        await lives.stopped_together(cluster, "c", "b")
    lives.assert_nobody_was_fenced(cluster)


async def test_workers_that_come_one_after_another_take_no_partition_from_who_restores_it(
    kafka: Kafka, tmp_path: Path
) -> None:
    """Each would restore it from its beginning, and it would be counted by nobody until then."""
    cluster = Cluster(kafka.bootstrap, tmp_path, partitions=3)
    try:
        await cluster.create_topics()
        lives.write_long_changelog(cluster, rows=100_000)
        cluster.launch("a")
        await lives.restored_of_each(cluster, cluster.worker("a"), 40_000)
        for name in "bc":
            cluster.launch(name)
        await lives.shared_by_all(cluster)
        assert await lives.restores(cluster, Role.ACTIVE) == dict.fromkeys(range(3), 1)
        lives.assert_nobody_was_fenced(cluster)
    finally:
        cluster.close()


async def refused(worker: Worker) -> str:
    """What it says as its last word, having ended by itself."""
    worker.start()
    try:
        assert await worker.ended(60) != 0
    except Late as late:
        raise Late(f"{late}\n{worker.tail()}") from None
    return worker.log.read_text()


async def test_a_session_shorter_than_the_brokers_allow_ends_the_worker_with_the_variable(
    strict_kafka: Kafka, tmp_path: Path
) -> None:
    settings = {"ONHAND_SESSION_TIMEOUT_MS": "1000"}
    cluster = Cluster(strict_kafka.bootstrap, tmp_path, PARTITIONS, settings=settings)
    try:
        await cluster.create_topics()
        said = await refused(cluster.worker("a"))
    finally:
        cluster.close()

    assert "Kafka refuses ONHAND_SESSION_TIMEOUT_MS = 1000: set it" in said


async def test_a_group_with_a_foreign_member_ends_the_worker_and_leaves_that_one_alone(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    foreign = AIOKafkaConsumer(
        cluster.sources[0], bootstrap_servers=cluster.kafka, group_id=f"{cluster.name}-v1"
    )
    await foreign.start()
    try:
        said = await refused(cluster.worker("a"))
        assert len(foreign.assignment()) == PARTITIONS
    finally:
        await foreign.stop()

    assert f"The group {cluster.name}-v1 has a member that is no worker of ours" in said


async def test_a_group_that_may_not_be_joined_ends_the_worker_with_the_right_to_grant(
    strict_kafka: Kafka, tmp_path: Path
) -> None:
    cluster = Cluster(strict_kafka.bootstrap, tmp_path, PARTITIONS)
    group = f"{cluster.name}-v1"
    try:
        await cluster.create_topics()
        await allow_only(strict_kafka.bootstrap, ResourceType.GROUP, group, AclOperation.DESCRIBE)
        said = await refused(cluster.worker("a"))
    finally:
        cluster.close()

    assert f"does not let this worker join the group {group}: grant its user READ" in said


async def test_a_worker_told_another_port_than_its_settings_does_not_start(
    cluster: Cluster,
) -> None:
    worker = cluster.worker("a")
    worker.command = (*worker.command, "-p", "6071")
    worker.start()

    assert await worker.ended(60) == 2
    assert "The option --web-port 6071 is not taken" in worker.log.read_text()


async def test_of_workers_with_two_windows_one_kind_never_joins_and_disturbs_nobody(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    cluster.worker("a").settings = cluster.settings | {"ONHAND_DEDUP_WINDOW": "1000"}
    cluster.worker("b").settings = cluster.settings | {"ONHAND_DEDUP_WINDOW": "2000"}
    for name in "ab":
        cluster.launch(name)

    async def one_ended() -> list[str]:
        return [name for name in "ab" if not cluster.worker(name).alive]

    [loser] = await until(one_ended, "ended: one of two", 60)
    [winner] = {"a", "b"} - {loser}
    await cluster.worker(winner).ready()
    assert cluster.worker(loser).process.returncode == 2  # type: ignore[union-attr]
    assert "Set ONHAND_DEDUP_WINDOW back" in cluster.worker(loser).log.read_text()

    async def rebalances_seen() -> int:
        return generations(cluster, winner)

    # It is ready a moment before it logs what it was assigned.
    rebalances = await until(rebalances_seen, "told what it was assigned", 60)

    cluster.launch(loser)  # as its supervisor does
    assert await cluster.worker(loser).ended(60) == 2
    assert generations(cluster, winner) == rebalances


def generations(cluster: Cluster, name: str) -> int:
    """How often the group has rebalanced, as this worker logged it."""
    return cluster.worker(name).log.read_text().count("after they were assigned")


async def test_of_two_workers_with_one_address_the_later_one_ends_and_a_restart_does_not(
    cluster: Cluster,
) -> None:
    await cluster.create_topics()
    await cluster.start("a")
    cluster.worker("a").kill()
    await cluster.start("a")  # in the ten seconds in which its own ghost is heard
    cluster.settings["ONHAND_URL"] = cluster.worker("a").url

    said = await refused(cluster.worker("b"))

    assert "give each worker an ONHAND_URL of its own" in said
    assert cluster.worker("a").alive
