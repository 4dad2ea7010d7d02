"""Workers of two versions beside each other, as people stage, promote and retire them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
from msgspec.structs import replace

from app import topics
from app.admin import connected
from app.config import Settings
from app.upgrades import record
from core.versions import VersionBegun, first_record
from dev.kafka import Kafka
from dev.workers import Worker, until
from tests.support.breaking.kafka_tools import admin
from tests.support.cluster.upgrading import upgraded
from tests.support.cluster.workers import Cluster

PARTITIONS = 2


async def answer(url: str, path: str = "/ready") -> tuple[int, dict[str, Any]]:
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(timeout=timeout) as http, http.get(url + path) as got:
        return got.status, json.loads(await got.read())


async def says(worker: Worker, status: int, *words: str, owned: int | None = None) -> None:
    """Its /ready says this, and it owns so many partitions."""

    async def so() -> bool:
        try:
            code, body = await answer(worker.url)
        except aiohttp.ClientError:
            return False
        owns = sum(held["role"] == "active" for held in body["partitions"])
        said = code == status and all(word in json.dumps(body) for word in words)
        return said and owned in (None, owns)

    try:
        await until(so, f"{status} {words} of {worker.name}", 90, every_s=0.2)
    except AssertionError as late:
        raise AssertionError(f"{late}\n{worker.tail()}") from None


async def test_a_worker_idles_until_its_version_is_staged_and_when_it_is_retired(
    kafka: Kafka, tmp_path: Path
) -> None:
    one = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    two = Cluster(
        kafka.bootstrap, tmp_path, PARTITIONS, name=one.name, settings={"ONHAND_VERSION": "2"}
    )
    settings = Settings.from_env(one.settings)
    second = replace(settings, version=2)
    try:
        await one.create_topics()
        await one.start("a")
        two.launch("b")
        a, b = one.worker("a"), two.worker("b")
        await says(b, 503, "Version 2 is not staged, so this worker idles", owned=0)
        assert (await answer(b.url, "/live"))[0] == 200
        assert await groups(kafka, two) == {settings.group}
        assert {p.topic for p in await topics.check(second)} == {second.changelog_topic}

        said = await upgraded(one.settings, "stage", "2")
        assert "Now start workers with ONHAND_VERSION=2" in said
        await says(b, 503, "Version 2 is staged: it counts", owned=PARTITIONS)
        assert await groups(kafka, two) == {settings.group, second.group}

        said = await upgraded(one.settings, "promote", "2", "--force", "not-caught-up")
        assert "version 2 is active (epoch 3), 2 of 2 workers" in said
        await says(b, 200, owned=PARTITIONS)
        await says(a, 200, owned=PARTITIONS)

        await upgraded(one.settings, "rollback", "--force", "not-caught-up")
        pid = b.pid
        await upgraded(one.settings, "retire", "2", "--yes")
        await says(b, 503, "Version 2 is retired, so this worker idles", owned=0)
        assert (b.alive, b.pid) == (True, pid)
        assert await groups(kafka, two) == {settings.group}
        assert {p.topic for p in await topics.check(second)} == {second.changelog_topic}
        await until(has_no_store(b, second), "deleted: the stores of version 2", 120)
        assert await b.stop() == 0
        await says(a, 200, owned=PARTITIONS)
        assert await a.stop() == 0
    finally:
        one.close()
        two.close()


def has_no_store(worker: Worker, settings: Settings) -> Any:
    async def so() -> bool:
        return not list((worker.data / settings.group).glob("inventory-*"))

    return so


async def groups(kafka: Kafka, cluster: Cluster) -> set[str]:
    """Consumer groups of this name."""
    client = admin(kafka.bootstrap)
    found = await asyncio.to_thread(client.list_consumer_groups().result, 20)
    ids = {group.group_id for group in found.valid}
    return {name for name in ids if name.startswith(f"{cluster.name}-")}


async def test_a_worker_without_a_record_of_versions_refuses_to_start_and_says_what_to_do(
    kafka: Kafka, tmp_path: Path
) -> None:
    cluster = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    settings = Settings.from_env(cluster.settings)
    async with connected(settings) as client:
        await topics._create(client, topics.desired(settings), 1)

    cluster.launch("a")

    assert await cluster.worker("a").ended(60) == 2
    said = cluster.worker("a").tail()
    assert f"No record in {settings.control_topic} says which version is active: run " in said
    assert "`onhand topics create` with the ONHAND_VERSION that answers now." in said


async def test_a_worker_whose_version_counts_by_rules_of_another_build_refuses_to_start(
    kafka: Kafka, tmp_path: Path
) -> None:
    cluster = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    settings = Settings.from_env(cluster.settings)
    async with connected(settings) as client:
        await topics._create(client, topics.desired(settings), 1)
    begun = VersionBegun(rules=999, window=settings.dedup_window)
    await record.written(settings, lambda history: first_record(settings.version, begun))

    cluster.launch("a")

    assert await cluster.worker("a").ended(60) == 2
    said = cluster.worker("a").tail()
    assert "Version 1 counts by rules 999, and this build holds rules" in said
    assert "run the build that the version was staged with, or a newer one." in said
