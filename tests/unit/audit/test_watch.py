"""What a watch says of itself: the last word on each partition."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiokafka.errors import KafkaConnectionError

from app.commands.past import watch as watching
from app.commands.past.found import as_document
from app.commands.past.watch import Watched, url_at, watch
from app.config import Settings
from audit.auditing import Audited
from audit.comparing import Held, RowDifference
from audit.log import AuditFailed
from domain.rows import Row, row_key
from ledger.engine import LedgerUnavailable


def audited(partition: int, wrong: int = 0, unread: str | None = None) -> Audited:
    held = Held(where="http://a:1", role="active", partition=partition, positions={"sales": 5})
    held.unread = unread
    for number in range(wrong):
        held.differs(RowDifference(row_key(f"SKU-{number}", "here"), Row(sold=1, events=1), None))
    return Audited(partition=partition, records=10, copies=[held], at=1_795_000_000.0)


async def test_drift_is_told_as_json_and_as_a_metric_and_goes_when_it_is_repaired() -> None:
    watched = Watched(as_document)
    app = web.Application()
    app.add_routes(watched.routes())
    for one in (audited(0), audited(1, wrong=2), audited(2, unread="broke off")):
        watched.note(one)
    async with TestClient(TestServer(app)) as client:
        said = await (await client.get("/v1/audit")).json()
        assert (said["drift"], [one["drift"] for one in said["partitions"]]) == (2, [0, 2, 0])
        assert said["partitions"][1]["copies"][0]["differences"][0]["sku"] == "SKU-0"
        assert said["partitions"][1]["copies"][0]["position"] == "sales-1@4"
        assert said["partitions"][0]["at"] == "2026-11-18T11:06:40.000Z"
        metrics = await (await client.get("/metrics")).text()
        assert 'onhand_audit_drift{partition="1"} 2.0' in metrics
        assert 'onhand_audit_unread_copies{partition="2"} 1.0' in metrics
        assert "onhand_audit_records_total 30.0" in metrics

        watched.fail("Kafka stopped sending the log: look whether it runs.")
        assert "Kafka stopped" in (await (await client.get("/v1/audit")).json())["failed"]
        watched.note(audited(1))
        said = await (await client.get("/v1/audit")).json()
        assert (said["drift"], said["failed"]) == (0, None)


@pytest.mark.parametrize(
    ("worker", "watch"),
    [
        ("http://127.0.0.1:6066", "http://127.0.0.1:6366"),
        ("http://stock.example", "http://stock.example:6366"),
        ("http://[::1]:6066/", "http://[::1]:6366"),
        ("http://[fd00::7]", "http://[fd00::7]:6366"),
    ],
)
def test_workers_find_it_where_they_find_a_worker_of_its_machine(worker: str, watch: str) -> None:
    assert url_at(Settings(url=worker), 6366) == watch


class FailingAuditor:
    """It cannot audit until all these have gone wrong."""

    def __init__(self, *wrong: Exception) -> None:
        self._wrong: Iterator[Exception] = iter(wrong)

    async def partition(self, number: int) -> Audited:
        for error in self._wrong:
            raise error
        return audited(number)


async def test_a_watch_outlives_whoever_goes_away_and_says_who_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "_RETRY_S", 0.0)
    watched, done, failed = Watched(as_document), asyncio.Event(), list[str]()
    monkeypatch.setattr(watched, "fail", failed.append)
    wrong = (AuditFailed("a"), LedgerUnavailable("b"), KafkaConnectionError(), TimeoutError())
    auditor: Any = FailingAuditor(*wrong)
    said = lambda one: done.set()  # noqa: E731
    task = asyncio.create_task(watch(auditor, [0], watched, said, ("127.0.0.1", 0)))
    async with asyncio.timeout(30):
        await asyncio.wait([task, asyncio.create_task(done.wait())], return_when="FIRST_COMPLETED")

    assert not task.done()
    assert failed[:2] == ["a", "b"]
    assert all("Kafka does not answer" in one for one in failed[2:])
    assert len(failed) == len(wrong)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
