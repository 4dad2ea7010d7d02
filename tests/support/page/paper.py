"""A worker of paper: it serves the real page, and answers the page's calls with what a test wrote.

For what no cluster does on demand: each refusal, half a list, a stale standby, a hostile heartbeat.
tests/integration/page/test_paper.py holds its answers against the document.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

from aiohttp import web

from app import __version__
from app.channels.document import topics_document
from app.config import Settings
from core.partitioning import partition_for
from dev.kafka import free_port
from tests.support.http.ending import end
from tests.support.page.paperfeed import PaperFeed
from tests.support.page.paperkept import PaperKept
from web.feed.asked import CHANGES_PATH
from web.http.paths import add_routes
from web.http.problems import Problem, problem
from web.openapi import document
from web.page.files import PageFiles

Json = dict[str, Any]
TOPICS = topics_document(Settings(), __version__)
LEDGER = "http://127.0.0.1:6166"
HOSTILE = "<img src=x onerror=document.title='taken'>"
TYPES = {
    "received": ("shipments", "inventory.shipment.received.v1", 1),
    "dispatched": ("shipments", "inventory.shipment.dispatched.v1", -1),
    "sold": ("sales", "inventory.sale.completed.v1", -1),
    "returned": ("sales", "inventory.sale.returned.v1", 1),
    "adjusted": ("adjustments", "inventory.stock.adjusted.v1", 1),
}
BEGAN = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


def iso(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def story(seed: int) -> list[tuple[str, int]]:
    """What happened to a row: always the same for a number."""
    kinds = ["received", "sold", "sold", "returned", "sold", "dispatched", "adjusted"]
    amounts = [24 + seed % 13, 1 + seed % 3, 2, 1, 1 + seed % 5, 2, seed % 4 - 2]
    return list(zip(kinds, amounts, strict=True))[: 3 + seed % 5]


class Shelf:
    """One row and its facts."""

    def __init__(self, sku: str, location: str, partition: int) -> None:
        self.sku, self.location, self.partition = sku, location, partition
        self.facts: list[Json] = []
        self.sums = dict.fromkeys(TYPES, 0)
        self.checksum, self.on_hand = 0, 0

    def add(self, kind: str, quantity: int, **more: Any) -> None:
        """One more fact."""
        topic, of_type, sign = TYPES[kind]
        n = len(self.facts)
        at = iso(BEGAN + timedelta(hours=7 * n, milliseconds=n))
        source, name = more.pop("source", f"till-{n % 3 + 1}"), more.pop("id", f"47{n:02}-1")
        self.sums[kind] += quantity
        self.on_hand += sign * quantity
        self.checksum += zlib.crc32(f"{source}\0{name}".encode())
        said = {
            "position": f"{topic}-{self.partition}@{n}",
            "recorded_at": at,
            "occurred_at": at,
            "outcome": "applied",
            "type": of_type,
            "quantity": quantity,
            "change": sign * quantity,
            "balance": self.on_hand,
            "source": source,
            "id": name,
        }
        self.facts.append(said | more)

    def repeat(self) -> None:
        """The last fact once more."""
        last = self.facts[-1]
        again = last | {"outcome": "repeated", "change": 0, "of": last["position"]}
        self.facts.append(again | {"position": f"sales-{self.partition}@{len(self.facts)}"})

    def body(self) -> Json:
        applied = [fact for fact in self.facts if fact["outcome"] == "applied"]
        return {
            "sku": self.sku,
            "location": self.location,
            "on_hand": self.on_hand,
            **self.sums,
            "events": len(applied),
            "checksum": f"{self.checksum:016x}",
            "updated_at": max(fact["recorded_at"] for fact in applied),
        }


class Paper:
    """The worker. While `thaw` is not set it takes requests and says nothing.

    Attributes:
        shelves: rows by SKU and location.
        refusals: by the beginning of a path, what it is answered instead.
        fresh, of_row: what the freshness, and a row by itself, say instead.
        drifts: rows that an audit found to differ at a standby; None: nobody audits.
        busy: a row of which one is sold each time that somebody lists rows.
        asked: each path with its query, in the order of asking.
        slow: only requests with this in their address wait until it is thawed; empty: all.
        token: if set, what calls must bring.
    """

    partitions = 12

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.others = ["http://127.0.0.1:6067", "http://127.0.0.1:6068"]
        self.shelves: dict[tuple[str, str], Shelf] = {}
        self.refusals: dict[str, web.Response] = {}
        self.missing: list[int] = []
        self.fresh: Json = {}
        self.of_row: Json = {}
        self.letters: list[Json] = []
        self.loading: list[Json] = []
        self.lost: set[str] = set()
        self.drifts: Sequence[Json] | None = ()
        self.keeps_history = True
        self.feed, self.kept = PaperFeed(), PaperKept()
        self.busy: Shelf | None = None
        self.asked: list[str] = []
        self.token = ""
        self.slow = ""
        self.thaw = asyncio.Event()
        self.thaw.set()
        self._runner: web.AppRunner | None = None

    def put(self, sku: str, location: str) -> Shelf:
        """A row of which nothing has happened yet."""
        partition = partition_for(sku.encode(), self.partitions)
        return self.shelves.setdefault((sku, location), Shelf(sku, location, partition))

    def furnish(self, skus: int = 30, stores: int = 4) -> None:
        """Rows of a shop."""
        for n in range(skus * stores):
            shelf = self.put(f"SKU-{n // stores + 1:06}", f"store-{n % stores + 1:03}")
            for kind, quantity in story(n * 7 + n // stores):
                shelf.add(kind, quantity)

    # ---- HTTP

    async def start(self) -> None:
        """Listen, at the same port each time."""
        app = web.Application()
        page = PageFiles()
        add_routes(app, page.routes())
        listing = document.routes(__version__, self.url, TOPICS, guarded=False)
        add_routes(app, listing, guarding=page.before(lambda path, handler: handler))
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Be gone, as after a kill."""
        self.thaw.set()
        if self._runner is not None:
            await end(self._runner)
            self._runner = None

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.raw_path.partition("?")[0]
        self.asked.append(request.raw_path)
        if self.slow in request.raw_path:
            await self.thaw.wait()
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return problem(Problem.UNAUTHENTICATED, "This call needs a token.")
        for prefix, refusal in self.refusals.items():
            if path.startswith(prefix):
                return web.Response(
                    status=refusal.status, body=refusal.body, headers=refusal.headers
                )
        if path == CHANGES_PATH:
            if not self.keeps_history:
                return _nobody_keeps_history()
            return await self.feed.answer(request.query)
        return self._found(path, request.query)

    def _found(self, path: str, query: Mapping[str, str]) -> web.Response:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        match parts:
            case ["v1", "inventory"]:
                return web.json_response(self.list(query))
            case ["v1", "inventory", sku]:
                return self._of_sku(sku)
            case ["v1", "inventory", sku, location]:
                return self._row(sku, location)
            case ["v1", "inventory", sku, location, "timeline"]:
                return self._timeline(sku, location, query)
            case ["v1", "cluster"]:
                return web.json_response(self.cluster())
            case ["v1", "upgrade"]:
                return web.json_response(self.upgrade())
            case ["v1", "dead-letters"]:
                return web.json_response(self.dead(query))
            case ["v1", ("alerts" | "loads") as name]:
                return web.json_response(self.kept.answer(name, query))
            case ["v1", "audit"]:
                return self._audit()
            case ["ready"]:
                return web.json_response({"ready": True, "partitions": [], "warnings": []})
        return problem(Problem.UNKNOWN_PATH, f"There is nothing at {path}.")

    def freshness(self, partition: int = 0) -> Json:
        return {
            "role": "active",
            "worker": self.url,
            "partition": partition,
            "position": f"sales-{partition}@41,shipments-{partition}@17,control@1",
            "lag_events": 0,
            "as_of": iso(datetime.now(UTC)),
            "version": 1,
            "epoch": 1,
            **self.fresh,
        }

    def list(self, query: Mapping[str, str]) -> Json:
        def fits(shelf: Shelf) -> bool:
            return (
                shelf.sku.startswith(query.get("sku_prefix", ""))
                and query.get("location", shelf.location) == shelf.location
                and shelf.on_hand < int(query.get("on_hand_below", 2**62))
                and shelf.on_hand > int(query.get("on_hand_above", -(2**62)))
                and shelf.partition not in self.missing
            )

        if self.busy is not None:
            self.busy.add("sold", 1)
        rows = [shelf for _, shelf in sorted(self.shelves.items()) if fits(shelf)]
        first, limit = int(query.get("cursor", 0)), int(query["limit"])
        more = first + limit < len(rows) or bool(self.missing)
        return {
            "missing_partitions": self.missing,
            "items": [shelf.body() for shelf in rows[first : first + limit]],
            "next_cursor": str(first + limit) if more else None,
            "freshness": self.freshness(),
            "positions": "sales-0@41",
        }

    def _of_sku(self, sku: str) -> web.Response:
        rows = [s.body() for (one, _), s in sorted(self.shelves.items()) if one == sku]
        if not rows:
            return problem(Problem.UNKNOWN_KEY, f"No event names {sku}.")
        names = [*TYPES, "on_hand", "events"]
        sums = {name: sum(row[name] for row in rows) for name in names}
        last = max(row["updated_at"] for row in rows)
        total = {"sku": sku, **sums, "checksum": "0" * 16, "updated_at": last}
        return web.json_response(total | {"items": rows, "freshness": self.freshness()})

    def _row(self, sku: str, location: str) -> web.Response:
        shelf = self.shelves.get((sku, location))
        if shelf is None:
            detail = f"No event names {sku} at {location}."
            return problem(Problem.UNKNOWN_KEY, detail, freshness=self.freshness())
        fresh = self.freshness(shelf.partition)
        return web.json_response(shelf.body() | self.of_row | {"freshness": fresh})

    def _timeline(self, sku: str, location: str, query: Mapping[str, str]) -> web.Response:
        if not self.keeps_history:
            return _nobody_keeps_history()
        shelf = self.shelves[sku, location]
        first, limit = int(query.get("cursor", 0)), int(query["limit"])
        more = first + limit < len(shelf.facts)
        where = f"sales-{shelf.partition}@41,shipments-{shelf.partition}@17"
        return web.json_response(
            {
                "sku": sku,
                "location": location,
                "clock": "recorded",
                "facts": shelf.facts[first : first + limit],
                "next_cursor": str(first + limit) if more else None,
                "opening": 0,
                "row": shelf.body(),
                "history": {
                    "ledger": LEDGER, "position": where, "as_of": None, "clock": None,
                    "begins": None,
                },
            }
        )  # fmt: skip

    def holders(self, partition: int) -> tuple[str, str]:
        """Owner and standby; of one worker alone it is twice the same."""
        alive = [url for url in (self.url, *self.others) if url not in self.lost]
        return alive[partition % len(alive)], alive[(partition + 1) % len(alive)]

    def cluster(self) -> Json:
        """Three workers that share twelve partitions; what is lost is with the next one."""
        urls = [self.url, *self.others]
        now = iso(datetime.now(UTC))

        def holder(url: str, role: str, n: int) -> Json:
            where = f"sales-{n}@41,shipments-{n}@17"
            return {
                "worker": url, "role": role, "position": where, "lag_events": n % 3, "as_of": now
            }  # fmt: skip

        partitions = []
        for n in range(self.partitions):
            owner, standby = self.holders(n)
            standbys = [] if standby == owner else [holder(standby, "standby", n)]
            active: Json | None = None if n in self.missing else holder(owner, "active", n)
            loading = [one for one in self.loading if n in self.missing]
            one = {"partition": n, "active": active, "standbys": standbys, "loading": loading}
            partitions.append(one)
        workers = [
            {
                "url": url, "version": 1, "build": __version__, "state": "running",
                "alive": url not in self.lost, "this": url == self.url, "silent_s": 0.3,
                "active": 4, "standby": 4,
            }
            for url in urls
        ]  # fmt: skip
        return {"version": 1, "workers": workers, "partitions": partitions}

    def upgrade(self) -> Json:
        record = {
            "schema": 1, "epoch": 1, "change": "begin", "active": 1, "previous": None,
            "staged": None, "retired": [], "positions": "", "by": "anna@ops-3", "note": "",
            "versions": {"1": {"rules": 2, "window": 100000, "seed": None}},
        }  # fmt: skip
        records = [{"offset": 0, "recorded_ms": 1795428000123, "record": record}]
        return {"version": 1, "records": records, "owned": []}

    def _audit(self) -> web.Response:
        """Owner, standby and ledger of two partitions; the standby of the second differs."""
        drifts = self.drifts
        if drifts is None:
            return problem(Problem.AUDIT_NOT_RUNNING, "Nobody audits now.")

        def copy(where: str, role: str, rows: Sequence[Json], **more: Any) -> Json:
            seen = {"where": where, "role": role, "position": "sales-1@41", "rows": 60}
            counts = {"sales": {"found": [3, 0, 0], "right": [2, 0, 1]}} if rows else {}
            said = {"agrees": not rows, "unread": None, "counts": counts, "more": 0}
            return seen | said | {"differences": [*rows]} | more

        ledger = copy("ledger", "ledger", [], lines=4711, faults=[])
        away = {"agrees": False, "unread": "it does not answer"}
        first = [copy(self.url, "active", []), copy(self.others[1], "standby", [], **away)]
        second = [copy(self.url, "active", []), copy(self.others[0], "standby", drifts), ledger]
        partitions = [
            {
                "partition": n, "records": 4_711, "seconds": 0.125, "copies": copies,
                "drift": n * len(drifts), "at": iso(datetime.now(UTC)),
            }
            for n, copies in enumerate((first, second))
        ]  # fmt: skip
        told = {"drift": len(drifts), "failed": None, "partitions": partitions}
        return web.json_response(told)

    def dead(self, query: Mapping[str, str]) -> Json:
        wanted = query.get("reason")
        items = [one for one in self.letters if wanted in (None, one["reason"])]
        return {
            "items": items,
            "next_cursor": None,
            "since": None,
            "positions": "onhand-v1-dlq-0@1",
            "as_of": iso(datetime.now(UTC)),
        }


def _nobody_keeps_history() -> web.Response:
    detail = "Nobody keeps history now: start a ledger with `onhand ledger worker`."
    return problem(Problem.HISTORY_NOT_RUNNING, detail)


def a_letter(reason: str, detail: str, value: str, n: int = 0, **more: Any) -> Json:
    """One dead letter."""
    recorded = 1795427957905 + n * 61_000
    return {
        "position": f"sales-3@{100 + n}",
        "reason": reason,
        "detail": detail,
        "recorded_ms": recorded,
        "refused_ms": recorded + 212,
        "headers": [{"name": "ce-source", "value": "till-17"}],
        "key": "SKU-000042",
        "value": value,
        **more,
    }
