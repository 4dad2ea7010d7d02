"""The worker of paper that the page is tested on answers as the document says that workers do."""

from __future__ import annotations

import json

import aiohttp

from app import __version__
from tests.support.judges.openapi_check import Contract
from tests.support.page.paper import Paper, a_letter
from tests.support.page.paperkept import AT, a_load, an_alert
from web.openapi.document import document

KEY = "/v1/inventory/{sku}/{location}"
ASKED = {
    "/v1/inventory?limit=3&partial=true": "/v1/inventory",
    "/v1/inventory/SKU-000007/store-003": KEY,
    "/v1/inventory/SKU-000007/nowhere": KEY,
    "/v1/inventory/SKU-000007": "/v1/inventory/{sku}",
    "/v1/inventory/SKU-000007/store-003/timeline?limit=5&all=true": f"{KEY}/timeline",
    "/v1/cluster": "/v1/cluster",
    "/v1/upgrade": "/v1/upgrade",
    "/v1/audit": "/v1/audit",
    "/v1/dead-letters?limit=5": "/v1/dead-letters",
    "/v1/alerts?state=pending": "/v1/alerts",
    "/v1/loads": "/v1/loads",
    "/v1/changes": "/v1/changes",
    "/ready": "/ready",
}


async def test_the_worker_of_paper_answers_as_the_document_says() -> None:
    paper = Paper()
    paper.furnish()
    paper.put("SKU-000007", "store-003").repeat()
    paper.missing = [4]
    paper.feed.tell("SKU-000007", "store-003", -2)
    paper.feed.refuse("bad_data", "It is bad.")
    paper.letters = [a_letter("bad_data", "It is bad.", "{}")]
    paper.kept.alerts = [an_alert("TEA-1"), an_alert("MUG-1", "pending", next_try=AT)]
    paper.kept.loads = [a_load("file:monday"), a_load("file:sunday", sums=None)]
    contract = Contract(json.loads(json.dumps(document(__version__, paper.url, guarded=False))))
    await paper.start()
    try:
        for asked, template in ASKED.items():
            # Freshness stands in headers, too, which a page cannot rely on behind a proxy.
            headers = {
                name: "x" for name in ("Onhand-Role", "Onhand-Worker", "Onhand-Position",
                "Onhand-Lag-Events", "Onhand-As-Of", "Onhand-Version", "Onhand-Epoch")
            }  # fmt: skip
            async with aiohttp.request("GET", paper.url + asked) as response:
                body = await response.read()
                given = {**headers, **response.headers}
                contract.check("GET", template, response.status, given, body)
    finally:
        await paper.stop()
    assert {status for _, _, status in contract.checked} == {200, 404}
