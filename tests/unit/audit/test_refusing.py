"""A repair that is not allowed, or would not be right, is refused, and nothing is added."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from domain.stock import STOCK
from tables.audit.repairs import Repairs
from web.access.callers import CALLER
from web.http.bodies import BodyLimits
from web.operations.auditing import REPAIRS_PATH, Auditing

ASKED = {
    "partition": 0, "key": "SKU-1\x00here", "found": None, "right": None,
    "ownership": "mine", "group": 4,
}  # fmt: skip


def owning(**owned: Any) -> Repairs:
    """Repairs of a worker that owns partition 0, as far as a refusal looks at it."""
    known = {"token": "mine", "repaired": {}, "fold": SimpleNamespace(memory=object()), **owned}
    store = SimpleNamespace(get_many=lambda keys: [None] * len(keys))
    partition: Any = SimpleNamespace(owned=SimpleNamespace(**known), store=store)
    commits: Any = None  # nothing of a refused repair is committed
    return Repairs({0: partition}, commits)


async def answer(
    repairs: Repairs | None,
    body: Any = ASKED,
    remote: str = "127.0.0.1",
    caller: Any = None,
    **headers: str,
) -> tuple[int, str, str]:
    """Status, problem and detail."""
    table: Any = SimpleNamespace(count=1)
    auditing = Auditing(table, repairs, BodyLimits())

    async def handle(request: web.Request) -> web.StreamResponse:
        CALLER.set(caller)
        return await auditing.repair(request.clone(remote=remote))

    app = web.Application()
    app.router.add_post(REPAIRS_PATH, handle)
    async with (
        TestClient(TestServer(app)) as client,
        client.post(REPAIRS_PATH, json=body, headers=headers) as got,
    ):
        said = await got.json(content_type=None)
        return got.status, said["type"].rpartition("/")[2], said["detail"]


@pytest.mark.parametrize("remote", ["10.0.0.9", "fe80::1", "192.168.1.7"])
async def test_without_a_token_only_the_owners_own_machine_may_repair(remote: str) -> None:
    status, problem, detail = await answer(owning(), remote=remote)
    assert (status, problem) == (403, "missing-scope")
    assert "from the machine of the worker" in detail

    for local in ("127.0.0.1", "::1"):
        assert (await answer(owning(), remote=local))[0] == 409
    assert (await answer(owning(), remote=remote, caller="ann"))[0] == 409


@pytest.mark.parametrize(
    "header", ["X-Forwarded-For", "Forwarded", "Via", "x-real-ip", "X-Forwarded-Proto", "Origin",
               "Sec-Fetch-Site", "Onhand-Hop"],
)  # fmt: skip
async def test_a_proxy_or_a_page_on_the_owners_machine_is_not_its_operator(header: str) -> None:
    strangers = {header: "10.0.0.9"}

    assert (await answer(owning(), **strangers))[:2] == (403, "missing-scope")
    assert (await answer(owning(), caller="ann", **strangers))[0] == 409


async def test_a_table_whose_rows_are_only_read_repairs_none() -> None:
    assert (await answer(None))[:2] == (403, "missing-scope")


@pytest.mark.parametrize(
    ("owned", "says"),
    [
        ({"token": "another's"}, "has another owner since: audit again"),
        ({"repaired": {b"SKU-1\x00here": 5}}, "was repaired since it was read: audit again"),
        ({}, "are not sums: they cannot be repaired"),
    ],
)
async def test_what_would_count_twice_or_cannot_be_added_is_refused(
    owned: dict[str, Any], says: str
) -> None:
    status, problem, detail = await answer(owning(**owned))

    assert (status, problem) == (409, "repair-refused")
    assert says in detail


async def test_a_partition_that_is_not_here_is_repaired_elsewhere() -> None:
    status, problem, _ = await answer(owning(), ASKED | {"partition": 7})

    assert (status, problem) == (409, "repair-refused")


async def test_what_is_no_repair_is_a_400_and_what_is_no_row_a_503() -> None:
    for body in ({}, ASKED | {"more": 1}, [ASKED], ASKED | {"group": "4"}):
        assert (await answer(owning(), body))[:2] == (400, "invalid-request"), body
    memory = STOCK.memory(0, 1, empty=True)
    status, problem, _ = await answer(
        owning(fold=SimpleNamespace(memory=memory)), ASKED | {"found": "no row"}
    )
    assert (status, problem) == (503, "not-ready")
