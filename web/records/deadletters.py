"""GET /v1/dead-letters: what the table refused and why, newest first, in pages.

Any worker answers, straight from Kafka; `onhand dlq list` reads the same letters with the same
code (tables/home/letters.py).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import time
import zlib
from collections.abc import Iterator, Mapping

import msgspec
from aiohttp import web
from aiokafka import TopicPartition
from msgspec import UNSET, Struct, UnsetType

from core.positions import format_position
from domain.events import Refusal
from domain.naming import name_of
from tables.home.letters import Letter, described, letter_of
from web.http.bodies import BAD_JSON
from web.http.parameters import (
    SOME_TEXT,
    BadRequest,
    Parameter,
    checked,
    not_empty,
    number,
    parameters,
    target_of,
    wrong,
)
from web.http.replies import PRIVATE, Observe, json_reply
from web.http.times import Time, rfc3339
from web.reads.parameters import LIST
from web.records.logs import Logs, answered
from wire.fetch import Stored
from wire.lookback import Budget, Lookback

DEAD_LETTERS_PATH = "/v1/dead-letters"
#: Letters on a page, if nothing is said.
PAGE_LETTERS = 20
#: Records read for one page, wanted or not, and for how long; then it ends with a cursor.
MAX_READ = 20_000
_READ_S = 2.0
#: A key and value larger than this are named by size and hash; `onhand dlq show` has them.
MAX_SHOWN_BYTES = 8 * 1024


def _reason(raw: str) -> str:
    reasons = [reason.value for reason in Refusal]
    return checked(raw, None if raw in reasons else f"must be one of {', '.join(reasons)}")


DEAD_LETTERS: Mapping[str, Parameter] = {
    "reason": Parameter(
        _reason, {"enum": [reason.value for reason in Refusal]}, "Only letters with this reason."
    ),
    "source": Parameter(not_empty, SOME_TEXT, "Only records whose event has this source."),
    "topic": Parameter(not_empty, SOME_TEXT, "Only records that came to this topic."),
    "limit": number(1, 1000, "Letters on a page; fewer may come with a cursor."),
    "cursor": LIST["cursor"],
}


class HeaderBody(Struct, frozen=True, omit_defaults=True):
    """One header of the record as it came."""

    name: str | UnsetType = UNSET
    name_base64: str | UnsetType = UNSET
    value: str | UnsetType | None = UNSET
    value_base64: str | UnsetType = UNSET


class LetterBody(Struct, frozen=True, omit_defaults=True):
    """One refused record as it came, and why. Bytes that are not UTF-8 are base64.

    position: where it was first appended. size, sha256: of key and value together, where these
    were too large to be kept, or for a list: `onhand dlq show` has the latter.
    """

    position: str
    reason: str
    detail: str
    recorded_ms: int
    refused_ms: int
    headers: list[HeaderBody]
    key: str | UnsetType | None = UNSET
    key_base64: str | UnsetType = UNSET
    value: str | UnsetType | None = UNSET
    value_base64: str | UnsetType = UNSET
    size: int | UnsetType = UNSET
    sha256: str | UnsetType = UNSET


class DeadLettersBody(Struct, frozen=True):
    """One page.

    next_cursor: for older ones; null behind the oldest. since: every letter that fits, from
    this time on, is in this page or those before it; null: from the beginning. positions: up
    to where the dead letters were read when the first page was made. as_of: now.
    """

    items: list[LetterBody]
    next_cursor: str | None
    since: Time | None
    positions: str
    as_of: Time


class _Filters(Struct, frozen=True):
    reason: str | None
    source: str | None
    topic: str | None

    def fits(self, letter: Letter) -> bool:
        """Whether the letter is asked for."""
        if self.reason not in (None, letter.reason) or self.topic not in (None, letter.topic):
            return False
        if self.source is None:
            return True
        name = name_of(letter.value, letter.headers)
        return name is not None and name[0] == self.source


class _Cursor(Struct, frozen=True, array_like=True):
    """Of each partition, where it ended on the first page, and before what to go on.

    filters: their CRC.
    """

    filters: int
    ends: list[int]
    before: list[int]


class DeadLetters:
    """`topic` has `partitions`; `observe` is told role, outcome and seconds of each answer."""

    def __init__(self, logs: Logs, topic: str, partitions: int, observe: Observe) -> None:
        self._logs, self._topic, self._observe = logs, topic, observe
        self._partitions = [TopicPartition(topic, p) for p in range(partitions)]

    def routes(self) -> Iterator[web.RouteDef]:
        """The one."""
        yield web.get(DEAD_LETTERS_PATH, self.answer)

    async def answer(self, request: web.Request) -> web.Response:
        """GET /v1/dead-letters."""
        return await answered(self._page(request), "list", self._observe)

    async def _page(self, request: web.Request) -> web.Response:
        values = parameters(target_of(request)[1], DEAD_LETTERS)
        filters = _Filters(*(values.get(name) for name in _Filters.__struct_fields__))
        cursor = self._decoded(values.get("cursor"), filters)
        limit = values.get("limit", PAGE_LETTERS)
        items: list[LetterBody] = []
        async with self._logs.look(self._partitions) as look:
            if cursor is None:
                found = await look.ends(self._partitions)
                ends = [found[tp] for tp in self._partitions]
                cursor = _Cursor(_crc(filters), ends, ends)
            before = dict(zip(self._partitions, cursor.before, strict=True))
            budget = Budget(MAX_READ, time.monotonic() + _READ_S)
            back = Lookback(look, before, lambda record: _wanted(filters, record), budget)
            async for letter in back.newest():
                items.append(msgspec.convert(described(letter), LetterBody))
                if len(items) == limit:
                    break
        places = back.places()
        next_cursor = None
        if not (back.is_complete and all(back.is_empty(tp) for tp in self._partitions)):
            next_cursor = _encoded(_Cursor(cursor.filters, cursor.ends, [*places.values()]))
        since_ms = back.since_ms
        positions = format_position(
            {(self._topic, p): end - 1 for p, end in enumerate(cursor.ends) if end > 0}
        )
        since = None if since_ms is None else rfc3339(since_ms)
        now = rfc3339(int(time.time() * 1000))
        body = DeadLettersBody(items, next_cursor, since, positions, now)
        return json_reply(body, headers=PRIVATE)

    def _decoded(self, token: str | None, filters: _Filters) -> _Cursor | None:
        if token is None:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            cursor = msgspec.json.decode(raw, type=_Cursor)
        except (binascii.Error, ValueError, *BAD_JSON) as error:
            raise BadRequest(wrong("cursor", "is not one that this service gave")) from error
        if cursor.filters != _crc(filters):
            raise BadRequest(wrong("cursor", "belongs to a list with other filters"))
        pairs = [*zip(cursor.before, cursor.ends, strict=False)]
        count = len(self._partitions)
        if (len(cursor.before), len(cursor.ends)) != (count, count) or not all(
            0 <= before <= end < 2**63 for before, end in pairs
        ):
            raise BadRequest(wrong("cursor", "is not one that this service gave"))
        return cursor


def _wanted(filters: _Filters, record: Stored) -> Letter | None:
    letter = letter_of(record)
    return None if letter is None or not filters.fits(letter) else _light(letter)


def _light(letter: Letter) -> Letter:
    content = (letter.key or b"") + (letter.value or b"")
    if len(content) <= MAX_SHOWN_BYTES:
        return letter
    sha256 = hashlib.sha256(content).hexdigest()
    return msgspec.structs.replace(letter, key=None, value=None, size=len(content), sha256=sha256)


def _crc(filters: _Filters) -> int:
    return zlib.crc32(msgspec.json.encode(filters))


def _encoded(cursor: _Cursor) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).rstrip(b"=").decode()
