"""The whole of HTTP on a table in memory, without Kafka: routes, bounds, readiness, draining."""

import io
import json

import pytest
from jsonschema import Draft202012Validator

from app import __version__
from core.stages import Role, Stage
from tests.unit.web.fakes import a_status
from tests.unit.web.serving import KEY, LINE, Worker
from web.page.files import PageFiles
from web.writes.appending import Receipt

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


async def test_a_feed_that_nobody_tells_is_as_the_document_says(worker: Worker) -> None:
    changes = "/v1/changes"
    for accept in ("application/json", "text/event-stream", "application/x-ndjson"):
        headers = {"Accept": accept}
        response, body = await worker.ask("GET", changes, changes, headers=headers)
        assert (response.status, body["type"]) == (503, "/problems/history-not-running")
        response, body = await worker.ask("GET", f"{changes}?of=rows", changes, headers=headers)
        assert (response.status, body["missing_partitions"]) == (503, [0, 1, 2, 3])
        bad = await worker.ask("GET", f"{changes}?of=rose", changes, headers=headers)
        assert (bad[0].status, bad[1]["errors"][0]["parameter"]) == (400, "of")
    _, metrics = await worker.ask("GET", "/metrics")
    assert b'onhand_feed_readers{form="text/event-stream"} 0.0' in metrics


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
    # One route takes them all.
    inside = {("GET", "/v1/inventory/{sku}"), ("GET", KEY), ("GET", f"{KEY}/timeline")}
    about = {("GET", "/openapi.json"), ("GET", "/problems/{name}"), ("GET", "/")}
    about |= {("GET", "/asyncapi.json"), ("GET", "/docs")}
    # For `onhand audit` alone, of the same build.
    about |= {("GET", "/v1/audit/copies/{partition}"), ("POST", "/v1/audit/repairs")}
    about |= {("GET", path) for path in PageFiles().others}

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


async def test_the_root_says_to_programs_what_there_is(worker: Worker) -> None:
    response, body = await worker.ask("GET", "/")
    assert (response.status, body["build"]) == (200, __version__)
    assert {"GET /v1/inventory", "POST /v1/sales", "GET /ready"} <= {
        f"{call['method']} {call['path']}" for call in body["calls"]
    }


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
        assert "Did you mean" not in body["detail"]


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/inventry/SKU%2F1/store-007", "/v1/inventory/SKU%2F1/store-007"),
        ("/inventory/SKU-1", "/v1/inventory/SKU-1"),
        ("/v1/clustr", "/v1/cluster"),
        ("/metric", "/metrics"),
        ("/v1/sale", "/v1/sales"),
    ],
)
async def test_a_path_that_is_spelt_much_like_one_is_told_which(
    worker: Worker, path: str, meant: str
) -> None:
    response, body = await worker.ask("GET", path)

    assert response.status == 404
    assert f"Did you mean '{meant}'?" in body["detail"]


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
