"""Requests that no client should send, and what each is told."""

import asyncio
from typing import Any

import pytest

from core.positions import format_position
from tests.unit.web.serving import KEY, LINE, Worker


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
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()

    status = int(answer.split(b" ", 2)[1])
    assert 200 <= status < 500


@pytest.mark.parametrize("field", ["locations", "min_position", "x" * 5000, "\n\x00é"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/lookup", {"keys": [{"sku": "SKU-1", "location": "s-7"}]}),
        ("/v1/facts/lookup", {"facts": [{"source": "till-1", "id": "1"}]}),
    ],
)
@pytest.mark.parametrize("where", ["beside the list", "in the list"])
async def test_a_field_of_a_lookup_that_is_not_known_is_refused_by_name(
    worker: Worker, path: str, body: dict[str, list[Any]], field: str, where: str
) -> None:
    (name,) = body
    if where == "in the list":
        asked: dict[str, Any] = {name: [body[name][0] | {field: 1}]}
    else:
        asked = body | {field: 1}

    response, told = await worker.ask("POST", path, path, json=asked)

    (fault,) = told["errors"]
    assert (response.status, fault["parameter"]) == (400, "body")
    assert f"unknown field `{field[:100]}" in fault["detail"]
    assert len(fault["detail"]) < 400  # and not all of what was sent
    assert (await worker.ask("POST", path, path, json=body))[0].status != 400


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


async def test_a_position_of_a_thousand_partitions_fits_into_a_request(worker: Worker) -> None:
    """A list has one of them all, and a worker of another version asks with what it has told."""
    topics = ("sales", "shipments", "adjustments")
    every = format_position({(topic, p): 10**9 for topic in topics for p in range(4, 1000)})

    response, told = await worker.ask("GET", f"/v1/inventory?min_position={every}", "/v1/inventory")

    assert (response.status, told["missing_partitions"]) == (200, [])


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
    go_on = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    writer.write(b"{}")
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()

    assert b" 100 " in go_on
    assert answer.startswith(b"HTTP/1.1 400 ")  # the line has no identity
