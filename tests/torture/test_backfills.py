"""A ledger that is new beside a long log, killed and frozen while it catches up."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

from dev.postgres import Postgres
from dev.traffic.shop import Shop
from dev.workers import Worker, onhand, until
from ledger.reaches import reaches_of
from ledger.upkeep import building
from tests.integration.ledger.conftest import new_database, postgres
from tests.integration.ledger.test_process import all_written, assert_exact
from tests.ledgers.comparing import reading
from tests.ledgers.short import FAR, LINES, Gate
from tests.support.cluster.feed import a_shop
from tests.support.cluster.workers import Cluster

__all__ = ["new_database", "postgres"]

PARTITIONS, KILLS = 3, 5
#: A log that is long enough for such a ledger to make sums and indexes at the end.
RECORDS = FAR + 2_000
#: Of the log: until then no ledger is nearly there.
EARLY = 0.8
#: Records: what is written beyond the moment at which it is killed is part of the case.
SLACK = 3 * LINES
DEADLINE_S = 300


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def a_ledger(cluster: Cluster, name: str, url: str, gate: Gate) -> Worker:
    settings = cluster.settings | {"ONHAND_LEDGER_URL": url}
    ledger = Worker(name, cluster.folder, settings, command=gate.command)
    cluster.workers[name] = ledger
    ledger.start()
    return ledger


async def a_long_log(cluster: Cluster, seed: int) -> Shop:
    """In its topics, before any ledger."""
    await cluster.create_topics()
    shop = a_shop(partitions=PARTITIONS, skus=400, seed=seed)
    feeder = cluster.feeding(shop, RECORDS)
    with feeder:
        await feeder.more(RECORDS, DEADLINE_S)
    return shop


def so_far(engine: sa.Engine) -> tuple[int, bool]:
    """Records that are written, and whether sums and indexes are still to come."""
    with engine.begin() as connection:
        if not sa.inspect(connection).has_table("position"):
            return 0, False
        reaches = reaches_of(connection).values()
        written = sum(one.applied + one.repeated + one.refused for one in reaches)
        return written, not building.is_there(connection)


async def has_written(engine: sa.Engine, records: float) -> None:
    async def there() -> bool:
        return so_far(engine)[0] >= records

    await until(there, f"written: {records:,.0f} records", DEADLINE_S, every_s=0.01)


async def is_right(cluster: Cluster, ledger: Worker, url: str) -> None:
    """Every line, position and sum; and column by column, as the audit counts the log."""
    await all_written(cluster, url, DEADLINE_S)
    await ledger.ready(DEADLINE_S)
    assert_exact(cluster, url)
    await cluster.start("worker", timeout_s=DEADLINE_S)
    settings = cluster.settings | {"ONHAND_LEDGER_URL": url}
    words = "audit", "--url", cluster.worker("worker").url
    code, said = await onhand(*words, settings=settings, timeout_s=DEADLINE_S)
    assert (code, "all agree" in said) == (0, True), said


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_backfill_that_is_killed_again_and_again_has_every_record_once(
    cluster: Cluster, new_database: Callable[[], str], gate: Gate, seed: int
) -> None:
    await a_long_log(cluster, seed)
    url, random = new_database(), Random(seed)
    moments = sorted(random.uniform(0, EARLY) * RECORDS for _ in range(KILLS))
    gate.open(moments[0] + SLACK)
    ledger, engine = a_ledger(cluster, "ledger", url, gate), reading(url)
    for moment, following in zip(moments, [*moments[1:], RECORDS], strict=True):
        await has_written(engine, max(1, moment))
        ledger.kill()
        assert so_far(engine)[1], "this was no backfill any more"
        gate.open(following + SLACK)
        ledger.start()
    await has_written(engine, RECORDS)
    ledger.kill()  # while it makes sums and indexes, or about then
    ledger.start()

    await is_right(cluster, ledger, url)
    assert not so_far(engine)[1]
    engine.dispose()


async def test_a_ledger_frozen_in_a_backfill_past_its_session_hinders_nobody_and_wakes_to_no_harm(
    cluster: Cluster, postgres: Postgres, gate: Gate
) -> None:
    shop = await a_long_log(cluster, 3)
    url, early = postgres.new_database(), RECORDS / 4
    gate.open(early + SLACK)
    first, engine = a_ledger(cluster, "first", url, gate), reading(url)
    await has_written(engine, early)
    first.freeze()
    assert so_far(engine)[1], "this was no backfill any more"
    gate.open(10 * RECORDS)
    second = a_ledger(cluster, "second", url, gate)
    await all_written(cluster, url, DEADLINE_S)
    await second.ready(DEADLINE_S)  # built, while the first one sleeps
    assert not so_far(engine)[1]
    first.thaw()
    with cluster.feeding(shop, 3_000, rate=1_500):
        await asyncio.sleep(0)  # the end of the block waits until all are told

    await is_right(cluster, second, url)
    assert first.alive
    engine.dispose()
