"""When a worker says that it can answer, and how it leaves."""

import asyncio
from typing import Any

import pytest

from core.stages import Role, Stage
from tables.home.feed import Progress
from tests.unit.web.fakes import a_status
from tests.unit.web.serving import KEY, Worker

# ---- readiness


@pytest.mark.parametrize(
    ("held", "ready"),
    [
        ([], False),
        ([a_status(0, Stage.RESTORING, None)], False),
        ([a_status(0, Stage.RESTORING, None), a_status(1)], True),
        ([a_status(0, Stage.FORMER, Role.FORMER)], True),  # during a rebalance
        ([a_status(0, Stage.STANDBY, Role.STANDBY)], True),
    ],
)
async def test_ready_as_soon_as_it_can_answer_for_something(
    worker: Worker, held: list[Any], ready: bool
) -> None:
    worker.table.statuses = held

    response, _ = await worker.ask("GET", "/ready", "/ready")

    assert response.status == (200 if ready else 503)


async def test_not_ready_says_how_far_the_restore_is(worker: Worker) -> None:
    worker.table.statuses = [
        a_status(0, Stage.RESTORING, None, Progress(300, 1000, 100.0, 7.0)),
        a_status(1, Stage.RESTORING, None, Progress(0, 1000, 0.0, 12.5)),
    ]

    response, body = await worker.ask("GET", "/ready", "/ready")

    assert response.headers["Retry-After"] == "7"
    assert "2 partitions: 300 of about 2,000 changelog records" in body["detail"]
    assert body["partitions"][0]["restore"] == {"done": 300, "total": 1000, "eta_s": 7.0}


async def test_not_ready_says_what_an_operator_must_do(worker: Worker) -> None:
    why = "Partition 0: topic sales was cut; see the runbook."
    worker.table.statuses = [a_status(0, Stage.FORMER, None, stopped_because=why)]

    _, body = await worker.ask("GET", "/ready", "/ready")

    assert body["detail"] == why


# ---- leaving


async def test_a_worker_that_leaves_is_not_ready_and_still_answers(worker: Worker) -> None:
    await worker.web.stop()

    assert (await worker.ask("GET", "/ready", "/ready"))[0].status == 503
    assert (await worker.ask("GET", "/live", "/live"))[0].status == 200
    response, _ = await worker.ask("GET", "/v1/inventory/SKU-1/s-7", KEY)
    assert response.status == 200
    assert response.headers["Connection"] == "close"


async def test_stop_waits_for_requests_under_way_but_not_for_ever(
    worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    reads = worker.web._gates["read"]
    reads.inside = 1
    asyncio.get_running_loop().call_later(0.02, setattr, reads, "inside", 0)
    await worker.web.stop()
    assert reads.inside == 0
    assert not caplog.messages

    reads.inside = 1
    await worker.web.stop()
    assert "still being handled" in caplog.text
    reads.inside = 0
