"""Workers that are slow, dead, wrong or busy: what the caller feels, and what goes out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from onhand_client import (
    AsyncClient,
    HistoryNotRunning,
    InternalError,
    NoAnswer,
    NotReady,
    ProblemError,
    TooBusy,
)
from onhand_client import errors as told
from onhand_client.pacing import Budget
from tests.unit.client.serving import (
    Script,
    a_client,
    a_cluster,
    a_problem,
    a_row,
    a_server,
    a_shop,
    cut,
    hang,
    serving,
)
from web.http.problems import Problem

KEY = ("A", "store-0")


def good(request: web.Request) -> web.Response:
    return web.json_response(a_row("A", f"http://{request.host}"))


def says(name: str, status: int = 503, **more: Any) -> Callable[[web.Request], web.Response]:
    return lambda request: a_problem(name, status, **more)


def test_every_problem_of_a_worker_has_an_exception_of_its_own() -> None:
    assert set(told.BY_NAME) == set(Problem)
    assert len(set(told.BY_NAME.values())) == len(Problem)


async def test_a_dead_owner_costs_no_call() -> None:
    async with a_shop() as shop, a_client(*shop.urls) as client:
        owner = shop.owner_of("SKU-0003")
        await client.row("SKU-0003", "store-1")
        await shop[owner].die()

        answers = await asyncio.gather(*(client.row("SKU-0003", "store-1") for _ in range(50)))

        assert {answer.on_hand for answer in answers} == {10}


async def test_a_hanging_owner_costs_one_slow_answer_and_is_then_left_alone() -> None:
    async with a_shop() as shop, a_client(*shop.urls, hedge_s=0.25) as client:
        owner = shop.owner_of("SKU-0003")
        await client.row("SKU-0003", "store-1")
        shop[owner].freeze()

        slow = await client.row("SKU-0003", "store-1")
        seen = len(shop[owner].seen)
        quick = await client.row("SKU-0003", "store-1")

        assert slow.on_hand == quick.on_hand == 10
        assert not [one for one in shop[owner].seen[seen:] if not one[2]]  # only hops, if any
        shop[owner].wake()


async def test_two_hanging_workers_cost_no_call_even_without_a_budget() -> None:
    scripts = [Script(hang), Script(hang), Script(good)]
    async with serving(*scripts, hedge_s=0.1) as client:
        client._asking.budget = Budget(0.0, 0.0)

        assert (await client.row(*KEY)).row is not None


async def test_no_second_worker_is_asked_while_the_first_is_quick() -> None:
    async with a_shop() as shop, a_client(*shop.urls) as client:
        for number in range(60):
            await client.row(f"SKU-{number % 20:04d}", "store-1")

        assert sum(shop.asked()) == 60


async def test_hedges_end_with_the_budget() -> None:
    slow = Script(hang)
    async with serving(slow, slow, timeout_s=1.4, hedge_s=0.1) as client:
        client._asking.budget = Budget(0.0, 3.0)
        calls = [client.row(*KEY) for _ in range(10)]

        answers = await asyncio.gather(*calls, return_exceptions=True)

        assert all(isinstance(answer, NoAnswer) for answer in answers)
        assert 10 < len(slow.seen) <= 10 + 3


async def test_without_an_answer_a_call_ends_at_its_deadline_and_says_whom_it_asked() -> None:
    async with serving(Script(hang)) as client:
        began = time.monotonic()
        with pytest.raises(NoAnswer, match=client._asking.cluster.seeds[0]):
            await client.row(*KEY, timeout_s=0.3)

        assert time.monotonic() - began >= 0.29


async def test_an_answer_that_breaks_off_is_none() -> None:
    def half(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b'Content-Length: 999\r\n\r\n{"sku"'
        )
        return cut(request)

    broken = Script(half)
    async with serving(broken, Script(good)) as client:
        for _ in range(4):
            assert (await client.row(*KEY)).row is not None

    assert broken.seen


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"", b"{}", b"[]", b'{"sku":'])
async def test_what_is_no_answer_of_a_worker_is_none(body: bytes) -> None:
    odd = Script(lambda request: web.Response(body=body, content_type="application/json"))
    async with serving(odd, Script(good)) as client:
        for _ in range(4):
            assert (await client.row(*KEY)).row is not None

    assert odd.seen


async def test_a_503_is_followed_by_another_worker_at_once() -> None:
    busy = Script(says("too-busy", retry_after="60"))
    async with serving(busy, Script(good)) as client:
        for _ in range(4):
            assert (await client.row(*KEY)).row is not None

    assert busy.seen


async def test_when_all_are_busy_they_are_asked_again_as_late_as_they_said() -> None:
    script = Script(says("too-busy", retry_after="1"), good)
    async with serving(script) as client:
        began = time.monotonic()
        assert (await client.row(*KEY)).row is not None

        assert time.monotonic() - began >= 1.0
        assert len(script.seen) == 2


async def test_a_pause_that_ends_after_the_deadline_is_not_begun() -> None:
    script = Script(says("too-busy", retry_after="60"))
    async with serving(script) as client, asyncio.timeout(30):
        with pytest.raises(TooBusy) as caught:
            await client.row(*KEY)

    assert caught.value.retry_after_s == 60
    assert len(script.seen) == 1


async def test_at_the_deadline_the_last_word_of_a_worker_is_told() -> None:
    script = Script(says("not-ready"))
    async with serving(script, timeout_s=1.0) as client:
        with pytest.raises(NotReady) as caught:
            await client.row(*KEY)

    assert (caught.value.status, caught.value.detail) == (503, "Not now.")
    assert len(script.seen) > 2


async def test_a_503_without_a_budget_waits_before_it_asks_anybody_else() -> None:
    scripts = [Script(says("too-busy", retry_after="60")) for _ in range(2)]
    async with serving(*scripts) as client:
        client._asking.budget = Budget(0.0, 0.0)
        with pytest.raises(TooBusy):
            await client.row(*KEY)

    assert sum(len(script.seen) for script in scripts) == 1


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("invalid-request", 400),
        ("unauthenticated", 401),
        ("missing-scope", 403),
        ("unknown-path", 404),
        ("method-not-allowed", 405),
        ("too-large", 413),
        ("unsupported-media-type", 415),
    ],
)
async def test_what_is_refused_for_good_is_asked_once(name: str, status: int) -> None:
    errors = [{"line": 2, "reason": "bad_data", "detail": "no"}]
    script = Script(says(name, status, errors=errors, scope="read"))
    async with serving(script, script) as client:
        with pytest.raises(told.BY_NAME[name]) as caught:
            await client.row(*KEY)
        with pytest.raises(told.BY_NAME[name]):
            await client.post_sales([{"source": "t", "sku": "A", "location": "l", "quantity": 1}])

    problem = caught.value
    assert (problem.status, problem.type, problem.name) == (status, f"/problems/{name}", name)
    assert (problem.detail, problem.errors, problem.body["scope"]) == ("Not now.", errors, "read")
    assert len(script.seen) == 2


async def test_a_bug_is_tried_once_more_and_then_told() -> None:
    script = Script(says("internal-error", 500))
    async with serving(script) as client:
        with pytest.raises(InternalError):
            await client.row(*KEY)

    assert len(script.seen) == 2


async def test_a_proxys_page_is_a_problem_without_a_name() -> None:
    page = Script(lambda request: web.Response(status=502, text="<html>Bad Gateway</html>"))
    async with serving(page, timeout_s=1.0) as client:
        with pytest.raises(ProblemError) as caught:
            await client.row(*KEY)

    assert (caught.value.status, caught.value.name, caught.value.type) == (502, "", "about:blank")


async def test_nobody_is_sent_elsewhere_with_the_token() -> None:
    other = Script(good)
    async with a_server(handler=other) as elsewhere:

        def away(request: web.Request) -> web.StreamResponse:
            return web.Response(status=307, headers={"Location": f"{elsewhere}/v1"})

        async with a_server(handler=Script(away)) as url, AsyncClient(url, token="t") as client:
            with pytest.raises(ProblemError) as caught:
                await client.row(*KEY)

    assert caught.value.status == 307
    assert other.seen == []


async def test_a_token_goes_with_every_call_and_may_change() -> None:
    tokens = iter(["one", "two", "three"])
    script = Script(good)
    async with a_server(handler=script) as url:
        async with AsyncClient(url, token=lambda: next(tokens, "last")) as client:
            await client.row(*KEY)
            await client.row(*KEY)
        async with AsyncClient(url, token="fixed") as client:
            await client.row(*KEY)

    sent = [headers["Authorization"] for *_, headers in script.seen]
    # /v1/cluster took the others.
    assert len(set(sent)) == 3
    assert all(one.startswith("Bearer ") for one in sent)
    assert sent[-1] == "Bearer fixed"


async def test_the_line_break_of_a_tokens_file_is_no_part_of_it() -> None:
    script = Script(good)
    async with a_server(handler=script) as url:
        for token in ("fixed\n", lambda: " fixed\r\n"):
            async with AsyncClient(url, token=token) as client:
                await client.row(*KEY)

    assert {headers["Authorization"] for *_, headers in script.seen} == {"Bearer fixed"}


async def test_an_answer_from_another_owner_is_learned_from_at_once() -> None:
    async with a_server(handler=Script(good)) as new:
        stale = Script(lambda request: web.json_response(a_row("A", new, partition=0)))
        cluster: dict[str, object] = {}

        async def where(request: web.Request) -> web.Response:
            return web.json_response(cluster)

        async with a_server(web.get("/v1/cluster", where), handler=stale) as old:
            cluster |= a_cluster({0: old}, [old], count=1)
            async with a_client(old) as client:
                first = await client.row(*KEY)
                second = await client.row(*KEY)

    assert first.freshness.worker == new
    assert second.freshness.worker == new
    assert len(stale.seen) == 1


async def test_a_partition_that_moved_is_forwarded_once_and_then_asked_where_it_is() -> None:
    async with a_shop(3, count=6) as shop, a_client(*shop.urls) as client:
        old, p = shop.owner_of("SKU-0003"), shop[0].shelf.partition_of("SKU-0003")
        new = (old + 1) % 3
        shop.move(p, new)
        shop.put("SKU-0003", "store-1", received=77)
        shop.tell()  # the workers know; the client does not yet

        answers = [await client.row("SKU-0003", "store-1") for _ in range(5)]

        assert {answer.on_hand for answer in answers} == {77}
        assert {answer.freshness.worker for answer in answers} == {shop[new].url}
        assert shop.hops() == 1


async def test_a_rolling_restart_costs_no_call() -> None:
    async with a_shop(3, count=6) as shop, a_client(*shop.urls) as client:

        async def read(number: int, times: int) -> None:
            for _ in range(times):
                answer = await client.row(f"SKU-{number:04d}", "store-1")
                assert answer.on_hand == 3 * number + 1

        for number in range(3):
            readers = [asyncio.create_task(read(sku, 20)) for sku in range(6)]
            await shop[number].die()  # under their requests
            await asyncio.gather(*readers)
            await shop.revive(number)
            shop.tell()


async def test_without_a_word_about_the_cluster_the_given_workers_are_asked() -> None:
    script = Script(good)  # 404 for /v1/cluster
    async with serving(script) as client:
        assert (await client.row(*KEY)).row is not None

    assert len(script.seen) == 1


async def test_history_that_does_not_run_is_told_by_name() -> None:
    script = Script(says("history-not-running", retry_after="60"))
    async with serving(script) as client:
        with pytest.raises(HistoryNotRunning):
            await client.row_at(*KEY, as_of="2026-11-01T00:00:00Z")

    assert script.seen[0][1] == "/v1/inventory/A/store-0?as_of=2026-11-01T00%3A00%3A00Z"


async def test_a_lookup_waits_for_an_unknown_cluster_once_and_not_for_each_key() -> None:
    asked = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal asked
        if request.path == "/v1/cluster":
            asked += 1
            await asyncio.Event().wait()
        found = a_row("A", f"http://{request.host}")
        return web.json_response(
            {"items": [found], "unknown": [], "freshness": found["freshness"], "positions": ""}
        )

    async with a_server(handler=answer) as url, AsyncClient(url, timeout_s=30) as client:
        found = await client.lookup([("A", "store-0"), ("B", "store-0"), ("C", "store-0")])

    assert list(found.rows) == [("A", "store-0")]
    assert asked == 1
