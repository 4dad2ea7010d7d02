"""`onhand load`, ended by SIGKILL within a transaction and behind one: each change once."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.config import Settings
from app.loading import pieces
from app.loading.decisions import revoking
from app.loading.decisions.asking import workers_asked
from app.loading.facts import moment_us
from app.loading.found.loaded import LoadedFile
from app.loading.given import FileOnDisk
from app.loading.opening import GivenParts, opened_by
from app.loading.sending import send_all
from dev.oracle.log import MARKERS_S, read_topics
from dev.workers import ROOT, environment
from tests.unit.importers.formats.writing import despatch, edifact

#: Lines of a transaction.
SIZE = 7
#: The command, in small transactions: `open N` ends it when all of the Nth is written and nobody
#: was asked to commit it; `done N` when Kafka has committed it and the load does not know yet.
DYING = f"""
import os, signal, sys
from app.commands import main
from app.loading import pieces
from app.loading.decisions import revoking
from wire.transactions import TransactionalProducer

pieces.chunks.__kwdefaults__["size"] = revoking.CHUNK_LINES = {SIZE}
when, left = sys.argv.pop(1), int(sys.argv.pop(1))
commit = TransactionalProducer.commit

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def dying(self, batches):
    global left
    left -= 1
    if left == 0 and when == "open":
        await commit(self, batches, die)
    found = await commit(self, batches)
    if left == 0:
        die()
    return found

TransactionalProducer.commit = dying
sys.exit(main())
"""
SIGNS = {
    "inventory.sale.completed.v1": -1,
    "inventory.shipment.dispatched.v1": -1,
    "inventory.shipment.received.v1": 1,
    "inventory.stock.adjusted.v1": 1,
}
BEGIN = datetime(2026, 11, 23, 10, tzinfo=UTC)
PLACES = (
    "gln,location,zone\n9521234000013,shop-7,Europe/Berlin\n9521234000020,depot,Europe/Berlin\n"
)
MAP = """
time_form = "rfc3339"
[columns]
sku = "sku"
quantity = "qty"
time = "at"
kind = "kind"
[words.kind]
sold = "sold"
counted = "counted"
[constants]
location = "shop-7"
"""


class Log:
    """Every fact that is in the sources, and how often; the stock that they come to."""

    def __init__(self, settings: Settings, markers_s: float = MARKERS_S) -> None:
        topics = settings.source_topics.values()
        records = read_topics(settings.kafka, topics, markers_s=markers_s)
        self.facts = [json.loads(record.value or b"") for record in records]
        self.ids = Counter(fact["id"] for fact in self.facts)

    def stock(self, sku: str | None = None, until: str = "9999-01-01T00:00:00Z") -> Counter[str]:
        found: Counter[str] = Counter()
        for fact in self.facts:
            goods = fact["data"]
            if sku in (None, goods["sku"]) and moment_us(fact["time"]) <= moment_us(until):
                found[goods["sku"]] += SIGNS[fact["type"]] * goods["quantity"]
        return found


@asynccontextmanager
async def a_ledger(log: Log) -> AsyncIterator[str]:
    """Answers as a worker with a ledger does, by a fold of the log as it was then."""

    async def lookup(request: web.Request) -> web.Response:
        items = [
            {"id": fact["id"], "times": [told(fact)]}
            for asked in (await request.json())["facts"]
            for fact in log.facts
            if fact["id"] == asked["id"]
        ]
        return web.json_response({"items": items})

    def told(fact: dict[str, Any]) -> dict[str, Any]:
        return {"outcome": "applied", "type": fact["type"], "quantity": fact["data"]["quantity"]}

    async def book(request: web.Request) -> web.Response:
        sku, until = request.match_info["sku"], request.query["as_of"]
        on_hand = log.stock(sku, until)[sku]
        return web.json_response({"on_hand": on_hand, "history": {"position": "sales-0@1"}})

    async def timeline(request: web.Request) -> web.Response:
        return web.json_response({"facts": [], "next_cursor": None})

    app = web.Application()
    app.router.add_post("/v1/facts/lookup", lookup)
    app.router.add_get("/v1/inventory/{sku}/shop-7", book)
    app.router.add_get("/v1/inventory/{sku}/shop-7/timeline", timeline)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/")


async def killed(settings: Settings, folder: Path, file: str, *when: str) -> Log:
    """The log behind a load that is ended so."""
    words = ["--map", "m.toml"] if file.endswith(".csv") else []
    async with a_ledger(await asyncio.to_thread(Log, settings, 0)) as url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", DYING, *when, "load", file, *words),
            *("--places", "places.csv", "--url", url),
            cwd=folder,
            env=environment(
                {
                    "ONHAND_KAFKA": settings.kafka,
                    "ONHAND_NAME": settings.name,
                    "ONHAND_TOPIC_PREFIX": settings.topic_prefix,
                    "PYTHONPATH": str(ROOT),
                }
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await asyncio.wait_for(process.communicate(), 180)
    assert process.returncode == -signal.SIGKILL, said.decode()
    # What is open stays so until the next load begins.
    return await asyncio.to_thread(Log, settings, 0 if "open" in when else MARKERS_S)


async def load(settings: Settings, folder: Path, file: str) -> LoadedFile:
    """As the command does."""
    is_table = file.endswith(".csv")
    given = GivenParts(map=MAP.encode() if is_table else None, places=PLACES.encode())
    by = opened_by(given)
    checked = by.check(FileOnDisk(folder / file), lambda _: None, lambda _: None)
    log = await asyncio.to_thread(Log, settings)
    async with a_ledger(log) as url, workers_asked([url]) as asked:
        (found,) = await send_all(
            settings, by, [checked], is_named=False, said=lambda _: None, asked=asked
        )
    return found


def written(folder: Path) -> Counter[str]:
    """A despatch advice, its cancellation, and a table of counts; what lies there in the end.

    Lines of all moments are mixed. Each count says ten more than lay there by the sales before, so
    it matters that it is held against the book of its moment, what was sent of it and what was not.
    """
    (folder / "m.toml").write_text(MAP)
    (folder / "places.csv").write_text(PLACES)
    lines = [f"LIN+{n}++9521234123453:EN" for n in range(1, 31)]
    shipped = despatch(*(part for line in lines for part in (line, "QTY+12:2")))
    (folder / "one.edi").write_bytes(edifact(shipped, reference="I17"))
    (folder / "two.edi").write_bytes(edifact(despatch(function="1"), reference="I18"))
    rows: list[str] = []
    stock = Counter({f"SKU-{n}": 100 for n in range(3)})
    for n in range(30):
        at, sku = BEGIN + timedelta(minutes=n), f"SKU-{n % 3}"
        if n % 2:
            stock[sku] -= 1
            rows.append(f"{sku},1,{at:%Y-%m-%dT%H:%M:%SZ},sold")
        else:
            stock[sku] += 10
            rows.append(f"{sku},{stock[sku]},{at:%Y-%m-%dT%H:%M:%SZ},counted")
    mixed = [rows[n * 7 % 30] for n in range(30)]
    (folder / "day.csv").write_text("\n".join(["sku,qty,at,kind", *mixed]) + "\n")
    return stock


async def test_a_load_that_is_killed_while_it_takes_back_and_while_it_counts_changes_all_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock = written(tmp_path)
    await load(settings, tmp_path, "one.edi")
    shipped = (await asyncio.to_thread(Log, settings)).ids

    log = await killed(settings, tmp_path, "two.edi", "open", "4")
    taken = sum(id_.endswith(":revoked") for id_ in log.ids)
    log = await killed(settings, tmp_path, "day.csv", "done", "3")
    sent = sum(id_.startswith("file:day.csv#") for id_ in log.ids)
    assert 0 < taken < 30
    assert 0 < sent < 30

    # The later load is finished first, and the earlier one cannot tell.
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": SIZE})
    monkeypatch.setattr(revoking, "CHUNK_LINES", SIZE)
    day = await load(settings, tmp_path, "day.csv")
    back = await load(settings, tmp_path, "two.edi")

    log = await asyncio.to_thread(Log, settings)
    facts = Counter(f"file:day.csv#{line}" for line in range(2, 32))
    assert log.ids == shipped + Counter(f"{id_}:revoked" for id_ in shipped) + facts
    assert +log.stock() == stock
    assert log.stock()["09521234123453"] == 0
    assert (day.refused, day.went_on, day.sent) == ("", sent, 30 - sent)
    assert [(one.documents, one.facts) for one in back.taken] == [(1, 30 - taken)]
