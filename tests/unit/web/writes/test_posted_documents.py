"""POST /v1/documents: what is taken, what is bounded, and how each end is told."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse, FormData, web
from aiohttp.test_utils import TestClient, TestServer
from msgspec.structs import replace

from dev.workers import until
from domain.rules.held import CURRENT, HELD
from tests.support.inputs.builders import an_active_version
from tests.support.judges.openapi_check import Contract
from tests.unit.web.access_files import Keys
from tests.unit.web.fakes import FakeLoader, FakeTable
from tests.unit.web.serving import LIMITS, Worker, a_web
from web.access.access import OPEN, Access
from web.access.callers import Scope
from web.config import Limits
from web.http.bodies import BodyLimits, Room
from web.openapi.calls import ANSWERS
from web.openapi.document import document as described
from web.writes.documents import DocumentLimits, in_words_of_http
from web.writes.loads import DocumentBody, LoadAnswer, LoadEnd, LoadFault, NoFactBody

PATH = "/v1/documents"
BYTES = {"Content-Type": "application/octet-stream"}
BODY = msgspec.convert(ANSWERS["postDocument"], DocumentBody)
SMALL = DocumentLimits(body=BodyLimits(bytes=2000, room=Room(4000)), waiting=2, wait_s=60.0)


def a_form(**parts: bytes) -> FormData:
    form = FormData()
    for name, data in parts.items():
        form.add_field(name, data, filename="sales.csv" if name == "file" else f"{name}.txt")
    return form


@asynccontextmanager
async def a_worker(
    loader: FakeLoader,
    documents: DocumentLimits = SMALL,
    access: Access = OPEN,
    origins: tuple[str, ...] = (),
    rules: int = CURRENT.number,
    limits: Limits = LIMITS,
) -> AsyncIterator[Worker]:
    table, app = FakeTable(), web.Application()
    versions = an_active_version(rules=rules)
    part = a_web(table, replace(limits, documents=documents), access, origins, versions, loader)
    part.attach(app)
    async with TestClient(TestServer(app)) as client:
        document = msgspec.json.encode(described("", "", guarded=access.has_tokens))
        yield Worker(part, table, client, Contract(msgspec.json.decode(document)))


async def waits(worker: Worker, count: int) -> None:
    """Until so many are loaded, or wait for it."""

    async def are_there() -> bool:
        return worker.web._documents._queued == count

    await until(are_there, f"{count} documents", 60, every_s=0.001)


async def post(worker: Worker, **more: Any) -> tuple[ClientResponse, Any]:
    return await worker.ask("POST", more.pop("path", PATH), PATH, **more)


async def test_a_document_comes_with_its_parts_or_alone_and_the_loader_is_given_all() -> None:
    loader = FakeLoader()
    loader.answer = LoadAnswer(end=LoadEnd.LOADED, body=BODY)
    async with a_worker(loader) as worker:
        response, told = await post(
            worker,
            path=f"{PATH}?leave_out_refused=true&test=true&document=monday&format=csv",
            data=a_form(file=b"a,b\n", map=b"x = 1", catalogue=b"c", places=b"p"),
        )
        assert (response.status, told) == (202, ANSWERS["postDocument"])
        await post(worker, data=b"UNB+", headers=BYTES)
        packed = BYTES | {"Content-Encoding": "gzip"}
        await post(worker, data=gzip.compress(b"UNB+"), headers=packed)

    first, alone, unpacked = loader.asked
    assert (first.file, first.data, first.map) == ("sales.csv", b"a,b\n", b"x = 1")
    assert (first.catalogue, first.places) == (b"c", b"p")
    assert (first.document, first.format) == ("monday", "csv")
    assert (first.leave_out_refused, first.test, first.dry_run) == (True, True, False)
    assert (first.rules, first.caller) == (CURRENT.number, None)
    assert alone == unpacked
    assert (alone.file, alone.data, alone.map) == ("", b"UNB+", None)


@pytest.mark.parametrize(
    ("answer", "status", "name", "member"),
    [
        (LoadAnswer(end=LoadEnd.LOADED, body=BODY), 202, None, "position"),
        (LoadAnswer(end=LoadEnd.CHECKED, body=replace(BODY, position=None)), 200, None, "lines"),
        (
            LoadAnswer(end=LoadEnd.BAD_PARTS, detail="D.", faults=[LoadFault("Line 1.", "map")]),
            400,
            "invalid-request",
            "errors",
        ),
        (LoadAnswer(end=LoadEnd.UNREADABLE, detail="D."), 422, "unreadable-document", "detail"),
        (
            LoadAnswer(end=LoadEnd.LINES_REFUSED, detail="D.", body=BODY),
            422,
            "lines-refused",
            "document",
        ),
        (
            LoadAnswer(end=LoadEnd.FORBIDDEN, detail="D.", faults=[LoadFault("line 2: no.")]),
            403,
            "missing-scope",
            "errors",
        ),
        (
            LoadAnswer(end=LoadEnd.LOADED_BEFORE, detail="D.", position="sales-0@3"),
            409,
            "already-loaded",
            "position",
        ),
        (LoadAnswer(end=LoadEnd.CONFLICT, detail="D."), 409, "document-conflict", "detail"),
        (LoadAnswer(end=LoadEnd.UNFINISHED, detail="D."), 503, "load-unfinished", "detail"),
    ],
    ids=lambda value: str(value.end) if isinstance(value, LoadAnswer) else None,
)
async def test_each_end_has_its_answer_as_the_document_says(
    answer: LoadAnswer, status: int, name: str | None, member: str
) -> None:
    loader = FakeLoader()
    loader.answer = answer
    async with a_worker(loader) as worker:
        response, told = await post(worker, data=b"x", headers=BYTES)

    assert response.status == status
    assert told.get("type") == (name and f"/problems/{name}")
    assert member in told


def test_every_end_is_among_them() -> None:
    marks = test_each_end_has_its_answer_as_the_document_says.pytestmark  # type: ignore[attr-defined]  # of pytest
    assert {one[0].end for one in marks[0].args[1]} == set(LoadEnd)


async def test_options_that_a_sentence_names_are_parts_and_parameters_here() -> None:
    told = "add it (--catalogue), or --leave-out-refused (`--draft-mapping`, --map)."
    loader = FakeLoader()
    body = replace(BODY, no_facts=[NoFactBody("line 2", "refused", told)])
    loader.answer = LoadAnswer(end=LoadEnd.LINES_REFUSED, detail=told, body=body)
    async with a_worker(loader) as worker:
        _, answer = await post(worker, data=b"x", headers=BYTES)

    said = (
        "add it (the part catalogue), or leave_out_refused=true "
        "(`onhand load --draft-mapping`, the part map)."
    )
    assert (answer["detail"], answer["document"]["no_facts"][0]["sentence"]) == (said, said)
    assert in_words_of_http(said) == said.replace("load --draft", "load onhand load --draft")


@pytest.mark.parametrize(
    ("more", "status", "told"),
    [
        ({"json": {}}, 415, "not as 'application/json'"),
        ({"data": b"x", "headers": {"Content-Type": "text/csv"}}, 415, "alone as application/oct"),
        ({"data": b"x" * 2001, "headers": BYTES}, 413, "larger than 2,000 bytes"),
        ({"data": gzip.compress(b"x" * 9999), "headers": BYTES | {"Content-Encoding": "gzip"}},
         413, "larger than 2,000 bytes"),
        ({"data": a_form(map=b"x")}, 400, "There is no part file"),
        ({"data": a_form(file=b"x", maps=b"x")}, 400, "There is no part 'maps'"),
        ({"path": f"{PATH}?dryrun=true", "data": b"", "headers": BYTES}, 400, "dryrun: is not kn"),
        ({"path": f"{PATH}?document=a%0Ab", "data": b"", "headers": BYTES}, 400, "printable"),
        ({"path": f"{PATH}?test=1", "data": b"", "headers": BYTES}, 400, "must be true or false"),
        ({"data": b"x", "headers": BYTES | {"If-Match": '"x"'}}, 400, "If-Match is a condition"),
    ],
)  # fmt: skip
async def test_what_is_not_taken_is_refused_before_anybody_loads(
    more: dict[str, Any], status: int, told: str
) -> None:
    loader = FakeLoader()
    async with a_worker(loader) as worker:
        response, answer = await post(worker, **more)

    assert (response.status, told in answer["detail"]) == (status, True), answer
    assert loader.asked == []


@pytest.mark.parametrize("header", ["Origin", "Referer", "Sec-Fetch-Site"])
async def test_a_form_from_a_page_that_nobody_allowed_is_refused(header: str) -> None:
    loader = FakeLoader()
    async with a_worker(loader, origins=("https://shop.example",)) as worker:
        foreign = {header: "https://evil.example"}
        response, _ = await post(worker, data=a_form(file=b"x"), headers=foreign)
        assert (response.status, loader.asked) == (415, [])

        allowed = {header: "x", "Origin": "https://shop.example"}
        await post(worker, data=a_form(file=b"x"), headers=allowed)
        await post(worker, data=b"x", headers=BYTES | foreign)  # it asks first
        assert len(loader.asked) == 2


async def test_documents_are_loaded_one_by_one_and_so_many_wait() -> None:
    loader = FakeLoader()
    loader.held.clear()
    async with a_worker(loader, limits=replace(LIMITS, writes=1)) as worker:
        first = asyncio.create_task(post(worker, data=b"1", headers=BYTES))
        await loader.begun(1)
        second = asyncio.create_task(post(worker, data=b"2", headers=BYTES))
        await waits(worker, 2)

        response, told = await post(worker, data=b"3", headers=BYTES)
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert told["type"] == "/problems/too-busy"
        assert len(loader.asked) == 1
        # Other writes have places of their own: this one is only without Kafka.
        line = {"source": "t", "id": "1", "sku": "A", "location": "s", "quantity": 1}
        _, told = await worker.ask("POST", "/v1/sales", "/v1/sales", json=line)
        assert told["type"] == "/problems/append-failed"

        loader.held.set()
        await asyncio.gather(first, second)
        assert [asked.data for asked in loader.asked] == [b"1", b"2"]


async def test_who_has_no_turn_in_time_is_told_that_nothing_was_sent() -> None:
    loader = FakeLoader()
    loader.held.clear()
    async with a_worker(loader, replace(SMALL, wait_s=0.0)) as worker:
        first = asyncio.create_task(post(worker, data=b"1", headers=BYTES))
        await loader.begun(1)

        response, told = await post(worker, data=b"2", headers=BYTES)

        assert (response.status, "nothing was sent" in told["detail"]) == (503, True)
        loader.held.set()
        await first
        await post(worker, data=b"3", headers=BYTES)
        assert [asked.data for asked in loader.asked] == [b"1", b"3"]


async def test_the_rules_are_those_of_the_active_version() -> None:
    loader, newest = FakeLoader(), max(HELD)
    async with a_worker(loader, rules=newest) as worker:
        await post(worker, data=b"x", headers=BYTES)
    assert [asked.rules for asked in loader.asked] == [newest]

    async with a_worker(loader, rules=99) as worker:
        response, told = await post(worker, data=b"x", headers=BYTES)
    assert (response.status, told["type"]) == (503, "/problems/not-ready")
    assert "counts by rules 99" in told["detail"]


async def test_a_document_that_waits_for_its_turn_is_read_by_the_rules_of_the_moment_that_it_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader, older, newest = FakeLoader(), min(HELD), max(HELD)
    loader.held.clear()
    async with a_worker(loader, rules=older) as worker:
        begun = asyncio.create_task(post(worker, data=b"1", headers=BYTES))
        await loader.begun(1)
        late = asyncio.create_task(post(worker, data=b"2", headers=BYTES))
        await waits(worker, 2)

        monkeypatch.setattr(worker.web._documents, "_rules", lambda: newest)  # a promotion
        loader.held.set()
        await begun
        await late
        assert [asked.rules for asked in loader.asked] == [older, newest]

        monkeypatch.setattr(worker.web._documents, "_rules", lambda: 99)
        response, told = await post(worker, data=b"3", headers=BYTES)
        assert (response.status, "counts by rules 99" in told["detail"]) == (503, True)


async def test_who_may_not_write_loads_nothing_and_the_loader_knows_who_may_what(
    tmp_path: Path,
) -> None:
    loader, keys = FakeLoader(), Keys(tmp_path)
    reads, writes = keys.token(Scope.READ), keys.token(Scope.WRITE, locations=["store-7"])
    async with a_worker(loader, access=keys.access()) as worker:
        for token, status in ((None, 401), (reads, 403), (writes, 503)):
            headers = BYTES if token is None else BYTES | {"Authorization": f"Bearer {token}"}
            response, _ = await post(worker, data=b"x", headers=headers)
            assert response.status == status

    (asked,) = loader.asked
    assert asked.caller is not None
    assert (asked.caller.name, asked.caller.may_write("load", "store-7")) == ("till-17", None)
    assert asked.caller.may_write("load", "store-8") is not None
