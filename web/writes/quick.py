"""The usual POST of one fact, answered straight from the bytes that came in.

aiohttp's request, response and task take more than all checks of a fact. So what is plainly
one line, or one CloudEvent in structured mode, whole and with nothing special about it, is
taken here; all else, and all that has a fault, goes the usual way (`web/writes/facts.py`).
Both ways check by the same code and give the same answer; tests/unit/web/writes/test_quick.py
holds them together.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import lru_cache, partial

import msgspec
from aiohttp.helpers import rfc822_formatted_time

from core.positions import format_one
from tables.reading import Reading
from web.http.gate import Gate
from web.http.raw.shortcuts import LATER, Take
from web.http.replies import JSON, label, response_bytes
from web.writes.appending import Outgoing, Receipt
from web.writes.arrays import Fact
from web.writes.facts import Facts, reply_of
from web.writes.lines import EVENT_JSON, TYPE_OF_PATH, Posted, PostedEvents, PostedLines
from web.writes.singles import TellOffset

#: A body longer than this is no usual fact.
MOST_BYTES = 16 * 1024
_TARGET = re.compile(rb"POST (/v1/[a-z]+) HTTP/1\.1\r\n")
_HEADER = re.compile(rb"([A-Za-z-]+): ?([ -~]*)")
_LENGTH = re.compile(rb"[0-9]{1,6}")
_KEY = re.compile(rb"[!-~]{1,255}")
#: Headers that change nothing in the answer.
_HARMLESS = frozenset(
    b"user-agent accept accept-encoding accept-language cache-control pragma traceparent "
    b"tracestate x-request-id forwarded x-forwarded-for x-forwarded-host x-forwarded-proto".split()
)
_ANSWER = (
    b"HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nCache-Control: no-cache\r\n"
    b"Server: onhand\r\nX-Content-Type-Options: nosniff\r\nOnhand-Version: %d\r\n"
    b"Onhand-Epoch: %d\r\nContent-Length: %d\r\nDate: %b\r\n\r\n%b"
)
_BODY = b'{"accepted":1,"events":[{"id":%b,"position":"%b"}],"position":"%b"}'
_encode = msgspec.json.Encoder().encode


class _Heads(msgspec.Struct, frozen=True):
    """What the headers of a plain POST say. key: an Idempotency-Key."""

    media: str
    length: int
    key: str | None


class QuickPosts:
    """Takes what it can of the bytes that a connection received.

    Args:
        facts: of the usual way; they check.
        append: `Appender.append_one`.
        gate: has a place for each that is under way.
        table: answers are labelled as it says.
        observe: is told outcome and seconds of each.
    """

    def __init__(
        self,
        facts: Facts,
        append: Callable[[Outgoing, TellOffset], bool],
        gate: Gate,
        table: Reading,
        observe: Callable[[str, float], None],
    ) -> None:
        self._facts, self._append, self._gate = facts, append, gate
        self._table, self._observe = table, observe
        # Nearly every client sends the same ones each time.
        self._heads = lru_cache(maxsize=256)(_heads_of)
        self._keyless: dict[bytes, Posted] = {
            path.encode(): PostedLines(kind, None, ()) for path, kind in TYPE_OF_PATH.items()
        }
        self._events = PostedEvents()

    def answer(self, head: bytes, body: bytes, take: Take) -> bytes | None:
        """`LATER`, or None for what must go the usual way; see `Shortcut`."""
        posted = self._posted(head, len(body))
        if posted is None or body[:1] != b"{":
            return None
        fact = self._facts.one(body, posted)
        if fact is None or not self._gate.enter():
            return None
        if self._append(fact.record, partial(self._tell, fact, take, time.perf_counter())):
            return LATER
        self._gate.leave()
        return None

    def _posted(self, head: bytes, length: int) -> Posted | None:
        """How to read the body; None for what is not plain."""
        target = _TARGET.match(head)
        if target is None or length > MOST_BYTES:
            return None
        heads = self._heads(head[target.end() :])
        if heads is None or heads.length != length:
            return None
        path = target[1]
        if path == b"/v1/events":
            return self._events if heads.media == EVENT_JSON else None
        posted = self._keyless.get(path)
        if posted is None or heads.media != JSON:
            return None
        if heads.key is None:
            return posted
        return PostedLines(TYPE_OF_PATH[path.decode()], heads.key, (0,))

    def _tell(
        self, fact: Fact, take: Take, began: float, offset: int | None, trouble: str | None
    ) -> None:
        self._gate.leave()
        self._observe("appended" if trouble is None else "unknown", time.perf_counter() - began)
        version, epoch = self._table.label
        if offset is None:
            response = reply_of([fact], Receipt([None], trouble), ())
            label(response, version, epoch)
            take(response_bytes(response))
            return
        record = fact.record
        position = format_one((record.topic, record.partition), offset).encode()
        body = _BODY % (_encode(fact.id), position, position)
        date = rfc822_formatted_time().encode()
        take(_ANSWER % (version, epoch, len(body), date, body))


def _heads_of(lines: bytes) -> _Heads | None:
    """What they say, up to the end of the head; None where one is special, or is there twice."""
    said: dict[bytes, bytes] = {}
    for line in lines[:-4].split(b"\r\n"):
        found = _HEADER.fullmatch(line)
        if found is None:
            return None
        name = found[1].lower()
        if name in _HARMLESS:
            continue
        if name in said:
            return None
        said[name] = found[2]
    # HTTP/1.1 wants the host named, once.
    if said.pop(b"host", None) is None or said.pop(b"connection", b"keep-alive") != b"keep-alive":
        return None
    length, key = said.pop(b"content-length", b""), said.pop(b"idempotency-key", None)
    media = said.pop(b"content-type", b"").decode()
    if said or _LENGTH.fullmatch(length) is None or (key is not None and not _KEY.fullmatch(key)):
        return None
    return _Heads(media, int(length), None if key is None else key.decode())
