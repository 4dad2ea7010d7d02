"""The whole of HTTP on a table in memory, without Kafka: routes, bounds, readiness, draining."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator

from app import __version__
from core.stages import Role, Stage
from domain.rows import Row
from domain.rules.held import Ruling
from tables.home.feed import Progress
from tests.support.builders import an_active_version
from tests.support.openapi_check import Contract
from tests.unit.web.fakes import URL, FakeTable, a_status
from web.http.connections import ConnectionLimits
from web.server import Limits, Web, WebConfig
from web.writes.appending import Receipt
from web.writes.turns import TooLate

Client = TestClient[web.Request, web.Application]
KEY = "/v1/inventory/{sku}/{location}"
LINE = {"source": "till-17", "id": "1", "sku": "SKU-1", "location": "s-7", "quantity": 2}


class Worker:
    """A worker's web, a client of it, and what it says of itself."""

    def __init__(self, web_part: Web, table: FakeTable, client: Client, contract: Contract):
        self.web = web_part
        self.table = table
        self.client = client
        self.contract = contract

    async def ask(
        self, method: str, path: str, template: str | None = None, **kwargs: Any
    ) -> tuple[ClientResponse, Any]:
        """Send, hold the answer against the document, and read it."""
        async with self.client.request(method, path, **kwargs) as response:
            raw = await response.read()
            if template is not None:
                self.contract.check(method, template, response.status, response.headers, raw)
            is_json = response.content_type.endswith("json") and raw
            return response, json.loads(raw) if is_json else raw


def a_web(table: FakeTable, limits: Limits) -> Web:
    config = WebConfig(
        url=URL,
        version=1,
        kafka={"bootstrap_servers": "127.0.0.1:1"},
        topics={"shipments": "shipments", "sales": "sales", "adjustments": "adjustments"},
        members_topic="onhand-members",
        dead_letters="onhand-v1-dlq",
        build="0.1.0",
        limits=limits,
    )
    return Web(config, table, table.stats, an_active_version(), Ruling())


LIMITS = Limits(
    connections=ConnectionLimits(linger_s=0.05), reads=2, writes=1, append_timeout_s=0.05,
    notice_s=0, drain_s=0.1,
)  # fmt: skip


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    table = FakeTable()
    table.rows["SKU-1", "s-7"] = Row(received=10, sold=3, events=2, checksum=7, updated_at=1)
    web_part, app = a_web(table, LIMITS), web.Application()
    web_part.attach(app)
    async with TestClient(TestServer(app)) as client:
        async with client.get("/openapi.json") as response:
            contract = Contract(await response.json())
        yield Worker(web_part, table, client, contract)


# ---- what it says of itself holds


async def test_reads_are_as_the_document_says(worker: Worker) -> None:
    response, row = await worker.ask("GET", "/v1/inventory/SKU-1/s-7", KEY)
    assert (response.status, row["on_hand"]) == (200, 7)
    tag = {"If-None-Match": response.headers["ETag"]}
    assert (await worker.ask("GET", "/v1/inventory/SKU-1/s-7", KEY, headers=tag))[0].status == 304
    assert (await worker.ask("HEAD", "/v1/inventory/SKU-1/s-7", KEY))[0].status == 200
    assert (await worker.ask("GET", "/v1/inventory/SKU-1/none", KEY))[0].status == 404
    assert (await worker.ask("GET", "/v1/inventory/%FF/none", KEY))[0].status == 400
    behind = "/v1/inventory/SKU-1/s-7?max_lag_events=4"
    assert (await worker.ask("GET", behind, KEY))[0].status == 503
    future = f"/v1/inventory/SKU-1/s-7?min_position=sales-{worker.table.partition_of('SKU-1')}@99"
    assert (await worker.ask("GET", future, KEY))[0].status == 503
    of_sku = "/v1/inventory/{sku}"
    assert (await worker.ask("GET", "/v1/inventory/SKU-1", of_sku))[0].status == 200
    assert (await worker.ask("GET", "/v1/inventory/SKU-2", of_sku))[0].status == 404
    assert (await worker.ask("GET", "/v1/inventory?limit=1", "/v1/inventory"))[0].status == 200
    assert (await worker.ask("GET", "/v1/inventory?limit=0", "/v1/inventory"))[0].status == 400
    keys = {"keys": [{"sku": "SKU-1", "location": "s-7"}, {"sku": "no", "location": "no"}]}
    assert (await worker.ask("POST", "/v1/lookup", "/v1/lookup", json=keys))[0].status == 200
    assert (await worker.ask("POST", "/v1/lookup", "/v1/lookup", json={}))[0].status == 400
    text = {"data": b"a", "headers": {"Content-Type": "text/plain"}}
    assert (await worker.ask("POST", "/v1/lookup", "/v1/lookup", **text))[0].status == 415


async def test_no_fact_is_looked_for_that_could_not_have_been_posted(worker: Worker) -> None:
    for query in ("source=a", "id=b", "source=&id=b", f"source=a&id={'x' * 1025}"):
        response, _ = await worker.ask("GET", f"/v1/facts?{query}", "/v1/facts")

        assert response.status == 400


async def test_what_cannot_be_answered_is_as_the_document_says(worker: Worker) -> None:
    worker.table.statuses = []

    assert (await worker.ask("GET", "/v1/inventory/SKU-1/s-7", KEY))[0].status == 503
    assert (await worker.ask("GET", "/v1/inventory", "/v1/inventory"))[0].status == 503
    keys = {"keys": [{"sku": "SKU-1", "location": "s-7"}]}
    assert (await worker.ask("POST", "/v1/lookup", "/v1/lookup", json=keys))[0].status == 503


async def test_facts_are_as_the_document_says(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    sales = "/v1/sales"
    assert (await worker.ask("POST", sales, sales, json=LINE | {"quantity": 0}))[0].status == 400
    assert (await worker.ask("POST", sales, sales, json=LINE | {"id": None}))[0].status == 400
    text = {"data": b"a", "headers": {"Content-Type": "text/plain"}}
    assert (await worker.ask("POST", sales, sales, **text))[0].status == 415
    large = {"data": io.BytesIO(b" " * 2**21), "headers": {"Content-Type": "application/json"}}
    assert (await worker.ask("POST", sales, sales, **large))[0].status == 413
    # Nobody started it: no Kafka.
    assert (await worker.ask("POST", sales, sales, json=LINE))[0].status == 503

    async def append(records: list[object]) -> Receipt:
        return Receipt([5] * len(records), None)

    monkeypatch.setattr(worker.web._facts, "_append", append)
    assert (await worker.ask("POST", sales, sales, json=LINE))[0].status == 202
    for path in ("/v1/shipments", "/v1/dispatches", "/v1/returns", "/v1/adjustments"):
        assert (await worker.ask("POST", path, path, json=LINE | {"reason": "r"}))[0].status == 202
    event = {
        "specversion": "1.0", "id": "1", "source": "s", "type": "inventory.sale.completed.v1",
        "data": {"sku": "a", "location": "b", "quantity": 1},
    }  # fmt: skip
    typed = {"Content-Type": "application/cloudevents+json"}
    events = {"data": json.dumps(event), "headers": typed}
    assert (await worker.ask("POST", "/v1/events", "/v1/events", **events))[0].status == 202


async def test_operations_are_as_the_document_says(worker: Worker) -> None:
    for path in ("/live", "/ready", "/metrics", "/v1/cluster"):
        assert (await worker.ask("GET", path, path))[0].status == 200
    worker.table.statuses = []
    assert (await worker.ask("GET", "/ready", "/ready"))[0].status == 503


async def test_every_call_in_the_document_exists_and_no_other(worker: Worker) -> None:
    _, document = await worker.ask("GET", "/openapi.json")
    routes = {
        (route.method, route.resource.canonical)
        for route in worker.client.app.router.routes()
        if route.resource is not None and route.method in ("GET", "POST")
    }
    described = {
        (method.upper(), path) for path, calls in document["paths"].items() for method in calls
    }
    inside = {("GET", "/v1/inventory/{sku}"), ("GET", KEY)}  # one route takes both
    about = {("GET", "/openapi.json"), ("GET", "/problems/{name}"), ("GET", "/")}

    assert described - inside == routes - about - {("GET", "/v1/inventory/{tail}")}


async def test_every_call_has_a_name_a_group_and_an_example_that_holds(worker: Worker) -> None:
    _, document = await worker.ask("GET", "/openapi.json")
    calls = [call for methods in document["paths"].values() for call in methods.values()]

    names = [call["operationId"] for call in calls]
    assert len(names) == len(set(names))
    tags = {tag["name"] for tag in document["tags"]}
    assert all(len(call["tags"]) == 1 and tags.issuperset(call["tags"]) for call in calls)
    examples = 0
    for call in calls:
        for content in call.get("requestBody", {}).get("content", {}).values():
            if "example" in content:
                schema = content["schema"] | {"components": document["components"]}
                Draft202012Validator(schema).validate(content["example"])
                examples += 1
    assert examples >= 7


async def test_every_answer_shown_in_the_document_is_what_its_schema_says(worker: Worker) -> None:
    _, document = await worker.ask("GET", "/openapi.json")
    shown = set()
    for path, methods in document["paths"].items():
        for method, call in methods.items():
            for status, response in call["responses"].items():
                for kind, form in response.get("content", {}).items():
                    examples = [one["value"] for one in form.get("examples", {}).values()]
                    if "example" in form:
                        examples.append(form["example"])
                    for example in examples:
                        headers = dict.fromkeys(response.get("headers", {}), "x")
                        headers["Content-Type"] = kind
                        raw = example if isinstance(example, str) else json.dumps(example)
                        worker.contract.check(
                            method.upper(), path, int(status), headers, raw.encode()
                        )
                        shown.add((call["operationId"], int(status) < 300))
    names = {call["operationId"] for ways in document["paths"].values() for call in ways.values()}
    assert shown >= {(name, True) for name in names}
    assert {ok for _, ok in shown} == {True, False}


async def test_the_document_tells_the_version_of_the_build(worker: Worker) -> None:
    _, document = await worker.ask("GET", "/openapi.json")

    assert document["info"]["version"] == __version__


async def test_the_root_says_what_there_is_to_programs_and_to_people(worker: Worker) -> None:
    response, body = await worker.ask("GET", "/")
    assert (response.status, body["build"]) == (200, "0.1.0")
    assert {"GET /v1/inventory", "POST /v1/sales", "GET /ready"} <= {
        f"{call['method']} {call['path']}" for call in body["calls"]
    }

    response, page = await worker.ask("GET", "/", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (response.status, response.content_type) == (200, "text/html")
    assert b"/v1/inventory/{sku}" in page


async def test_every_type_that_a_problem_can_have_is_a_page(worker: Worker) -> None:
    _, document = await worker.ask("GET", "/openapi.json")
    for schema in document["components"]["schemas"].values():
        page = schema.get("properties", {}).get("type", {}).get("const")
        if page is not None:
            response, _ = await worker.ask("GET", page)
            assert (response.status, response.content_type) == (200, "text/html")


# ---- paths and methods


async def test_an_unknown_path_is_404_of_its_own_kind(worker: Worker) -> None:
    for path in ("/nothing", "/v1", "/v1/stock/SKU-1", "/v1/inventory/a/b/c", "/problems/none"):
        response, body = await worker.ask("GET", path)
        assert (response.status, body["type"]) == (404, "/problems/unknown-path")


async def test_a_wrong_method_is_405_with_the_right_ones(worker: Worker) -> None:
    for method, path, allow in (
        ("POST", "/v1/inventory/SKU-1/s-7", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/inventory", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/lookup", "OPTIONS, POST"),
        ("PUT", "/ready", "GET, HEAD, OPTIONS"),
    ):
        response, body = await worker.ask(method, path)
        assert (response.status, body["type"]) == (405, "/problems/method-not-allowed")
        assert response.headers["Allow"] == allow
        response, _ = await worker.ask("OPTIONS", path)
        assert (response.status, response.headers["Allow"]) == (204, allow)


HOSTILE = [
    b"GET /\xff HTTP/1.1\r\nHost: x\r\n",
    b"GET /v1/inventory/\xff/\xfe?min_position=\xff HTTP/1.1\r\nHost: x\r\n",
    b"GET /v1/inventory/SKU-1/s-7 HTTP/1.1\r\nHost: x\r\nIf-None-Match: \xff\r\n",
    b"GET /problems/\xff HTTP/1.1\r\nHost: x\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: \xff;q=\xff\r\n",
    b"GET /%00/%0d%0aX: HTTP/1.1\r\nHost: x\r\n",
    b"BREW /v1/sales HTTP/1.1\r\nHost: x\r\n",
    b"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Type: \xff;charset=\xff\r\n",
    b"POST /v1/sales HTTP/1.1\r\nHost: x\r\nContent-Encoding: \xff\r\n",
    b"POST /v1/sales HTTP/1.1\r\nHost: x\r\nIdempotency-Key: \xff\r\n",
    b"POST /v1/sales HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n",
    b"GET /nowhere HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n",
    b"GET /%0anowhere HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n",
    b"TRACE /live HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=x\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: text/plain;version=1.\xff\r\n",
    # [1,[],[[[[…
    b"GET /v1/inventory?cursor=WzEsW10s" + b"W1tb" * 1500 + b" HTTP/1.1\r\nHost: x\r\n",
    b"GET http://[::1/v1 HTTP/1.1\r\nHost: x\r\n",
]


@pytest.mark.parametrize("head", HOSTILE)
async def test_bytes_that_are_no_text_are_never_a_bug(worker: Worker, head: bytes) -> None:
    reader, writer = await asyncio.open_connection(worker.client.host, worker.client.port)
    writer.write(head + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()

    status = int(answer.split(b" ", 2)[1])
    assert 200 <= status < 500


@pytest.mark.parametrize("depth", [900, 997, 100_000])
@pytest.mark.parametrize(
    ("path", "around"),
    [
        ("/v1/lookup", '{{"a":{}}}'),
        ("/v1/lookup", '{{"keys":[{{"sku":{},"location":"a"}}]}}'),
        ("/v1/sales", '{{"source":"s","id":"1","sku":"a","location":"b","quantity":{}}}'),
        ("/v1/sales", '[{{"source":{}}}]'),
        ("/v1/sightings", '{{"a":{}}}'),
    ],
)
async def test_a_body_nested_however_deep_is_a_400(
    worker: Worker, path: str, around: str, depth: int
) -> None:
    body = around.format("[" * depth + "]" * depth)
    kind = {"Content-Type": "application/json"}

    response, told = await worker.ask("POST", path, path, data=body, headers=kind)

    assert response.status == 400
    assert told["type"] in ("/problems/invalid-request", "/problems/missing-identity")


async def test_a_number_that_json_takes_and_we_cannot_write_is_a_400(worker: Worker) -> None:
    line = LINE | {"quantity": 10**30}

    assert (await worker.ask("POST", "/v1/sales", "/v1/sales", json=line))[0].status == 400


@pytest.mark.parametrize(
    "condition", ["If-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"]
)
async def test_a_condition_that_is_not_kept_is_refused_by_name(
    worker: Worker, condition: str
) -> None:
    given = {condition: '"x"'}
    keys = {"keys": [{"sku": "SKU-1", "location": "s-7"}]}
    for method, path, template, body in (
        ("GET", "/v1/inventory/SKU-1/s-7", KEY, None),
        ("GET", "/v1/inventory/SKU-1", "/v1/inventory/{sku}", None),
        ("GET", "/v1/inventory", "/v1/inventory", None),
        ("POST", "/v1/lookup", "/v1/lookup", keys),
        ("POST", "/v1/sales", "/v1/sales", LINE),
        ("POST", "/v1/events", "/v1/events", LINE),
    ):
        response, told = await worker.ask(method, path, template, headers=given, json=body)

        assert (response.status, told["errors"][0]["parameter"]) == (400, condition)


async def test_if_none_match_is_refused_where_no_answer_has_a_tag(worker: Worker) -> None:
    given = {"If-None-Match": "*"}

    assert (await worker.ask("GET", "/v1/inventory", headers=given))[0].status == 400
    assert (await worker.ask("POST", "/v1/sales", json=LINE, headers=given))[0].status == 400


async def test_metrics_for_who_asks_for_openmetrics(worker: Worker) -> None:
    given = {"Accept": "application/openmetrics-text;version=1.0.0;q=0.6,*/*;q=0.1"}

    response, raw = await worker.ask("GET", "/metrics", headers=given)

    assert response.content_type == "application/openmetrics-text"
    assert raw.endswith(b"# EOF\n")


async def test_curl_is_told_to_go_on_before_it_sends_a_large_body(worker: Worker) -> None:
    reader, writer = await asyncio.open_connection(worker.client.host, worker.client.port)
    head = "POST /v1/sales HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: 2\r\nExpect: 100-continue\r\n\r\n".encode())
    go_on = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    writer.write(b"{}")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()

    assert b" 100 " in go_on
    assert answer.startswith(b"HTTP/1.1 400 ")  # the line has no identity


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


# ---- metrics


async def test_metrics_have_the_published_names_and_labels(worker: Worker) -> None:
    worker.table.stats.applied["sales"] = 3
    worker.table.stats.repeated["sales"] = 1
    worker.table.stats.dead_letters["not_json"] = 2
    worker.table.stats.on_commit(0.02, {}, {}, [])
    other = (worker.table.partition_of("SKU-1") + 1) % worker.table.count
    follows = a_status(other, Stage.STANDBY, Role.STANDBY, standby_lag_records=6)
    worker.table.statuses[other] = follows
    await worker.ask("GET", "/v1/inventory/SKU-1/s-7")

    _, raw = await worker.ask("GET", "/metrics")

    lines = raw.decode().splitlines()
    for line in (
        'onhand_events_applied_total{topic="sales"} 3.0',
        'onhand_events_duplicate_total{topic="sales"} 1.0',
        'onhand_dead_letters_total{reason="not_json"} 2.0',
        f'onhand_lag_events{{partition="{worker.table.partition_of("SKU-1")}",topic="sales"}} 4.0',
        "onhand_oldest_unapplied_seconds 1.5",
        'onhand_commit_seconds_bucket{le="0.025"} 1.0',
        'onhand_commit_seconds_bucket{le="0.01"} 0.0',
        "onhand_commit_seconds_count 1.0",
        f'onhand_standby_lag_records{{partition="{other}"}} 6.0',
        'onhand_dedup_window_seconds{topic="sales"} 86400.0',
        'onhand_query_seconds_count{outcome="found",role="active"} 1.0',
        'onhand_partitions{role="active"} 3.0',
        'onhand_requests_in_flight{kind="read"} 0.0',
    ):
        assert line in lines
    assert any(line.startswith("onhand_restore_records_total ") for line in lines)
    assert not any(f'onhand_lag_events{{partition="{other}"' in line for line in lines)
