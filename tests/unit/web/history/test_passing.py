"""Questions about the past go to the ledger that can answer them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, make_mocked_request
from msgspec.structs import replace

from tests.unit.web.cluster.test_roster import a_beat, a_ledger
from web.cluster.exchange import PeerAnswer
from web.cluster.heartbeats import AUDIT, WorkerState
from web.cluster.peers import Peers, get
from web.cluster.roster import Roster
from web.history.passing import AUDIT_PATH, Passing, _Asked
from web.http.problems import Problem, problem

Answer = Callable[[], web.Response]
ASKED = "/v1/inventory/SKU-1/here"


def known() -> web.Response:
    return web.json_response({"on_hand": 7})


def unknown() -> web.Response:
    return problem(Problem.UNKNOWN_KEY, "No event up to there names it.")


def building() -> web.Response:
    return problem(Problem.NOT_READY, "This ledger is being built: 5 of about 7 are written.")


@asynccontextmanager
async def passing(*answers: Answer) -> AsyncIterator[Passing]:
    """To ledgers that answer so; each spoke later than the one before, so is asked before it."""
    roster = Roster(a_beat(0))
    async with AsyncExitStack() as stack:
        for number, answer in enumerate(answers, start=1):

            async def handle(request: web.Request, answer: Answer = answer) -> web.Response:
                return answer()

            app = web.Application()
            app.router.add_get(ASKED, handle)
            server = await stack.enter_async_context(TestServer(app))
            url = str(server.make_url("")).rstrip("/")
            roster.hear(replace(a_ledger(number), url=url), 1_000_000 + number)
        yield Passing(roster, Peers())


async def asked(*answers: Answer) -> int | str | None:
    async with passing(*answers) as history:
        found = await history._ask_one(
            "ledger", history._roster.ledgers(), lambda url: get(url, ASKED, {}, "")
        )
    return found.status if isinstance(found, PeerAnswer) else found


async def test_the_version_that_a_door_has_chosen_is_not_asked_of_a_ledger() -> None:
    seen: list[str] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append(request.path_qs)
        return web.json_response({})

    roster = Roster(a_beat(0))
    app = web.Application()
    app.router.add_get(f"{ASKED}/timeline", handle)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        roster.hear(replace(a_ledger(1), url=url), 1_000_000)
        for query in ("version=2", "version=2&limit=1", "limit=1&version=2&all=true", "limit=1"):
            request = _Asked(f"{ASKED}/timeline", query, "")
            assert (await Passing(roster, Peers())._pass_on(request)).status in (200, 503)
    assert [one.partition("?")[2] for one in seen] == ["", "limit=1", "limit=1&all=true", "limit=1"]


@pytest.mark.parametrize(
    ("target", "is_past"),
    [
        (f"{ASKED}?as_of=2026-11-23T10:00:00Z", True),
        (f"{ASKED}?%61s_of=2026-11-23T10:00:00Z", True),
        (f"{ASKED}?limit=1&at%5Fposition=sales-0%404", True),
        (f"{ASKED}/time%6Cine", True),
        ("/v1/inventory?sku_prefix=as_of%3D&limit=1", False),
        ("/v1/inventory?sku_prefix=as_of=", False),
        ("/v1/inventory/timeline", False),
    ],
)
async def test_a_question_about_the_past_is_known_in_any_spelling_and_by_names_alone(
    target: str, is_past: bool
) -> None:
    async def of_now(request: web.Request) -> web.StreamResponse:
        return web.Response(status=200)

    history = Passing(Roster(a_beat(0)), Peers())
    answer = await history._choosing(of_now)(make_mocked_request("GET", target))

    assert answer.status == (503 if is_past else 200)  # nobody keeps history


async def test_a_question_of_drift_goes_to_an_audit_and_to_no_ledger() -> None:
    roster = Roster(a_beat(0))
    history = Passing(roster, Peers())
    request = make_mocked_request("GET", AUDIT_PATH)

    async def audit(_: web.Request) -> web.Response:
        return web.json_response({"drift": 2})

    app = web.Application()
    app.router.add_get(AUDIT_PATH, audit)
    async with TestServer(app) as server:
        url = str(server.make_url("")).rstrip("/")
        roster.hear(replace(a_ledger(1), url=url), 1_000_000)
        none = await history._audit(request)
        watch = replace(a_ledger(2), url=url, kind=AUDIT)
        roster.hear(watch, 1_000_001)
        told = await history._audit(request)
        roster.hear(replace(watch, sequence=9, state=WorkerState.GONE), 1_000_002)
        gone = await history._audit(request)

        odd = await history._audit(make_mocked_request("GET", f"{AUDIT_PATH}?version=x"))
        other = await history._audit(make_mocked_request("GET", f"{AUDIT_PATH}?since=1"))

    assert [odd.status, other.status] == [400, 400]
    assert [none.status, told.status, gone.status] == [503, 200, 503]
    assert told.body == b'{"drift": 2}'
    assert gone.text is not None
    assert "onhand audit --watch" in gone.text


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ((known,), 200),
        ((known, building), 200),
        ((building, known), 200),
        ((unknown, building), 404),
        ((building,), 503),
        ((building, building), 503),
        ((), None),
    ],
)
async def test_a_ledger_that_cannot_say_yet_has_the_word_only_where_no_other_can(
    answers: tuple[Answer, ...], status: int | None
) -> None:
    assert await asked(*answers) == status
