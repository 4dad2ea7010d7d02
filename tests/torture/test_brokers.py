"""Older brokers that Onhand runs on, and brokers upgraded beneath its workers."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from dev.kafka import Kafka, start
from tests.support.breaking import faults
from tests.support.breaking.faults import under_load
from tests.support.cluster.workers import Cluster

PARTITIONS = 4


def on(kafka: Kafka, folder: Path) -> Cluster:
    return Cluster(kafka.bootstrap, folder, PARTITIONS, settings=dict(faults.SETTINGS))


@pytest.mark.parametrize("version", ["3.7.2", "3.9.1", "4.0.2", "4.2.2"])
async def test_rows_are_right_on_this_broker_through_a_kill(version: str, tmp_path: Path) -> None:
    with start(tmp_path / "kafka", version=version) as kafka:
        cluster = on(kafka, tmp_path)
        try:
            async with under_load(cluster, "a", "b") as load:
                await load.more(1_000)
                cluster.worker("a").kill()
                await load.more(1_000)
                await cluster.start("a")
                await cluster.settled()
                await load.more(1_000)
        finally:
            cluster.close()


@pytest.mark.parametrize(("old", "new"), [("3.9.1", "4.2.2"), ("3.7.2", None)])
async def test_a_broker_upgraded_in_place_changes_no_row(
    old: str, new: str | None, tmp_path: Path
) -> None:
    """`new` None is the version that is locked. The workers go on, as they do through a restart."""
    with ExitStack() as brokers:
        before = brokers.enter_context(start(tmp_path / "kafka", version=old))
        cluster = on(before, tmp_path)
        brokers.callback(cluster.close)
        async with under_load(cluster, "a", "b") as load:
            await load.more(1_000)
            before.stop()
            port = before.nodes[0].port
            brokers.enter_context(start(tmp_path / "kafka", port, version=new))
            await load.more(2_000)
