"""How many may ask at once, and who is kept out by whom."""

import asyncio

import pytest

from tests.unit.web.serving import KEY, LIMITS, LINE, Worker
from web.writes.appending import Receipt
from web.writes.turns import TooLate

# ---- bounds


async def test_one_request_too_many_is_told_so_while_probes_are_answered(worker: Worker) -> None:
    worker.web._gates["read"].inside = LIMITS.reads

    response, body = await worker.ask("GET", "/v1/inventory/SKU-1", "/v1/inventory/{sku}")

    assert (response.status, body["type"]) == (503, "/problems/too-busy")
    assert (await worker.ask("GET", "/ready", "/ready"))[0].status == 200
    worker.web._gates["read"].inside = 0
    response, _ = await worker.ask("GET", "/v1/inventory/SKU-1", "/v1/inventory/{sku}")
    assert response.status == 200


async def test_a_key_read_that_need_not_wait_is_never_too_many(worker: Worker) -> None:
    worker.web._gates["read"].inside = LIMITS.reads

    response, _ = await worker.ask("GET", "/v1/inventory/SKU-1/s-7", KEY)

    assert response.status == 200
    worker.web._gates["read"].inside = 0


async def test_waiting_writes_do_not_keep_reads_out(worker: Worker) -> None:
    worker.web._gates["write"].inside = LIMITS.writes

    assert (await worker.ask("POST", "/v1/sales", "/v1/sales", json=LINE))[0].status == 503
    assert (await worker.ask("GET", "/v1/inventory/SKU-1/s-7", KEY))[0].status == 200
    worker.web._gates["write"].inside = 0


async def test_bodies_that_do_not_come_keep_no_other_write_out(worker: Worker) -> None:
    head = b"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    slow = [
        await asyncio.open_connection(worker.client.host, worker.client.port) for _ in range(20)
    ]
    for _, writer in slow:
        writer.write(head + b"Content-Length: 100\r\n\r\n{")
    async with asyncio.timeout(30):
        while worker.web._gates["write"].inside < len(slow):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    response, told = await worker.ask("POST", "/v1/sales", "/v1/sales", json=LINE | {"quantity": 0})

    assert (response.status, told["type"]) == (400, "/problems/invalid-request")
    for _, writer in slow:
        writer.close()


async def test_outcomes_that_are_waited_for_keep_no_other_write_out(worker: Worker) -> None:
    worker.web._gates["write"].inside = worker.web._facts.waiting = 5

    response, _ = await worker.ask("POST", "/v1/sales", "/v1/sales", json=LINE | {"quantity": 0})

    assert response.status == 400
    worker.web._gates["write"].inside = worker.web._facts.waiting = 0


async def test_a_write_that_had_no_turn_is_told_so(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def append(records: list[object]) -> Receipt:
        raise TooLate("It had no turn within 1 s; nothing was appended.")

    monkeypatch.setattr(worker.web._facts, "_append", append)

    response, told = await worker.ask("POST", "/v1/sales", "/v1/sales", json=LINE)

    assert (response.status, told["type"]) == (503, "/problems/too-busy")
