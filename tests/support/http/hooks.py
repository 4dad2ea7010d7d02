"""A receiver of webhooks: a real HTTP server that verifies, and may hold or refuse what comes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from app.alerts.asking import told_now
from app.config import Settings
from dev.workers import until

_KEY = b"a secret of thirty-two bytes now"
SECRET = f"whsec_{base64.b64encode(_KEY).decode()}"
RULES = """
[[rule]]
name = "low"
below = 10
above = 14
"""


@dataclass
class Hook:
    """What it got, and what it answers.

    Attributes:
        got: id and body of every POST whose signature is right, in their order.
        forged: how many had a wrong one.
        status: of every answer.
        may_answer: cleared, POSTs are taken and not answered until it is set.
    """

    port: int = 0
    got: list[tuple[str, bytes]] = field(default_factory=list)
    forged: int = 0
    status: int = 204
    may_answer: threading.Event = field(default_factory=threading.Event)

    @property
    def ids(self) -> list[str]:
        return [one for one, _ in self.got]

    @property
    def messages(self) -> list[tuple[str, bytes]]:
        """Each id once, with what it says; twice, if it says two things."""
        return list(dict.fromkeys(self.got))

    @property
    def said(self) -> list[dict[str, Any]]:
        """The data of each message, in order."""
        return [json.loads(body)["data"] for _, body in self.messages]

    def settings(self, folder: Path, **more: str) -> dict[str, str]:
        """Of workers that tell it."""
        rules, secret = folder / "rules.toml", folder / "secret"
        rules.write_text(RULES)
        secret.write_text(f"{SECRET}\n")
        return {
            "ONHAND_ALERTS": str(rules),
            "ONHAND_ALERTS_SECRET": str(secret),
            "ONHAND_ALERTS_URL": f"http://127.0.0.1:{self.port}/stock",
            **more,
        }

    async def has_got(self, count: int, timeout_s: float = 180) -> None:
        """Wait until so many POSTs have come."""

        async def come() -> bool:
            return len(self.got) >= count

        await until(come, f"{count} posts", timeout_s)


async def all_told(settings: Settings, state: str, seq: int) -> str:
    """Wait until what was told last of one row stands so; returns its id."""

    async def so() -> str:
        found = [one for one in await told_now(settings) if (one.state, one.seq) == (state, seq)]
        return found[0].id if found else ""

    return await until(so, f"message {seq} {state}", 180, every_s=0.1)


@contextmanager
def receiving() -> Iterator[Hook]:
    """Takes POSTs meanwhile."""
    hook = Hook()
    hook.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            name, at = self.headers["webhook-id"], self.headers["webhook-timestamp"]
            signed = f"{name}.{at}.".encode() + body
            made = base64.b64encode(hmac.new(_KEY, signed, hashlib.sha256).digest()).decode()
            if self.headers["webhook-signature"] == f"v1,{made}":
                hook.got.append((name, body))
            else:
                hook.forged += 1
            hook.may_answer.wait()
            try:
                self.send_response(hook.status)
                self.end_headers()
            except OSError:
                pass  # whoever asked is gone

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield hook
    finally:
        hook.may_answer.set()
        server.shutdown()
        server.server_close()
        thread.join()
