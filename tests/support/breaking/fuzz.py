"""Requests and answers that nobody sane would send, from a seed: what no worker may call a bug.

`requests` are what a client may write to the socket, `answers` what another worker, or
whatever listens at its address, may say, `beats` what may stand in the members topic.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.stages import Role

METHODS = [*["GET", "POST"] * 6, "HEAD", "OPTIONS", "PUT", "DELETE", "CONNECT", "TRACE", "get", ""]
PATHS = [
    "/v1/inventory/SKU-1/s-7", "/v1/inventory/SKU-1", "/v1/inventory", "/v1/lookup", "/v1/sales",
    "/v1/shipments", "/v1/dispatches", "/v1/returns", "/v1/adjustments", "/v1/events",
    "/v1/documents", "/live",
    "/ready", "/metrics", "/v1/cluster", "/openapi.json", "/problems/not-ready", "/", "*", "//",
    "/asyncapi.json", "/docs",
    "/v1/inventory/", "/v1/inventory//", "/v1/inventory/%2e%2e/x", "/v1", "http://a:b/v1/sales",
    "/v1/dead-letters", "/v1/sightings", "/v1/facts", "/v1/facts/lookup",
    "/v1/inventory/SKU-2/s-1", "/v1/inventory/SKU-3/s-1", "/v1/inventory/SKU-4", "",
]  # fmt: skip
NAMES = [
    "limit", "cursor", "min_position", "wait_ms", "max_lag_events", "partial", "location",
    "sku_prefix", "on_hand_below", "on_hand_above", "outcome", "as_of", "x",
]  # fmt: skip
VALUES = [
    "", "0", "1", "-1", "9" * 30, "true", "sales-1@5", "sales-1@999", "sales@7", "foo", "@", "-@",
    "sales-2@1,shipments-2@2", ",", "sales-99999999999@1", "%00", "%ff", "%", "%2", "é", "\x7f",
    "²", "NaN", "WzQ3ODU3NixbW1siVEVBLTEiLCJzdG9yZS0wMDIiXSxbXV1dXQ", "W1tbW1tbW1tbW1s", "/", "..",
    "a b", "+", "'", '"', "{}", "WzAsW11d", "W1tdXQ==",
]  # fmt: skip
HEADERS = [
    "Accept", "Expect", "Connection", "Content-Type", "Content-Length", "Content-Encoding",
    "Transfer-Encoding", "Idempotency-Key", "If-Match", "If-None-Match", "If-Modified-Since",
    "Onhand-Hop", "Onhand-Version", "Onhand-Partitions", "Upgrade", "Host", "Origin", "Range",
    "Authorization", "Cookie", "Traceparent", "Sec-WebSocket-Key", "X", "", "a b", "é",
]  # fmt: skip
HEADER_VALUES = [
    *VALUES, "*", "*/*", "1", "0", "0,1", "1,-1", "application/json", "application/json;charset=x",
    "application/openmetrics-text;version=x", "text/plain;version=1.0.0;escaping=\x01", "gzip",
    "application/cloudevents+json", "application/cloudevents-batch+json", "deflate", "br",
    "chunked", "100-continue", "close", "keep-alive, upgrade", "websocket", "a" * 5000,
    'W/"v1-2-0000000000000007"', "text/plain; charset=\xff", "application/x-www-form-urlencoded",
]  # fmt: skip
LINE = {"source": "till", "id": "1", "sku": "SKU-1", "location": "s-7", "quantity": 2}


class Fuzz:
    """One stream of nonsense; the same seed gives the same."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def _some(self, choices: Sequence[str]) -> str:
        """One of them, now and then bent."""
        text = self._random.choice(choices)
        if self._random.random() < 0.1:
            at = self._random.randrange(len(text) + 1)
            text = text[:at] + chr(self._random.randrange(256)) + text[at:]
        return text

    def request(self) -> bytes:
        """One request, or something near it."""
        dice = self._random
        path = self._some(PATHS)
        if dice.random() < 0.4:
            pairs = [f"{self._some(NAMES)}={self._some(VALUES)}" for _ in range(dice.randrange(4))]
            path += "?" + "&".join(pairs)
        method = self._some(METHODS)
        body = self._body() if method == "POST" or dice.random() < 0.1 else b""
        lines = [f"{method} {path} HTTP/1.{dice.choice('1111110')}"]
        lines += ["Host: x"] if dice.random() < 0.95 else []
        if body or dice.random() < 0.1:
            kind = dice.choice(["application/json"] * 4 + HEADER_VALUES[-12:])
            lines += [f"Content-Type: {kind}"] if dice.random() < 0.9 else []
            if dice.random() < 0.15:
                lines.append("Content-Encoding: gzip")
                body = gzip.compress(body) if dice.random() < 0.8 else body
            if dice.random() < 0.15:
                lines.append("Transfer-Encoding: chunked")
                body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            else:
                lines.append(f"Content-Length: {len(body)}")
        for _ in range(dice.choice([0, 0, 0, 1, 1, 2, 5])):
            lines.append(f"{self._some(HEADERS)}: {self._some(HEADER_VALUES)}")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
        return self._bent(head + body)

    def _bent(self, data: bytes) -> bytes:
        """Mostly as it is; else cut, doubled, or with a byte changed."""
        dice = self._random
        match dice.randrange(20):
            case 0:
                return data[: dice.randrange(len(data) + 1)]
            case 1:
                return data + data
            case 2 | 3:
                at = dice.randrange(len(data) + 1)
                return data[:at] + dice.randbytes(dice.randrange(1, 4)) + data[at + 1 :]
            case _:
                return data

    def _body(self) -> bytes:
        dice = self._random
        match dice.randrange(9):
            case 0:
                depth = dice.choice([10, 200, 900, 990, 1000, 5000, 100_000])
                opening, closing = dice.choice([("[", "]"), ('{"keys":', "}"), ('{"a":', "}")])
                nest = opening * depth + "1" + closing * depth
                pattern = dice.choice(["{}", '{{"keys":{}}}', '{{"quantity":{}}}', '[{{"id":{}}}]'])
                return pattern.format(nest).encode()
            case 1:
                return dice.randbytes(dice.randrange(100))
            case 2:
                keys = [{"sku": self._some(VALUES), "location": "s-7"} for _ in range(3)]
                return json.dumps({"keys": keys}).encode()
            case 3:
                keys = [{"sku": f"SKU-{n}", "location": "s-7"} for n in range(5)]
                return json.dumps({"keys": keys}).encode()
            case _:
                return self._bent(json.dumps(self._lines()).encode())

    def _lines(self) -> object:
        dice = self._random
        line = dict(LINE)
        for _ in range(dice.randrange(3)):
            name = dice.choice([*LINE, "time", "reason", "data", "specversion", "type"])
            line[name] = self._value()
        match dice.randrange(4):
            case 0:
                return [line] * dice.choice([0, 1, 3, 1001])
            case 1:
                event = {"specversion": "1.0", "id": "1", "source": "s", "data": line}
                return {**event, "type": dice.choice(["inventory.sale.completed.v1", 1, None])}
            case _:
                return line

    def _value(self) -> object:
        return self._random.choice(
            [None, True, -1, 0, 10**9 + 1, 10**30, 1.5, 1e308, "", "\ud800", "\x00", "a" * 2000,
             [], {}, [[[]]], {"a": {"b": 1}}, "2026-11-23T10:00:00Z", "9999-99-99", *VALUES]
        )  # fmt: skip

    def answer(self) -> bytes:
        """What may come from the address of another worker."""
        dice = self._random
        status = dice.choice([200, 200, 200, 304, 400, 404, 404, 500, 502, 503, 503, 99, 100, 204])
        freshness = {
            "role": dice.choice(["active", "standby", "boss", 1]),
            "worker": dice.choice(["http://x", "a\nb", "\x00", "é"]),
            "partition": dice.choice([0, -1, 10**30]),
            "position": dice.choice(["", "sales-1@5", "²", "a\r\nb: c"]),
            "lag_events": dice.choice([0, -1, 10**25, 1.5]),
            "as_of": dice.choice(["2026-11-23T10:00:00.180Z", "\n", ""]),
        }
        body = dice.choice([
            b"", b"{}", b"[" * 5000, b"\xff\xfe", b"null", b'{"type":5}', b'{"type":"/problems/x"}',
            b'{"type":"/problems/not-ready"}', b'{"type":"/problems/internal-error"}',
            json.dumps({
                "missing_partitions": dice.choice([[], [0], [10**20], ["a"]]), "items": [],
                "next_cursor": dice.choice([None, "x", "W1tbW1tbW1s", "W1tdXQ"]),
                "unknown": [], "unanswered": [], "positions": dice.choice(["", "²", "@,@"]),
                "freshness": freshness,
            }).encode(),
        ])  # fmt: skip
        lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body)}"]
        if dice.random() < 0.6:
            lines.append(f"Onhand-Position: {dice.choice(['sales-1@5', '²', '', 'a-b@c'])}")
        for _ in range(dice.choice([0, 0, 1, 3])):
            name = dice.choice(["ETag", "Onhand-Role", "Content-Type", "Onhand-X", "Retry-After",
                                "Onhand-Not-Caught-Up", "Onhand-Between-Owners", "Server",
                                "Content-Length"])  # fmt: skip
            lines.append(f"{name}: {self._some(HEADER_VALUES)}")
        head = "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")
        return self._bent(head + body)

    def url(self) -> str:
        """What another worker may call its address; none of these is anybody's."""
        return self._random.choice([
            "http://[::1", "http://[zz]:1", "http://a..b:80", "http://x:99999", "http://x:y", "",
            "x", "ftp://x", "http://", "http:///x", "http://" + "a" * 300, "http://a\r\nb: c",
            "http://\x00", "http://é.invalid", "http://a b", "//127.0.0.1:1", "http://127.0.0.1:1",
            "https://[::1]:x", "http://%00:1", "http://user:pw@[::",
        ])  # fmt: skip

    def claim(self) -> dict[str, object]:
        """What another worker may say that it holds."""
        dice = self._random
        return {
            "partition": dice.choice([0, 1, 2, 3, -1, 99, 2**62]),
            "state": dice.choice(["active", "standby", "x", ""]),
            "role": dice.choice([*Role, "x", None]),
            "handled": dice.choice([0, 10**18, -5]),
            "position": dice.choice(["", "²", "sales-1@9", "\n"]),
            "lag_events": dice.choice([0, -1, 2**62]),
            "as_of_ms": dice.choice([0, -1, 2**62, 1795428000180]),
            "restore_total": dice.choice([None, 0, 5]),
        }

    def value(self) -> bytes:
        """A record that may stand in the members topic."""
        return self._random.choice([b"", b"null", b"[" * 5000, b'{"version":' * 2000, b"\xff" * 9])


@dataclass
class Seen:
    """What came back: answers by status, and each request that made a 500."""

    statuses: Counter[int] = field(default_factory=Counter)
    bugs: list[bytes] = field(default_factory=list)


async def throw(
    host: str, port: int, fuzz: Fuzz, seen: Seen, is_over: Callable[[], bool], patience_s: float
) -> None:
    """Send one request after the other, each with its end, and read all that comes."""
    while not is_over():
        data = fuzz.request()
        try:
            reader, writer = await asyncio.open_connection(host, port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        try:
            writer.write(data)
            if writer.can_write_eof():
                writer.write_eof()
            async with asyncio.timeout(patience_s):
                answer = await reader.read()
        except (TimeoutError, OSError):
            answer = b""
        finally:
            writer.transport.abort()
        status = int(answer[9:12]) if answer[9:12].isdigit() else 0
        seen.statuses[status] += 1
        if b"HTTP/1.1 500" in answer or status == 500:
            seen.bugs.append(data)
