"""Workers that keep nothing on disk: the changelog is all they have, and it is enough."""

from pathlib import Path

import pytest

from dev.kafka import Kafka
from tests.support.breaking import faults
from tests.support.breaking.faults import under_load
from tests.support.cluster.workers import Cluster


def databases_in(folder: Path) -> list[Path]:
    return list(folder.rglob("CURRENT"))


def without_disks(kafka: Kafka, folder: Path) -> Cluster:
    settings = {**faults.SETTINGS, "ONHAND_STORE": "memory"}
    return Cluster(kafka.bootstrap, folder, 4, settings=settings)


async def test_workers_without_a_disk_lose_no_row_through_a_kill_and_the_end_of_all(
    kafka: Kafka, tmp_path: Path
) -> None:
    cluster = without_disks(kafka, tmp_path)
    try:
        async with under_load(cluster, "a", "b") as load:
            await faults.random_kills(load, rounds=1, seed=11)
        await faults.wiped_and_restored(cluster)
        assert databases_in(tmp_path) == []
    finally:
        cluster.close()


@pytest.mark.torture
async def test_workers_without_a_disk_lose_no_row_through_many_kills_and_sleeps(
    kafka: Kafka, tmp_path: Path
) -> None:
    cluster = without_disks(kafka, tmp_path)
    try:
        async with under_load(cluster, "a", "b", "c", seed=2) as load:
            await faults.random_kills(load, rounds=10, seed=2)
            for n in range(3):
                await faults.frozen_owner(load, "abc"[n], set("abc") - {"abc"[n]})
        await faults.wiped_and_restored(cluster)
        assert databases_in(tmp_path) == []
    finally:
        cluster.close()
