"""What a question about the past asks for: path and query."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from core.positions import read_position
from ledger.lines import TOPICS, micros
from ledger.questions.prefixes import Cuts
from web.cluster.admission import DEFAULT_WAIT_S
from web.http.parameters import TEXT, BadRequest, Parameter, boolean, number, part_of, wrong
from web.reads.parameters import LIST, READ, Filters
from web.reads.questions import key_of
from web.versions.asked import AS_OF, AT_POSITION, CLOCK, TIMELINE

REPORTS_PATH = "/v1/reports/"
CLOCKS = ("recorded", "occurred")
ORDERS = ("asc", "desc")
_TOPICS, _INT64 = range(len(TOPICS)), 2**63


def _time(raw: str) -> int:
    try:
        time = msgspec.convert(raw, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        raise ValueError("must be a time with an offset, such as 2026-11-23T10:00:00Z")
    return micros(time)


def _one_of(words: tuple[str, ...]) -> Parameter:
    def read(raw: str) -> str:
        if raw not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return raw

    return Parameter(read, {"type": "string", "enum": list(words)}, "")


_TIME = {"type": "string", "format": "date-time"}
_FAR_ENOUGH: Mapping[str, Parameter] = {
    "min_position": READ["min_position"],
    "wait_ms": READ["wait_ms"]._replace(
        text="How long to wait until the ledger is that far; 1,000 by default."
    ),
}
PAST: Mapping[str, Parameter] = {
    AS_OF: Parameter(_time, _TIME, "As it was at this time."),
    CLOCK: _one_of(CLOCKS)._replace(
        text="recorded: when the log took it. occurred: when it happened, as the fact says."
    ),
    AT_POSITION: Parameter(read_position, TEXT, "As it was when exactly this had been handled."),
    **_FAR_ENOUGH,
}
LEAF: Mapping[str, Parameter] = {
    **PAST,
    "from": Parameter(_time, _TIME, "Facts from this time on, by the clock."),
    "to": Parameter(_time, _TIME, "Facts before this time, by the clock."),
    "order": _one_of(ORDERS)._replace(text="asc: oldest first, as without it. desc: newest first."),
    "limit": number(1, 1000, "Facts on a page; 100 without it."),
    "cursor": Parameter(str, TEXT, "`next_cursor` of the page before."),
    "all": Parameter(boolean, {"type": "boolean"}, "Also what was repeated or refused."),
}


PAST_LIST: Mapping[str, Parameter] = {
    **PAST,
    **{
        name: LIST[name]
        for name in (
            *("location", "sku_prefix", "on_hand_below", "on_hand_above", "limit", "cursor"),
        )
    },
}
REPORT: Mapping[str, Parameter] = {
    **_FAR_ENOUGH,
    AS_OF: PAST[AS_OF],
    "from": Parameter(_time, _TIME, "Of facts recorded from this time on; a week without it."),
    "location": LIST["location"],
    "late_s": number(1, 10**9, "late-facts: after so many seconds a fact is late; 3,600."),
    "limit": number(1, 10_000, "Lines; 100 without it."),
}


class Past(NamedTuple):
    """Which prefix: a time by a clock, a position, or all there is.

    least: what must be in the ledger before it answers.
    """

    as_of: int | None
    by_occurred: bool
    position: Mapping[tuple[str, int], int] | None
    least: Mapping[tuple[str, int], int] = {}


def past_of(values: Mapping[str, Any]) -> Past:
    """Read the parameters of a moment together.

    Raises:
        BadRequest: a time and a position.
    """
    if AS_OF in values and AT_POSITION in values:
        raise BadRequest(wrong(AT_POSITION, f"and {AS_OF} are two moments: give one"))
    occurred = values.get(CLOCK) == "occurred"
    least = values.get("min_position", {})
    return Past(values.get(AS_OF), occurred, values.get(AT_POSITION), least)


def wait_of(values: Mapping[str, Any]) -> float:
    """For how many seconds the answer may wait until the ledger is that far."""
    wait: float = values.get("wait_ms", DEFAULT_WAIT_S * 1000) / 1000
    return wait


def timeline_key(path: str) -> tuple[str, str] | None:
    """SKU and location of a timeline's path; None if it is none.

    Raises:
        BadRequest: a part can be no id.
    """
    row, _, last = path.rpartition("/")
    key = key_of(row) if last and part_of(last) == TIMELINE else None
    return None if key is None or key[1] is None else (key[0], key[1])


class Cursor(Struct, frozen=True, array_like=True):
    """Where the next page begins, and of which prefix all pages are.

    cuts: topic's number, partition, first offset that does not count. occurred: only what
    happened until then. filters: which of a list.
    """

    cuts: list[tuple[int, int, int]]
    after: list[int | str]
    occurred: int | None = None
    filters: Filters | None = None

    @property
    def ends(self) -> dict[tuple[int, int], int]:
        """As `ledger.questions.cuts` has them."""
        return {(topic, part): end for topic, part, end in self.cuts}


def cursor_text(
    cuts: Cuts,
    after: Iterable[int | str],
    occurred: int | None = None,
    filters: Filters | None = None,
) -> str:
    """As callers carry it."""
    cursor = Cursor([(*at, end) for at, end in cuts.items()], list(after), occurred, filters)
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(cursor)).decode().rstrip("=")


def _fits(value: int | str) -> bool:
    """Whether databases can be asked for it."""
    return "\x00" not in value if isinstance(value, str) else -_INT64 <= value < _INT64


def read_cursor(text: str, kinds: tuple[type, ...]) -> Cursor:
    """Undo `cursor_text`.

    Args:
        text: as it came.
        kinds: what places are made of in answers to this question.

    Raises:
        BadRequest: no answer to such a question gave it.
    """
    try:
        padded = text + "=" * (-len(text) % 4)
        raw = base64.b64decode(padded, altchars=b"-_", validate=True)
        cursor = msgspec.msgpack.decode(raw, type=Cursor)
        if tuple(map(type, cursor.after)) != kinds:
            raise ValueError("it is of another question")
        numbers = (*chain.from_iterable(cursor.cuts), *cursor.after, cursor.occurred or 0)
        if not all(map(_fits, numbers)) or any(t not in _TOPICS for t, _, _ in cursor.cuts):
            raise ValueError("it was made by somebody else")
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadRequest(wrong("cursor", "must be a next_cursor that an answer gave")) from error
    return cursor
