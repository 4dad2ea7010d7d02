"""POST /v1/documents on real workers: each fact once, whatever becomes of the worker."""

from __future__ import annotations

import io
import json
import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dev.kafka import Kafka
from dev.oracle.log import read_topics
from dev.workers import until
from tests.support.cluster.workers import Cluster
from tests.support.inputs.sheets import COUNTS, SALES
from tests.unit.importers.formats.writing import epcis_json, event

LINES, SKUS = 40_000, 500
PATH = "/v1/documents"
#: What Python does first: the process that loads for a worker kills both, within the third
#: transaction of the long document.
DYING = """
import os, signal, sys

def die(*_):
    for pid in (os.getppid(), os.getpid()):
        os.kill(pid, signal.SIGKILL)

if "app.loading.process" in sys.orig_argv:
    from tests.support.breaking import failing
    failing.die = die
    failing.die_in_transaction("open", 3, records=5_000)
"""


def a_form(rows: list[str], name: str) -> aiohttp.FormData:
    form = aiohttp.FormData()
    text = "sku,qty\n" + "\n".join(rows)
    form.add_field("file", io.BytesIO(text.encode()), filename=name)
    form.add_field("map", SALES)
    return form


def parts(data: bytes, **more: bytes) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(data), filename="counts.csv")
    for name, part in more.items():
        form.add_field(name, part.decode())
    return form


async def asked(
    http: aiohttp.ClientSession, method: str, url: str, data: Any = None
) -> tuple[int, Any]:
    async with http.request(method, url, data=data) as answer:
        return answer.status, await answer.json(content_type=None)


def ids(cluster: Cluster) -> Counter[str]:
    return Counter(
        json.loads(record.value or b"")["id"]
        for record in read_topics(cluster.kafka, cluster.sources)
    )


async def test_a_document_whose_worker_is_killed_goes_on_at_another_and_each_fact_counts_once(
    kafka: Kafka, tmp_path: Path
) -> None:
    cluster = Cluster(kafka.bootstrap, tmp_path, 2)
    rows = [f"SKU-{n % SKUS},1" for n in range(LINES)]
    timeout = aiohttp.ClientTimeout(total=300)
    try:
        a, b = cluster.worker("a"), cluster.worker("b")
        (tmp_path / "sitecustomize.py").write_text(DYING)
        a.settings = {**a.settings, "PYTHONPATH": str(tmp_path)}
        await cluster.create_topics()
        await cluster.start("a", "b")
        await cluster.settled()
        async with aiohttp.ClientSession(timeout=timeout) as http:
            # One that nothing happens to, as a first look and then in earnest.
            small, other = a_form(["PEN,2"], "small.csv"), a_form(["PEN,2"], "small.csv")
            status, told = await asked(http, "POST", f"{a.url}{PATH}?dry_run=true", small)
            assert (status, told["facts"], ids(cluster)) == (200, 1, Counter())
            status, told = await asked(http, "POST", a.url + PATH, other)
            assert (status, told["sent"]) == (202, 1)
            row = f"{b.url}/v1/inventory/PEN/shop-7?min_position={told['position']}&wait_ms=10000"
            await sees_sold(http, row, 2)
            ids_before = await counts_and_takes_back(http, a.url, b.url)

            with pytest.raises(aiohttp.ClientError):
                await asked(http, "POST", a.url + PATH, a_form(rows, "sales.csv"))
            assert await a.ended() == -signal.SIGKILL, a.tail()

            status, told = await asked(http, "POST", b.url + PATH, a_form(rows, "sales.csv"))

            assert status == 202, told
            assert told["lines"] == told["facts"] == LINES
            assert 0 < told["lines_sent_before"] == LINES - told["sent"] < LINES
            assert ids(cluster) == Counter(
                [*ids_before, *(f"file:sales.csv#{n}" for n in range(2, LINES + 2))]
            )
            status, again = await asked(http, "POST", b.url + PATH, a_form(rows, "sales.csv"))
            assert (status, again["type"]) == (409, "/problems/already-loaded")
            for position in (told["position"], again["position"]):
                where = f"min_position={position}&wait_ms=10000"
                for sku in ("SKU-0", f"SKU-{SKUS - 1}"):
                    row = f"{b.url}/v1/inventory/{sku}/shop-7?{where}"
                    await sees_sold(http, row, LINES // SKUS)
    finally:
        cluster.close()


async def counts_and_takes_back(http: aiohttp.ClientSession, one: str, other: str) -> list[str]:
    """A count, and an event that is declared wrong, each posted twice: done once. Ids of all."""
    at = datetime.now(UTC) + timedelta(minutes=2)
    for url, expected in ((other, 202), (one, 409)):
        rows = f"sku,qty,at\nPEN,7,{at:%Y-%m-%dT%H:%M:%SZ}\n"
        status, told = await asked(
            http, "POST", url + PATH, parts(rows.encode(), map=COUNTS.encode())
        )
        assert status == expected, told
        if status == 202:
            (count,) = told["counts"]["first"]
            assert (count["became"], count["book"], count["change"]) == ("adjusted", -2, 9)
    places = b"gln,location\n9521234000013,shop-7\n"
    wrong = event(errorDeclaration={"declarationTime": "2026-02-01T00:00:00Z"})
    for body, expected in (
        (epcis_json(event()), 202),
        (epcis_json(wrong), 202),
        (epcis_json(wrong), 409),
    ):
        form = parts(body, places=places)
        status, told = await asked(http, "POST", one + PATH, form)
        assert status == expected, told
        if told.get("revocations"):
            assert [(taken["documents"], taken["facts"]) for taken in told["taken_back"]] == [
                (1, 1)
            ]
    shipped = f"{identity_of(event())}#09521234123453"
    return ["file:small.csv#2", "file:counts.csv#2", shipped, f"{shipped}:revoked"]


def identity_of(shipping: dict[str, Any]) -> str:
    return f"epcis:{shipping['eventID']}"


async def sees_sold(http: aiohttp.ClientSession, row: str, count: int) -> None:
    """The row behind its position, once somebody owns its partition, says so many."""

    async def is_answered() -> Any:
        status, told = await asked(http, "GET", row)
        assert status in (200, 503), told
        return told if status == 200 else None

    assert (await until(is_answered, f"answered: {row}", 120))["sold"] == count
