"""examples/follower counts each fact once, though it, the worker and the ledger are killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dev.workers import until
from tests.ledgers.feeding import LIMITS, FedLedger, FedWorker
from tests.ledgers.kept import Kept
from tests.ledgers.logs import a_log, judged
from tests.support.cluster.following import Following

RECORDS = 900
#: A hundred processes would not be more of a proof.
KILLS = 5
pytestmark = pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)


@pytest.fixture
async def workers(kept: Kept) -> AsyncIterator[tuple[FedLedger, list[FedWorker]]]:
    ledger = FedLedger(kept)
    await ledger.starts()
    workers = [FedWorker(ledger, LIMITS) for _ in range(2)]
    for worker in workers:
        await worker.server.start_server()
    yield ledger, workers
    for worker in workers:
        await worker.close()
    await ledger.dies()


async def test_a_follower_that_is_killed_again_and_again_counts_each_fact_once(
    kept: Kept, workers: tuple[FedLedger, list[FedWorker]], tmp_path: Path
) -> None:
    ledger, both = workers
    records = a_log(3, RECORDS)
    oracle = judged(records)
    urls = [worker.url.removesuffix("/v1/changes") for worker in both]
    follower = Following("follower", "facts", tmp_path, *urls)
    follower.start()
    share = RECORDS // (KILLS + 1)

    for kill in range(KILLS):
        had = follower.facts()
        kept.feed(records[kill * share : (kill + 1) * share])
        # It is somewhere within what it is told.
        await until(lambda had=had: _more(follower, had), "counted: some", 60, every_s=0.002)  # type: ignore[misc]
        follower.kill()
        if kill == 2:
            await ledger.dies()
        if kill == 3:
            await both[0].close()
        follower.start()
        await asyncio.sleep(0)
        if ledger.url is None:
            await ledger.starts()
    kept.feed(records[KILLS * share :])
    rows = oracle.rows()
    wanted = {key: (row.on_hand, row.events) for key, row in rows.items()}

    async def has_all() -> bool:
        return follower.facts() >= sum(row.events for row in rows.values())

    await until(has_all, "counted: all", 60)
    follower.kill()
    assert follower.stock() == wanted


async def _more(follower: Following, had: int) -> bool:
    return follower.facts() > had
