"""The last release as version 1 and this build as version 2, with a worker that sleeps over it."""

import json
from pathlib import Path

import pytest

from dev.kafka import Kafka
from dev.releases import checked_out, releases
from dev.workers import WORKER, Worker, onhand, until
from tests.e2e.upgrades.test_switch import (
    PARTITIONS,
    SKUS,
    Load,
    deliver,
    get,
    owns_all,
)
from tests.support.breaking.mutated import worker_without
from tests.support.cluster.upgrading import upgraded
from tests.support.cluster.workers import Cluster

FORCE = ("--force", "not-caught-up")
#: A version that commits so seldom answers at once, and is behind.
SELDOM = {"ONHAND_COMMIT_INTERVAL_MS": "1500"}


def of_build(root: Path) -> tuple[str, ...]:
    """What Python is given to be a worker of the build in this folder."""
    code = (
        f"import os, sys; os.chdir({str(root)!r}); "
        f"os.execv(sys.executable, [sys.executable, *{WORKER!r}])"
    )
    return ("-c", code)


async def build_of(worker: Worker) -> str:
    _, _, document = await get(f"{worker.url}/openapi.json")
    return str(document["info"]["version"])


async def epoch_of(cluster: Cluster) -> int:
    code, said = await onhand("upgrade", "log", "--json", settings=cluster.settings)
    assert code == 0, said
    return max(int(one["epoch"]) for one in json.loads(said)["records"])


async def answers_by_its_record(sleeper: Worker, epoch: int) -> None:
    """What it says after it woke is of the record that it names, until it has gone over."""

    async def has_gone_over() -> bool:
        status, _, body = await get(f"{sleeper.url}/v1/inventory/{SKUS[0]}/here")
        if status == 503:
            return False
        assert status == 200, body
        told = body["freshness"]["version"], body["freshness"]["epoch"]
        assert told in ((1, epoch - 1), (2, epoch)), told
        return bool(told[1] == epoch)

    await until(has_gone_over, "gone over: who slept", 60)


async def promoted_while_one_sleeps(one: Cluster, load: Load, sleeper: Worker) -> None:
    """A worker is frozen over the switch; nobody fails, and it answers nothing unlabelled."""
    sleeper.freeze()

    async def is_missed() -> bool:
        code, said = await onhand("upgrade", "promote", "2", *FORCE, settings=one.settings)
        assert code == 1, said
        return "is silent for" in said

    await until(is_missed, "refused: a worker is silent", 60)
    overrule = (*FORCE, "--force", "silent-worker")
    code, said = await onhand("upgrade", "promote", "2", *overrule, settings=one.settings)
    assert (code, f"Not confirmed by {sleeper.url}" in said) == (5, True), said
    await load.every_door_answers(2)
    sleeper.thaw()
    await answers_by_its_record(sleeper, await epoch_of(one))


@pytest.mark.parametrize(
    "without", ["", pytest.param("no-floors", marks=pytest.mark.torture)], ids=["", "no-floors"]
)
async def test_the_last_release_hands_over_to_this_build_and_takes_over_again(
    kafka: Kafka, tmp_path: Path, without: str
) -> None:
    """Without the floors in this build the way back to a version that is behind would be seen."""
    release = releases()[-1]
    one = Cluster(kafka.bootstrap, tmp_path, PARTITIONS)
    two = Cluster(
        kafka.bootstrap, tmp_path, PARTITIONS, name=one.name, settings={"ONHAND_VERSION": "2"}
    )
    root = checked_out(release, tmp_path / "released")
    a, c, b = one.worker("a"), one.worker("c"), two.worker("b")
    a.command = c.command = of_build(root)
    if without:
        b.command = worker_without(without)
        a.settings, c.settings = ({**w.settings, **SELDOM} for w in (a, c))
    load = Load([a.url, b.url], one.prefix)
    try:
        await one.create_topics()
        await one.start("a", "c")
        assert await build_of(a) == release.version
        await deliver(a.url)
        await upgraded(one.settings, "stage", "2")
        two.launch("b")

        async def staged() -> bool:
            try:
                return await owns_all(b.url)
            except OSError:
                return False

        await until(staged, "owned by version 2", 120, every_s=0.2)
        assert await build_of(b) != release.version
        await one.caught_up()
        assert "0 differ" in await upgraded(one.settings, "diff")
        async with load.running():
            await promoted_while_one_sleeps(one, load, c)
            await upgraded(one.settings, "rollback", *FORCE)
            await load.every_door_answers(1)
        if without:
            with pytest.raises(AssertionError):
                load.verdict()
            return
        load.verdict()
        await one.caught_up()
        for door in (a, b, c):
            _, _, body = await get(f"{door.url}/v1/inventory/{SKUS[0]}/here")
            assert body["on_hand"] == 10_000 - load.sold
    except AssertionError as error:
        raise AssertionError(f"{error}\n{one.logs()}\n{two.logs()}") from None
    finally:
        if c.alive:
            c.thaw()
        one.close()
        two.close()
