"""The usual read of one key, answered straight from the bytes that came in.

aiohttp takes 65 µs of Python for a request whose row takes 5. So what is plainly a GET
of one key, whole, alone and with nothing special about it, is answered here, and all
else goes the usual way (`web/reads/queries.py`): None means just that. Both ways make one
`Question` of it and give the same answer; tests/unit/web/reads/test_quick.py holds them together.
A row that another worker owns is handed on from here, too (`web/reads/relay.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import msgspec
from aiohttp.helpers import rfc822_formatted_time

from core.stages import Freshness
from tables.home.store import StoreError
from tables.stock import StockReading
from web.cluster.admission import stale
from web.cluster.freshness import freshness_body, freshness_headers
from web.cluster.routing import Router
from web.http.raw.shortcuts import Take
from web.reads.questions import Questions
from web.reads.relay import RowRelay, nobody
from web.reads.replies import ETAG, row_body

_encode = msgspec.json.Encoder().encode
_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\n"
    b"Server: onhand\r\nX-Content-Type-Options: nosniff\r\nETag: %b\r\n"
    b"%%bContent-Length: %%d\r\nDate: %%b\r\n\r\n%%b%%b"
) % ETAG.encode()


class QuickReads:
    """Answers what it can of the bytes that a connection received."""

    def __init__(
        self,
        questions: Questions,
        table: StockReading,
        router: Router,
        version: int,
        observe: Callable[[str, str, float], None],
        relay: RowRelay | None,
    ) -> None:
        """`relay`: None: what others own goes the usual way."""
        self._question = questions.plain
        self._table = table
        self._router = router
        self._admission = router.admission
        self._version = version
        self._observe, self._relay = observe, relay
        self._partition_of = lru_cache(maxsize=16_384)(table.partition_of)
        self._known: list[tuple[Freshness, bytes, bytes] | None] = [None] * table.count

    def answer(self, data: bytes, take: Take = nobody) -> bytes | None:
        """The response to what a quiet connection received at once; see `Shortcut`."""
        started = time.perf_counter()
        question = self._question(data, self._table.label[1])
        if question is None or question.location is None:
            return None
        sku, location, asked = question.sku, question.location, question.asked
        partition = self._partition_of(sku)
        fresh = self._table.freshness(partition)
        if not asked.hop:
            other = self._router.before_this(partition, fresh, asked)
            if other is not None:
                relay = self._relay
                return None if relay is None else relay.begin(question, partition, other, take)
        if fresh is None:
            return None
        if stale(asked, fresh) is not None:
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
        response = _RESPONSE % (
            self._version,
            row.events,
            row.checksum,
            head,
            len(start) + len(tail),
            rfc822_formatted_time().encode(),
            start,
            tail,
        )
        self._observe(fresh.role, "found", time.perf_counter() - started)
        return response

    def _freshness(self, fresh: Freshness) -> tuple[bytes, bytes]:
        """Header lines and the end of the body; made once for each state of the table."""
        known = self._known[fresh.partition]
        if known is None or known[0] != fresh:
            body = freshness_body(fresh)
            lines = "".join(f"{k}: {v}\r\n" for k, v in freshness_headers(body).items())
            tail = b',"freshness":%b}' % _encode(body)
            known = self._known[fresh.partition] = (fresh, lines.encode(), tail)
        return known[1], known[2]
