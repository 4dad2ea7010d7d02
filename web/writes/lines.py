"""What a POST of facts holds, made into the CloudEvents that go to the topics.

Lines are short: their path says the type. Events come whole, in a body of their own or, in
binary mode, with their attributes in headers `ce-…`. All are appended in structured mode.

An unknown field is refused by name: whoever misspells `time` or `reference` would else think
it was kept. Not an unknown attribute of an event: CloudEvents allows extensions.
"""

import asyncio
import base64
import json
import re
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Protocol
from urllib.parse import unquote

import msgspec
from aiohttp import web
from msgspec import UNSET, Raw, Struct, UnsetType

from core.refusals import Refused
from domain.events import Refusal, StockEvent
from domain.modes import Media, media_of
from web.http.bodies import BAD_JSON
from web.http.problems import Fault

TYPE_OF_PATH: Mapping[str, str] = {
    "/v1/shipments": "inventory.shipment.received.v1",
    "/v1/dispatches": "inventory.shipment.dispatched.v1",
    "/v1/sales": "inventory.sale.completed.v1",
    "/v1/returns": "inventory.sale.returned.v1",
    "/v1/adjustments": "inventory.stock.adjusted.v1",
}
DATA_FIELDS = ("sku", "location", "quantity", "reason", "reference", "actor")
LINE_FIELDS = ("source", "id", "time", *DATA_FIELDS)
EVENT_JSON = "application/cloudevents+json"
BATCH_JSON = "application/cloudevents-batch+json"
#: The attribute that says whose token a fact was posted with.
ACTOR = "onhandactor"
SPECVERSION_HEADER = "ce-specversion"

MISSING_IDENTITY = "missing_identity"
UNKNOWN_FIELD = "unknown_field"
# Lines read before the loop gets a turn: about 1 ms.
SLICE_LINES = 128

# Never change these two: a retry after an upgrade must give the same ids (docs/http.md, Retries).
ID_NAMESPACE = uuid.UUID("14bf3c54-d6e3-489e-9159-cce1c41efe68")


def derived_id(source: Any, key: str, kind: str, sku: Any, location: Any, rank: int) -> str:
    """The id of a line without one, from the request's Idempotency-Key.

    UUIDv5 over a JSON array without spaces, in UTF-8, where controls alone are escaped.
    `rank` is the line's place, from 0, among the lines of its SKU and location (`ranks_of`):
    another order of the same lines gives the same ids.
    """
    named = _encode([source, key, kind, sku, location, rank])
    return str(uuid.uuid5(ID_NAMESPACE, named.decode()))


async def ranks_of(lines: Sequence[Raw]) -> list[int]:
    """Each line's place among those without an id of the same SKU and location.

    Ordered by quantity, time, reason, reference, actor and at last source; a field left out
    and an empty one come first. Lines that are alike in all of these may change places. What
    is no line, or has an id, gets 0.
    """
    ranks = [0] * len(lines)
    alike: dict[bytes, list[tuple[tuple[Any, ...], int]]] = defaultdict(list)
    for at, raw in enumerate(lines):
        if at % SLICE_LINES == SLICE_LINES - 1:
            await asyncio.sleep(0)
        try:
            fields = _fields.decode(raw)
            place = _encode([fields.get("sku"), fields.get("location")])
        except (*BAD_JSON, OverflowError):
            continue
        if fields.get("id") is None:
            alike[place].append((_order(fields), at))
    for some in alike.values():
        for rank, (_, at) in enumerate(sorted(some)):
            ranks[at] = rank
    return ranks


def _order(fields: Mapping[str, Any]) -> tuple[Any, ...]:
    """What is refused later may stand anywhere, but must not fail here."""
    quantity = fields.get("quantity")
    words = (fields.get(name) for name in ("time", "reason", "reference", "actor", "source"))
    return (
        quantity if isinstance(quantity, int | float) else 0,
        *(word if isinstance(word, str) else "" for word in words),
    )


class Posted(Protocol):
    """How the lines of one body are read."""

    def events(self, lines: Sequence[Raw]) -> list[bytes] | None:
        """The same as `event` for all of them; None: one by one, something is not usual."""

    def event(self, raw: Raw, line: int) -> bytes | Fault:
        """The CloudEvent to append for this line, counted from 1; checked by the caller."""

    def fault(self, value: bytes, outcome: StockEvent | Refused) -> tuple[str, str] | None:
        """Reason and detail of what is wrong with an event, for whoever wrote the line."""


class PostedLines:
    """Lines of a path that says their type.

    Args:
        kind: the type.
        key: the Idempotency-Key, if there is one.
        ranks: of all lines (`ranks_of`), where there is a key.
    """

    def __init__(self, kind: str, key: str | None, ranks: Sequence[int]) -> None:
        self._kind, self._key, self._ranks = kind, key, ranks

    def events(self, lines: Sequence[Raw]) -> list[bytes] | None:
        """Of lines that have an id and no field that is not known, as nearly all are."""
        try:
            return [_event_of(line, self._kind) for line in map(_read, lines)]
        except (*BAD_JSON, OverflowError):
            return None

    def event(self, raw: Raw, line: int) -> bytes | Fault:
        """From its fields; `null` stands for absent, as many serialisers write it."""
        try:
            fields = _fields.decode(raw)
        except BAD_JSON as error:
            detail = f"Not a JSON object: {error}."
            return Fault(line=line, reason=Refusal.NOT_JSON, detail=detail)
        if told := not_known(fields, LINE_FIELDS, "a line"):
            if "specversion" in fields:
                told += " CloudEvents go to /v1/events."
            return Fault(line=line, reason=UNKNOWN_FIELD, detail=told)
        fields = {name: value for name, value in fields.items() if value is not None}
        source, event_id = fields.get("source"), fields.get("id")
        if source is None:
            return Fault(line=line, reason=MISSING_IDENTITY, detail="The line has no source.")
        if event_id is None and self._key is None:
            detail = "The line has no id, and the request no Idempotency-Key."
            return Fault(line=line, reason=MISSING_IDENTITY, detail=detail)
        event = {"specversion": "1.0", "id": event_id, "source": source, "type": self._kind}
        if "time" in fields:
            event["time"] = fields["time"]
        event["data"] = {name: fields[name] for name in DATA_FIELDS if name in fields}
        try:
            if event_id is None:
                place = fields.get("sku"), fields.get("location")
                rank = self._ranks[line - 1]
                event["id"] = derived_id(source, str(self._key), self._kind, *place, rank)
            return _encode(event)
        except (RecursionError, OverflowError):
            # It was just within what can be read, and is two levels deeper now.
            detail = "A value is nested too deep, or a number is too large."
            return Fault(line=line, reason=Refusal.NOT_JSON, detail=detail)

    def fault(self, value: bytes, outcome: StockEvent | Refused) -> tuple[str, str] | None:
        """As the rules say it, with paths for types: this client knows those."""
        if not isinstance(outcome, Refused):
            return None
        detail = outcome.detail
        for path, kind in TYPE_OF_PATH.items():
            detail = detail.replace(kind, f"POST {path}")
        return outcome.reason, detail


class _Line(Struct, gc=False, forbid_unknown_fields=True):
    """A usual line. quantity: as it came, for 2.0 stays 2.0."""

    source: str
    id: str
    sku: str
    location: str
    quantity: Any
    time: str | None = None
    reason: str | None = None
    reference: str | None = None
    actor: str | None = None


class _LineData(Struct, gc=False, omit_defaults=True):
    sku: str
    location: str
    quantity: Any
    reason: str | None = None
    reference: str | None = None
    actor: str | None = None


class _LineEvent(Struct, gc=False):
    specversion: str
    id: str
    source: str
    type: str
    time: str | UnsetType
    data: _LineData


def _event_of(line: _Line, kind: str) -> bytes:
    """Its bytes are those of `PostedLines.event`, in a quarter of the time."""
    data = _LineData(
        line.sku, line.location, line.quantity, line.reason, line.reference, line.actor
    )
    time = UNSET if line.time is None else line.time
    return _encode(_LineEvent("1.0", line.id, line.source, kind, time, data))


class PostedEvents:
    """CloudEvents as JSON, appended byte for byte."""

    def events(self, lines: Sequence[Raw]) -> list[bytes] | None:
        """As they came, where none has unknown fields in its data."""
        values = list(map(bytes, lines))
        try:
            for value in values:
                _whole.decode(value)
        except BAD_JSON:
            return None
        return values

    def event(self, raw: Raw, line: int) -> bytes | Fault:
        """As it came."""
        return bytes(raw)

    def fault(self, value: bytes, outcome: StockEvent | Refused) -> tuple[str, str] | None:
        """As the rules say it, and unknown fields of `data` besides."""
        if isinstance(outcome, Refused) and outcome.reason is not Refusal.BAD_DATA:
            return outcome.reason, outcome.detail
        if told := _unknown(value):
            return UNKNOWN_FIELD, told
        return (outcome.reason, outcome.detail) if isinstance(outcome, Refused) else None


def said_by(name: str, event: bytes) -> bytes:
    """The event, with who posted it: an attribute, so that it is no part of what happened.

    One that came with it is replaced: this is about this posting. All else stays as it came.
    """
    try:
        fields = _raw_fields.decode(event)
    except BAD_JSON:  # the name of another attribute is no text; the last of two counts
        return event.rstrip()[:-1] + b"," + _encode({ACTOR: name})[1:]
    fields.pop(ACTOR, None)
    return _encode(fields | {ACTOR: name})


def not_known(fields: Iterable[str], known: Sequence[str], of: str) -> str | None:
    """Name the fields that are not known, and what they may have been meant for."""
    told = []
    for name in fields:
        if name not in known:
            meant = get_close_matches(name[:50], known, n=1)
            shown = ascii(name if len(name) <= 50 else name[:47] + "...")
            told.append(shown + (f" (did you mean {meant[0]}?)" if meant else ""))
    if not told:
        return None
    more = f" and {len(told) - 5} more" if len(told) > 5 else ""
    return f"Not a field of {of}: {', '.join(told[:5])}{more}. Known are {', '.join(known)}."


class _Data(Struct, forbid_unknown_fields=True):
    sku: Any = None
    location: Any = None
    quantity: Any = None
    reason: Any = None
    reference: Any = None
    actor: Any = None


class _Whole(Struct):
    data: _Data
    data_base64: None = None


_fields = msgspec.json.Decoder(dict[str, Any])
_raw_fields: msgspec.json.Decoder[dict[str, Any]] = msgspec.json.Decoder(dict[str, Raw])
_whole = msgspec.json.Decoder(_Whole)
_read = msgspec.json.Decoder(_Line).decode
_any = msgspec.json.Decoder(Raw)
_encode = msgspec.json.Encoder().encode


def _unknown(value: bytes) -> str | None:
    """Unknown fields in the data of an event; None for what has no fields there."""
    try:
        _whole.decode(value)
    except BAD_JSON:
        # Perhaps for another cause: read it as the rules do (domain/checks.py).
        try:
            event = json.loads(value)
            data = event.get("data")
            if data is None:
                data = json.loads(base64.b64decode(event.get("data_base64") or ""))
        except RecursionError:
            return "A value is nested too deep."
        except (ValueError, TypeError):  # the latter: what is packed need not be text
            return None
        return not_known(data, DATA_FIELDS, "data") if isinstance(data, dict) else None
    return None


# ---- binary mode, as CloudEvents' HTTP binding has it


def is_binary_request(request: web.Request) -> bool:
    """Tell whether the body is an event's data, its attributes being headers."""
    media = media_of(content_type_of(request))
    return SPECVERSION_HEADER in request.headers and media not in (Media.EVENT, Media.OTHER_EVENT)


def content_type_of(request: web.Request) -> bytes:
    """The header as it stands."""
    return request.headers.get("Content-Type", "").encode(errors="replace")


def as_structured(request: web.Request, data: bytes) -> bytes | str:
    """The event as JSON, extensions included; or a sentence that says why it is none."""
    event: dict[str, Any] = {}
    for header, text in request.headers.items():
        name = header.lower().removeprefix("ce-")
        if not header.lower().startswith("ce-") or name in _NOT_ATTRIBUTES:
            continue
        if name in event:
            return f"The header {header} is given twice."
        try:
            event[name] = _unescaped(text)
        except ValueError:
            return f"The header {header} is not UTF-8, percent-encoded."
    media = content_type_of(request).decode().partition(";")[0].strip()
    if media_of(content_type_of(request)) is Media.JSON and media:
        event["datacontenttype"] = media
    try:
        return _encode({**event, "data": _any.decode(data)})
    except BAD_JSON as error:
        return f"The body is not JSON: {error}."


#: Of these the binding has other places, the body and Content-Type.
_NOT_ATTRIBUTES = ("data", "data_base64", "datacontenttype")


def _unescaped(text: str) -> str:
    """A header's value: quotes are undone, then percent-encoding, once each."""
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    text = unquote(text, errors="strict")
    text.encode()  # aiohttp keeps bytes that are not UTF-8 as lone surrogates
    return text
