"""What a reader of the feed asks for, and what it is told: parameters, bodies, forms."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from aiohttp import web
from msgspec import UNSET, Struct, UnsetType

from core.positions import read_position
from domain.fates import Ending
from ledger.lines import TYPES
from web.http.parameters import TEXT, BadRequest, Parameter, number, parameters, target_of, wrong
from web.http.replies import JSON
from web.http.times import Time
from web.reads.parameters import LIST

CHANGES_PATH: Final = "/v1/changes"
#: Words in the place of a position.
BEGIN, END = "begin", "end"
#: Lines of a page, unless the caller says how many.
PAGE_LINES: Final = 500
MAX_WAIT_MS: Final = 10_000
KIND_OF_TYPE: Final = {name: kind for kind, name in TYPES.items()}
LAST_EVENT_ID: Final = "Last-Event-ID"


class Form(StrEnum):
    """How changes are told, by its media type."""

    PAGE = JSON
    EVENTS = "text/event-stream"
    LINES = "application/x-ndjson"


class Event(StrEnum):
    """What a line is.

    FACT: a record and what became of it. ROW: a row that changed, as it is now. RESET: changes of
    rows are missing here: read them again. POSITION: the reader has all up to there. WAITING: the
    feed goes on when it can. PROBLEM: it ends here, and why.
    """

    FACT = "fact"
    ROW = "row"
    RESET = "reset"
    POSITION = "position"
    WAITING = "waiting"
    PROBLEM = "problem"


class FeedOf(StrEnum):
    """What is told."""

    FACTS = "facts"
    ROWS = "rows"


def _of(raw: str) -> FeedOf:
    try:
        return FeedOf(raw)
    except ValueError:
        raise ValueError(f"must be one of {', '.join(FeedOf)}") from None


def _after(raw: str) -> str:
    if raw not in (BEGIN, END):
        read_position(raw)
    return raw


def _kind(raw: str) -> str:
    if raw not in KIND_OF_TYPE:
        raise ValueError(f"must be one of {', '.join(sorted(KIND_OF_TYPE))}")
    return raw


#: Of every form.
FOLLOWED: Mapping[str, Parameter] = {
    "after": Parameter(
        _after,
        TEXT,
        "Go on behind this position, which an earlier answer gave. end: behind all that is there "
        "now. begin: with the first that the ledger still has. Without it: with the first of all. "
        "Of rows, what lies too far back is told as a reset.",
    ),
    "sku_prefix": LIST["sku_prefix"]._replace(text="Only those of SKUs that begin so."),
    "location": LIST["location"]._replace(text="Only those of this location."),
    "type": Parameter(
        _kind, {"type": "string", "enum": sorted(KIND_OF_TYPE)}, "Only facts of this type."
    ),
    "of": Parameter(
        _of,
        {"type": "string", "enum": [*FeedOf]},
        "facts, as without it; or rows as they change, each as it is now: of many changes at once "
        "the last one is told.",
    ),
}
#: Of one page as well.
CHANGES_ASKED: Mapping[str, Parameter] = {
    **FOLLOWED,
    "limit": number(1, 1000, f"Facts or rows on a page; {PAGE_LINES} without it. Not of a stream."),
    "wait_ms": number(
        0, MAX_WAIT_MS, "How long to wait for one where there is none yet. Not of a stream."
    ),
}


class ToldFactBody(Struct, frozen=True, omit_defaults=True):
    """A record and what became of it.

    change: what it added to on hand; 0 where it was not applied. of: position of the fact that
    it repeats. refused, detail: why it was refused. What cannot be read of it is not there.
    """

    position: str
    recorded_at: Time
    outcome: Ending
    change: int
    type: str | UnsetType = UNSET
    sku: str | UnsetType = UNSET
    location: str | UnsetType = UNSET
    quantity: int | UnsetType = UNSET
    occurred_at: Time | UnsetType = UNSET
    source: str | UnsetType = UNSET
    id: str | UnsetType = UNSET
    reference: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    actor: str | UnsetType = UNSET
    of: str | UnsetType = UNSET
    refused: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET


class ChangeBody(Struct, frozen=True):
    """One line. id: the reader who has it has all up to there: go on with `after=` this."""

    id: str
    event: str
    data: ToldFactBody


class ChangesBody(Struct, frozen=True):
    """A page. after: of the next one. at_end: there was nothing behind it."""

    changes: list[ChangeBody]
    after: str
    at_end: bool


class FeedAsked(NamedTuple):
    """One request. values: of its parameters, those that were given."""

    form: Form
    values: Mapping[str, Any]

    @property
    def of(self) -> FeedOf:
        """Facts or rows."""
        return FeedOf(self.values.get("of", FeedOf.FACTS))

    @property
    def after(self) -> str:
        """The position, a word for one, or nothing."""
        return str(self.values.get("after", ""))

    @property
    def wait_s(self) -> float:
        """How long a page is to be waited for."""
        return float(self.values.get("wait_ms", 0)) / 1000

    def target(self, after: str, **more: int) -> str:
        """Path and query that ask a ledger for the page behind a position; `more`: parameters."""
        values = {**self.values, **more, "after": after}
        return f"{CHANGES_PATH}?{urlencode(values, safe='@,:')}"


def read_asked(request: web.Request) -> FeedAsked:
    """What a request asks for.

    Raises:
        BadRequest: names every fault.
    """
    form = _form_of(request.headers.get("Accept", ""))
    values = values_in(target_of(request)[1])
    if last := request.headers.get(LAST_EVENT_ID):
        # A browser that comes back asks with the address that it began with.
        try:
            values["after"] = _after(last)
        except ValueError as error:
            raise BadRequest(wrong(LAST_EVENT_ID, str(error))) from error
    if form is not Form.PAGE:
        only = [name for name in CHANGES_ASKED if name not in FOLLOWED and name in values]
        if only:
            raise BadRequest(*(wrong(name, f"is for Accept: {Form.PAGE} alone") for name in only))
    return FeedAsked(form, values)


def values_in(query: str) -> dict[str, Any]:
    """The parameters that a query gives.

    Raises:
        BadRequest: names every fault.
    """
    values = parameters(query, CHANGES_ASKED)
    if "type" in values and values.get("of") is FeedOf.ROWS:
        raise BadRequest(wrong("type", "is of facts alone: a row has none"))
    return values


def _form_of(accept: str) -> Form:
    """A stream has no end: only who asks for one by its name gets one."""
    for form in (Form.EVENTS, Form.LINES):
        if form in accept.lower():
            return form
    return Form.PAGE


def offsets_in(after: str, topics: list[str], partitions: int) -> dict[tuple[int, int], int]:
    """A position by topic's number and partition.

    Raises:
        ValueError: it names what this log does not have; a sentence without its subject.
    """
    offsets = {}
    for (topic, part), offset in read_position(after).items():
        if topic not in topics or part >= partitions:
            raise ValueError(not_here(topic, part))
        offsets[topics.index(topic), part] = offset
    return offsets


def not_here(topic: str, part: int) -> str:
    """What is wrong with a position that names this."""
    shown = ascii(f"{topic}-{part}"[:80])
    return f"names {shown}, which this log does not have"
