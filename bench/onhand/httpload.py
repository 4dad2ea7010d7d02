"""Asks one worker for many rows over kept connections: `wrk` if it is there, else our own client.

Our own is a bare asyncio protocol, one request in flight on each connection:
25,000 and more requests/s on one core. What it cannot do faster counts as
latency of the worker.
"""

import asyncio
import itertools
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

WRK_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1_000.0}
HEAD_END = b"\r\n\r\n"
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class Answers:
    """What came back.

    Attributes:
        client: which client asked.
        connections: kept open, one request in flight on each.
        per_s: answers a second.
        p50_ms, p99_ms, max_ms: from request written to answer read.
        statuses: answers by status; `wrk` only tells 2xx and 3xx (200) from others (0).
    """

    client: str
    connections: int
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    statuses: dict[int, int]


def ask(port: int, paths: Sequence[str], connections: int, seconds: float) -> Answers:
    """Ask for the paths in turn, as fast as answers come.

    Args:
        port: of a worker on the loopback interface.
        paths: what to ask for, again from the first after the last.
        connections: kept open.
        seconds: how long.
    """
    if wrk := shutil.which("wrk"):
        return _ask_by_wrk(wrk, port, paths, connections, seconds)
    return asyncio.run(ask_here(port, paths, connections, seconds))


def quantile(sorted_values: Sequence[float], share: float) -> float:
    """The value below which this share lies."""
    if not sorted_values:
        return float("nan")
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


@dataclass
class _Tally:
    """What all connections of one round have seen."""

    requests: Iterator[bytes]
    until: float
    took_s: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)


class _Asker(asyncio.Protocol):
    """One connection: write a request, read its answer, write the next."""

    def __init__(self, tally: _Tally, closed: asyncio.Future[None]) -> None:
        self._tally = tally
        self._closed = closed
        self._received = b""
        self._answer_bytes = 0  # of the whole answer, once its head is here
        self._asked = 0.0
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._received, self._answer_bytes = b"", 0
        self._asked = time.perf_counter()
        if self._asked < self._tally.until:
            self._transport.write(next(self._tally.requests))
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data if self._received else data
        if not self._answer_bytes:
            head = received.find(HEAD_END)
            if head < 0:
                return
            length = CONTENT_LENGTH.search(received, 0, head)
            self._answer_bytes = head + len(HEAD_END) + (int(length[1]) if length else 0)
        if len(received) >= self._answer_bytes:
            self._tally.took_s.append(time.perf_counter() - self._asked)
            self._tally.statuses[int(received[9:12])] += 1
            self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._closed.done():
            self._closed.set_result(None)


async def ask_here(port: int, paths: Sequence[str], connections: int, seconds: float) -> Answers:
    """The same by our own client, in the running loop."""
    requests = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode() for path in paths]
    return await send_here([port], itertools.cycle(requests), connections, seconds)


async def send_here(
    ports: Sequence[int], requests: Iterator[bytes], connections: int, seconds: float
) -> Answers:
    """Whole requests by our own client, each once. `requests` must not end before the time.

    `connections`: in all, to these ports in turn.
    """
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    tally = _Tally(requests, started + seconds)
    closed = [loop.create_future() for _ in range(connections)]
    for done, port in zip(closed, itertools.cycle(ports), strict=False):
        await loop.create_connection(partial(_Asker, tally, done), "127.0.0.1", port)
    # An answer that never comes must not hold up the round.
    await asyncio.wait(closed, timeout=seconds + 15)
    took_ms = sorted(took * 1_000 for took in tally.took_s)
    return Answers(
        client="own client",
        connections=connections,
        per_s=len(took_ms) / (time.perf_counter() - started),
        p50_ms=quantile(took_ms, 0.50),
        p99_ms=quantile(took_ms, 0.99),
        max_ms=took_ms[-1] if took_ms else float("nan"),
        statuses=dict(tally.statuses),
    )


def _ask_by_wrk(
    wrk: str, port: int, paths: Sequence[str], connections: int, seconds: float
) -> Answers:
    script = (
        "local paths = {" + ",".join(json.dumps(path) for path in paths) + "}\n"
        "local at = 0\n"
        "request = function()\n  at = at % #paths + 1\n  return wrk.format('GET', paths[at])\nend\n"
    )
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as lua:
        lua.write(script)
        lua.flush()
        argv = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"]
        argv += ["-s", lua.name, f"http://127.0.0.1:{port}/"]
        said = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    refused = int(found[1]) if (found := re.search(r"Non-2xx or 3xx responses: (\d+)", said)) else 0
    total = int(_found(r"(\d+) requests in", said)[1])
    return Answers(
        client="wrk",
        connections=connections,
        per_s=float(_found(r"Requests/sec: +([\d.]+)", said)[1]),
        p50_ms=_wrk_ms(r"50% +([\d.]+)(us|ms|s)", said),
        p99_ms=_wrk_ms(r"99% +([\d.]+)(us|ms|s)", said),
        max_ms=_wrk_ms(r"Latency +\S+ +\S+ +([\d.]+)(us|ms|s)", said),
        statuses={200: total - refused, **({0: refused} if refused else {})},
    )


def _found(pattern: str, text: str) -> re.Match[str]:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"wrk said something else than expected:\n{text}")
    return match


def _wrk_ms(pattern: str, text: str) -> float:
    number, unit = _found(pattern, text).groups()
    return float(number) * WRK_UNITS_MS[unit]
