"""The `onhand` command as people run it, and something that answers it as a worker does."""

import json
import os
import pty
import subprocess
import time
from contextlib import suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

from app.config import PREFIX
from dev.workers import ROOT


def moment_ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).isoformat()


ROW = {
    "sku": "SKU/42 é",
    "location": "store-007",
    "on_hand": 1008,
    "received": 1010,
    "dispatched": 0,
    "sold": 3,
    "returned": 1,
    "adjusted": 0,
    "events": 4,
    "checksum": "00000001c3a9f2e1",
    "updated_at": "",
}


FRESHNESS = {
    "role": "active",
    "worker": "http://10.0.0.7:6066",
    "partition": 3,
    "position": "sales-3@1234,shipments-3@88",
    "lag_events": 1,
    "as_of": "",
}


OTHER = {**ROW, "location": "dc-1", "on_hand": -2, "received": 0, "sold": 2, "returned": 0}


SUMS = {**ROW, "on_hand": 1006, "sold": 5, "events": 8}


HOLDER = {
    "worker": "http://10.0.0.7:6066", "role": "active", "position": "sales-0@9", "lag_events": 2,
    "as_of": "",
}  # fmt: skip


def a_cluster() -> dict[str, object]:
    restoring = {"worker": "http://b", "state": "restoring", "restore": {"done": 50, "total": 200}}
    standby = {**HOLDER, "role": "standby"}
    return {
        "version": 1,
        "workers": [
            {
                "url": "http://10.0.0.7:6066", "version": 1, "build": "0.1.0", "state": "running",
                "alive": False, "this": False, "silent_s": 130.0, "active": 1, "standby": 1,
            }
        ],
        "partitions": [
            {"partition": 0, "active": HOLDER, "standbys": [], "loading": []},
            {"partition": 1, "active": None, "standbys": [standby], "loading": [restoring]},
        ],
    }  # fmt: skip


class Worker(BaseHTTPRequestHandler):
    """Answers as the API does, and remembers what it was asked."""

    asked: ClassVar[list[str]] = []
    posted: ClassVar[list[dict[str, object]]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/v1/inventory/SKU%2F42%20%C3%A9/"):
            status, body = 200, {**ROW, "freshness": FRESHNESS}
        elif self.path.startswith("/v1/inventory/SKU%2F42%20%C3%A9"):
            sums = {name: value for name, value in SUMS.items() if name != "location"}
            status, body = 200, {**sums, "items": [OTHER, ROW], "freshness": FRESHNESS}
        elif self.path.startswith("/v1/inventory?"):
            pages = {"": ([OTHER], "next"), "next": ([ROW], None)}
            wanted = parse_qs(urlsplit(self.path).query)
            items, cursor = pages[wanted.get("cursor", [""])[0]]
            status, body = 200, {"items": items, "next_cursor": cursor, "freshness": FRESHNESS}
        elif self.path == "/v1/cluster":
            HOLDER["as_of"] = moment_ago(0.2)
            status, body = 200, a_cluster()
        elif self.path.startswith("/v1/inventory/.."):
            status = 400
            body = {
                "title": "The request is not valid",
                "detail": "sku: must not be . or ..",
                "errors": [{"parameter": "sku", "detail": "must not be . or .."}],
            }
        elif self.path.startswith("/v1/inventory/loading"):
            status = 503
            body = {"title": "The worker is not ready", "detail": "It is restoring partition 3."}
        else:
            status, body = 404, {"title": "No event names this SKU", "detail": "SKU-9"}
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.posted.append(body)
        refused = body["quantity"] > 10**9
        answer: object = {"accepted": 1, "position": "sales-3@7"}
        if refused:
            answer = {
                "title": "The request is wrong",
                "detail": "Nothing was appended: 1 of 1 lines are bad: quantity: too large.",
                "errors": [{"line": 1, "detail": "quantity: too large."}],
            }
        self.send_response(400 if refused else 202)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


def onhand(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment = kept | {PREFIX + name: value for name, value in settings.items()}
    return subprocess.run(
        [ROOT / ".venv" / "bin" / "onhand", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def on_a_terminal(*arguments: str, **variables: str) -> list[str]:
    """What the command prints where its output is a terminal."""
    ours, theirs = pty.openpty()
    subprocess.run(
        [ROOT / ".venv" / "bin" / "onhand", *arguments],
        env={**os.environ, "TERM": "xterm", **variables},
        stdout=theirs,
        timeout=60,
        check=False,
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # the end of a terminal
        while data := os.read(ours, 10_000):
            said += data
    os.close(ours)
    return said.decode().replace("\r", "").splitlines()
