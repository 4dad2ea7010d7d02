"""The client for programs without asyncio: the same answers, from any thread."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiohttp import web

from onhand_client import AsyncClient, BlockingSession, Client, InvalidRequest, Line, Session
from onhand_client.blocking import BlockingCalls
from onhand_client.client import Calls
from tests.unit.client.serving import Shop, a_problem, a_server, a_shop

LINE: Line = {"source": "till-1", "sku": "SKU-0003", "location": "store-1", "quantity": 1}


def use(client: Client) -> None:
    assert client.row("SKU-0003", "store-1").on_hand == 10
    assert client.sku("SKU-0003").on_hand == 30
    assert len(client.lookup([("SKU-0003", "store-1")]).rows) == 1
    assert len(list(client.rows())) == 60
    assert next(client.pages(limit=25)).rows
    with pytest.raises(InvalidRequest):
        client.row("\u200b", "store-1")
    session = client.session()
    assert session.post_sales([LINE]).is_accepted
    assert client.session(session.export()).position == session.position
    assert client.session(session.export()).row("SKU-0003", "store-1").on_hand == 10


def share(shop: Shop) -> None:
    """In a thread: every call of this file blocks."""
    with Client(shop.urls, source="till-1") as client:
        use(client)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: client.row("SKU-0003", "store-1"), range(80)))
        assert {answer.on_hand for answer in answers} == {10}
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.row("SKU-0003", "store-1")


async def test_threads_share_a_client() -> None:
    async with a_shop() as shop:
        await asyncio.to_thread(share, shop)


def close_beside(client: Client, begun: threading.Event) -> list[str]:
    """Close it while another thread waits for an answer; what that thread is told."""
    told = []

    def call() -> None:
        try:
            client.row("SKU-1", "store-1", timeout_s=600)
        except RuntimeError as error:
            told.append(str(error))

    other = threading.Thread(target=call, daemon=True)
    other.start()
    assert begun.wait(30)
    client.close()
    client.close()
    other.join(30)
    return told


@pytest.mark.parametrize("is_hanging", [True, False])
async def test_who_waits_while_another_thread_closes_the_client_is_told(is_hanging: bool) -> None:
    begun = threading.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if "inventory" in request.path:
            begun.set()
            if is_hanging:
                await asyncio.Event().wait()
        return a_problem("not-ready", retry_after="60")

    async with a_server(handler=answer) as url:
        told = await asyncio.to_thread(close_beside, Client(url), begun)

    assert told in (["The client is closed."], ["The client was closed during the call."])


def calls_of(kind: type) -> dict[str, list[str]]:
    return {
        name: list(inspect.signature(member).parameters)[1:]
        for name, member in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") and name != "close"
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [(Calls, BlockingCalls), (AsyncClient, Client), (Session, BlockingSession)],
)
def test_both_clients_have_the_same_calls_with_the_same_arguments(one: type, other: type) -> None:
    assert calls_of(one) == calls_of(other)
    assert inspect.signature(AsyncClient) == inspect.signature(Client)
