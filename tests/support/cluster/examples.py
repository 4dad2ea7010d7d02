"""Two workers that have taken the examples of /openapi.json, and what they answer to them."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from dev.workers import AUDIT, ROOT, Worker, until
from tests.support.cluster.workers import LEDGER, Cluster
from tests.support.topics.logs import Put, plain_writer
from web.history.passing import AUDIT_PATH
from web.openapi.calls import CALLS
from web.records.kept import LOADS_PATH
from web.writes.documents import DOCUMENTS_PATH, FILE

Json = dict[str, Any]
ROW = "/v1/inventory/SKU-000042/store-007"
#: Paths with what a GET needs to be answered.
ASKED = {
    "/v1/inventory/{sku}/{location}": ROW,
    "/v1/inventory/{sku}": "/v1/inventory/SKU-000042",
    "/v1/inventory": "/v1/inventory?sku_prefix=SKU-00&limit=1",
    "/v1/facts": "/v1/facts?source=till-17&id=4711-1",
    "/v1/inventory/{sku}/{location}/timeline": f"{ROW}/timeline?limit=2",
    "/v1/reports/{name}": "/v1/reports/location-totals",
    "/v1/changes": "/v1/changes?type=inventory.sale.completed.v1&limit=1&wait_ms=10000",
}
EVENTS = "application/cloudevents+json"


def form_of(parts: Json) -> aiohttp.FormData:
    """Parts of a form, of which one is a file."""
    form = aiohttp.FormData()
    for name, text in parts.items():
        form.add_field(name, text.encode(), filename="sales.csv" if name == FILE else f"{name}.txt")
    return form


class Answers:
    """Asks one worker."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url, self._http = url, http

    async def to(self, method: str, path: str, body: Any = None, kind: str = "") -> tuple[int, Any]:
        """Status and body, decoded where it is JSON."""
        data: Any = body
        headers = {}
        if not isinstance(body, bytes | aiohttp.FormData | None):
            data = json.dumps(body).encode()
        if isinstance(data, bytes):
            headers["Content-Type"] = kind or "application/json"
        async with self._http.request(method, self.url + path, data=data, headers=headers) as got:
            raw = await got.read()
            return got.status, json.loads(raw) if got.content_type.endswith(
                "json"
            ) else raw.decode()

    async def of_every_call(self) -> dict[str, Any]:
        """By operationId: the answer to each call's own example, events first."""
        answers: dict[str, Any] = {}
        for path, call in sorted(CALLS.items(), key=lambda item: item[1].tag != "write"):
            if path == LOADS_PATH:
                await until(self._is_remembered, "remembered: the document", 60)
            if call.body is None:
                status, answer = await self.to("GET", ASKED.get(path, path))
            else:
                kind = EVENTS if path == "/v1/events" else ""
                more = "?outcome=true&wait_ms=10000" if path == "/v1/sales" else ""
                body = form_of(call.body) if path == DOCUMENTS_PATH else call.body
                status, answer = await self.to("POST", path + more, body, kind)
            assert status in (200, 202), f"{path}: {answer}"
            answers[call.id] = answer
            if path == "/v1/adjustments":  # the last of those that it counts here
                await self._counted(answer["position"])
        return answers

    async def _is_remembered(self) -> bool:
        """Kafka answers a commit before readers see it."""
        status, answer = await self.to("GET", LOADS_PATH)
        return status == 200 and bool(answer["items"])

    async def _counted(self, position: str) -> None:
        async def is_counted() -> bool:
            query = f"?min_position={position}&wait_ms=10000"
            return (await self.to("GET", ROW + query))[0] == 200

        async def is_kept() -> bool:
            status, answer = await self.to("GET", f"{ROW}?at_position={position}")
            return status == 200 and answer["events"] > 0

        await until(is_counted, "counted: the examples", 60)

        async def is_audited() -> bool:
            status, answer = await self.to("GET", AUDIT_PATH)
            return status == 200 and any(one["copies"] for one in answer["partitions"])

        await until(is_kept, "kept by the ledger: the examples", 60)
        await until(is_audited, "audited: a partition", 60)


@asynccontextmanager
async def two_workers(kafka: str, folder: Path) -> AsyncIterator[tuple[Cluster, Answers]]:
    """With one dead letter, a ledger and an audit that goes on."""
    cluster = Cluster(kafka, folder, 2)
    try:
        await cluster.create_topics()
        plain_writer(kafka).write(cluster.sources[0], [Put(b"SKU-000042", b"<sale/>")])
        await cluster.start("a", "b")
        await cluster.settled()
        ledger = cluster.workers["ledger"] = Worker(
            "ledger", folder, cluster.settings, command=LEDGER
        )
        ledger.start()
        await ledger.ready()
        audit = Worker("audit", folder, cluster.settings, command=AUDIT)
        audit.command += ("--port", str(audit.port), "--url", cluster.worker("a").url)
        cluster.workers["audit"] = audit
        audit.start()
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            yield cluster, Answers(cluster.worker("a").url, http)
    finally:
        cluster.close()


async def schemathesis(cluster: Cluster, worker: Answers, folder: Path, *more: str) -> int:
    """Ask the worker whatever its document allows, and some that it forbids.

    Returns:
        How many requests were answered as the document says; it fails for any other.
    """
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file"),
        *(str(ROOT / "tests" / "schemathesis.toml"), "run", f"{worker.url}/openapi.json"),
        *("--url", worker.url, *more),
        cwd=folder,  # it keeps what it found where it runs
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    said = output.decode(errors="replace")
    assert process.returncode == 0, said[-8000:]
    for each in cluster.alive:
        assert "met a bug" not in each.log.read_text()
    passed = re.search(r"generated, (\d+) passed", said)
    assert passed is not None, said[-8000:]
    return int(passed[1])
