"""The usual read of one key, answered straight from the bytes that came in.

aiohttp takes 65 µs of Python for a request whose row takes 5. So what is plainly a GET
of one key, whole, alone and with nothing special about it, is answered here, and all
else goes the usual way (`web/reads/queries.py`): None means just that. Both ways give the same
answer; tests/unit/web/test_quick.py holds them together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache

import msgspec
from aiohttp.helpers import rfc822_formatted_time

from core.positions import read_position
from core.stages import Freshness
from tables.home.store import StoreError
from tables.reading import Reading
from web.cluster.admission import ANYTHING, MAX_WAIT_S, Admission, Asked
from web.cluster.freshness import freshness_body, freshness_headers
from web.cluster.peers import HOP, HOP_VERSION
from web.cluster.routing import Router
from web.reads.parameters import ROOT
from web.reads.replies import etag, row_body

#: A head longer than this has something special about it.
MAX_BYTES = 4096

# Ids that need no decoding; then, as other workers write it, a position and a wait.
_TARGET = re.compile(
    rb"GET %b/([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})/([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})"
    rb"(?:\?min_position=([A-Za-z0-9._@,-]+)&wait_ms=([0-9]{1,5}))? HTTP/1\.1\r\n" % ROOT.encode()
)
# Headers that change nothing in the answer, up to the end of the head.
_HARMLESS = (
    "User-Agent|Accept|Accept-Encoding|Accept-Language|Cache-Control|Pragma|Traceparent|"
    "Tracestate|X-Request-Id|X-Forwarded-For|X-Forwarded-Host|X-Forwarded-Proto|Forwarded"
)

_encode = msgspec.json.Encoder().encode


class QuickReads:
    """Answers what it can of the bytes that a connection received."""

    def __init__(
        self,
        table: Reading,
        router: Router,
        admission: Admission,
        version: int,
        observe: Callable[[str, str, float], None],
    ) -> None:
        self._table = table
        self._router = router
        self._admission = admission
        self._version = version
        self._observe = observe
        self._partition_of = lru_cache(maxsize=16_384)(table.partition_of)
        other = (
            rf"(?:(?:{_HARMLESS}):[ -~]*|Connection: keep-alive|({HOP}): 1|"
            rf"{HOP_VERSION}: {version})\r\n"
        )
        # HTTP/1.1 wants the host named, once; who does not gets aiohttp's word for it.
        self._headers = re.compile(
            rf"(?:{other})*Host:[ -~]*\r\n(?:{other})*\r\n".encode(), re.IGNORECASE
        )
        # Nearly every client sends the same ones each time; to judge them takes 2 to 5 µs.
        self._judged = lru_cache(maxsize=256)(self._judge)
        self._known: list[tuple[Freshness, bytes, bytes] | None] = [None] * table.count

    def answer(self, data: bytes) -> bytes | None:
        """The whole response to what a quiet connection received at once, or None."""
        started = time.perf_counter()
        target = _TARGET.match(data)
        if target is None or len(data) > MAX_BYTES:
            return None
        is_hop = self._judged(data[target.end() :])
        if is_hop is None:
            return None
        sku, location = target[1].decode(), target[2].decode()
        asked = ANYTHING
        if target[3] is not None:
            if int(target[4]) > MAX_WAIT_S * 1000:
                return None
            wanted = _at_least(target[3])
            if wanted is None:
                return None
            asked = wanted
        partition = self._partition_of(sku)
        fresh = self._table.freshness(partition)
        if fresh is None or not (is_hop or self._router.is_first(fresh)):
            return None
        if not self._admission.is_far_enough(fresh, asked):
            return None
        try:
            row = self._table.get(partition, sku, location)
        except StoreError:
            return None
        if row is None:
            return None
        head, tail = self._freshness(fresh)
        # The row's JSON without its closing brace, then the freshness.
        start = _encode(row_body(sku, location, row))[:-1]
        response = (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\n"
            b"Server: onhand\r\nETag: %b\r\n%bContent-Length: %d\r\nDate: %b\r\n\r\n%b%b"
            % (
                etag(self._version, row).encode(),
                head,
                len(start) + len(tail),
                rfc822_formatted_time().encode(),
                start,
                tail,
            )
        )
        self._observe(fresh.role, "found", time.perf_counter() - started)
        return response

    def _judge(self, headers: bytes) -> bool | None:
        """Whether another worker asks; None where a header has something special about it."""
        found = self._headers.fullmatch(headers)
        return None if found is None else found[1] is not None or found[2] is not None

    def _freshness(self, fresh: Freshness) -> tuple[bytes, bytes]:
        """Header lines and the end of the body; made once for each state of the table."""
        known = self._known[fresh.partition]
        if known is None or known[0] != fresh:
            body = freshness_body(fresh)
            lines = "".join(f"{k}: {v}\r\n" for k, v in freshness_headers(body).items())
            tail = b',"freshness":%b}' % _encode(body)
            known = self._known[fresh.partition] = (fresh, lines.encode(), tail)
        return known[1], known[2]


@lru_cache(maxsize=1024)
def _at_least(token: bytes) -> Asked | None:
    try:
        return Asked(min_position=read_position(token.decode()))
    except ValueError:
        return None
