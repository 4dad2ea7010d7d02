"""What a read asks for: path, query and headers, checked as a whole.

A parameter that is not known is refused, not ignored: whoever misspells
`max_lag_events` or `location` would else take an answer for what it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec
from aiohttp import web

from domain.events import Refusal
from domain.lookup import read_position
from domain.names import MAX_NAME_CHARS, fault_of, fault_of_part
from web.cluster.admission import MAX_WAIT_S, Asked
from web.cluster.peers import HOP, PARTITIONS
from web.http.problems import Fault, Problem, problem

ROOT = "/v1/inventory"
DEFAULT_LIMIT = 100
_INT64 = 2**63

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_BAD_ESCAPE_TEXT = "a % must be followed by two hexadecimal digits"
#: A SKU or location in the document.
NAME = {"type": "string", "minLength": 1, "maxLength": MAX_NAME_CHARS}


def wrong(parameter: str, detail: str) -> Fault:
    """A fault of a parameter, a part of the path, or the body."""
    return Fault(parameter=parameter, detail=detail)


class BadRequest(Exception):
    """The request is not valid; carries every fault found, for one 400."""

    def __init__(self, *faults: Fault) -> None:
        super().__init__("; ".join(f"{fault.parameter}: {fault.detail}" for fault in faults))
        self.faults = faults

    def reply(self) -> web.Response:
        """The 400."""
        return problem(Problem.INVALID_REQUEST, f"{self}.", errors=self.faults)


# ---- the path


def target_of(request: web.Request) -> tuple[str, str]:
    """Path and query as they were sent.

    Not `request.path`: yarl folds `..` away and decodes `%2F`, so that one key would
    be answered with another's row.
    """
    path, _, query = request.raw_path.partition("#")[0].partition("?")
    if not path.startswith("/"):  # absolute form, as sent to a proxy
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path, query


def key_of(path: str) -> tuple[str, ...] | None:
    """SKU, or SKU and location, from a path under `ROOT`; None if the path has another shape.

    Raises:
        BadRequest: the shape is right and a part can be no id.
    """
    parts = path[len(ROOT) + 1 :].split("/")
    if not path.startswith(ROOT + "/") or len(parts) > 2:
        return None
    ids, faults = [], []
    for name, raw in zip(("sku", "location"), parts, strict=False):
        try:
            ids.append(_id(unquote(_escaped_well(raw), errors="strict")))
        except UnicodeError:
            faults.append(wrong(name, "must be UTF-8, percent-encoded"))
        except ValueError as error:
            faults.append(wrong(name, str(error)))
    if faults:
        raise BadRequest(*faults)
    return tuple(ids)


def _escaped_well(raw: str) -> str:
    if _BAD_ESCAPE.search(raw):
        raise ValueError(_BAD_ESCAPE_TEXT)
    raw.encode()  # aiohttp keeps bytes that are not UTF-8 as lone surrogates
    return raw


# ---- the query


class Parameter(NamedTuple):
    """One query parameter. `read` raises ValueError with a sentence without its subject."""

    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    text: str


def _id(raw: str) -> str:
    return _checked(raw, fault_of(raw))


def _prefix(raw: str) -> str:
    return _checked(raw, fault_of_part(raw))


def _named(raw: str) -> str:
    return _checked(raw, None if raw else "must not be empty")


def _checked(raw: str, why: str | None) -> str:
    if why is not None:
        raise ValueError(why)
    return raw


def _reason(raw: str) -> str:
    reasons = [reason.value for reason in Refusal]
    return _checked(raw, None if raw in reasons else f"must be one of {', '.join(reasons)}")


def _boolean(raw: str) -> bool:
    if raw not in ("true", "false"):
        raise ValueError("must be true or false")
    return raw == "true"


def _number(least: int, most: int, text: str) -> Parameter:
    def read(raw: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,19}", raw) and least <= int(raw) <= most:
            return int(raw)
        raise ValueError(f"must be a whole number from {least} to {most}")

    return Parameter(read, {"type": "integer", "minimum": least, "maximum": most}, text)


_TEXT = {"type": "string"}
READ: Mapping[str, Parameter] = {
    "min_position": Parameter(read_position, _TEXT, "Wait until this position has been handled."),
    "wait_ms": _number(0, int(MAX_WAIT_S * 1000), "How long to wait for it; 1,000 by default."),
    "max_lag_events": _number(0, _INT64 - 1, "Refuse an answer that lags by more."),
}
POST: Mapping[str, Parameter] = {
    "outcome": Parameter(
        _boolean,
        {"type": "boolean"},
        "Wait until the events are counted or refused, and say which; still 202.",
    ),
    "wait_ms": _number(0, int(MAX_WAIT_S * 1000), "How long to wait for it; 1,000 by default."),
}
LOOKUP = {
    "partial": Parameter(
        _boolean, {"type": "boolean"}, "Take an answer that names what is missing."
    ),
    **READ,
}
LIST = {
    "location": Parameter(_id, NAME, "Only rows at this location."),
    "sku_prefix": Parameter(_prefix, _TEXT, "Only SKUs that begin so: the cheap filter."),
    "on_hand_below": _number(-_INT64, _INT64 - 1, "Only rows with less on hand."),
    "on_hand_above": _number(-_INT64, _INT64 - 1, "Only rows with more on hand."),
    "limit": _number(1, 1000, "Rows on a page; fewer may come with a cursor."),
    "cursor": Parameter(str, _TEXT, "`next_cursor` of the page before."),
    **LOOKUP,
}


DEAD_LETTERS: Mapping[str, Parameter] = {
    "reason": Parameter(
        _reason, {"enum": [reason.value for reason in Refusal]}, "Only letters with this reason."
    ),
    "source": Parameter(_named, _TEXT, "Only records whose event has this source."),
    "topic": Parameter(_named, _TEXT, "Only records that came to this topic."),
    "limit": _number(1, 1000, "Letters on a page; fewer may come with a cursor."),
    "cursor": LIST["cursor"],
}


FACTS_LOOKUP: Mapping[str, Parameter] = {"partial": LOOKUP["partial"]}
_IDENTITY = {"type": "string", "minLength": 1, "maxLength": 1024}
FACTS: Mapping[str, Parameter] = {
    "source": Parameter(_named, _IDENTITY, "Who said it. Must be given."),
    "id": Parameter(_named, _IDENTITY, "Which of its facts. Must be given."),
    **FACTS_LOOKUP,
}


class Filters(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which rows a list holds."""

    location: str | None = None
    sku_prefix: str = ""
    on_hand_below: int | None = None
    on_hand_above: int | None = None


def parameters(query: str, known: Mapping[str, Parameter]) -> dict[str, Any]:
    """Those that are given, by name.

    Raises:
        BadRequest: names every bad one.
    """
    faults: list[Fault] = []
    given: dict[str, str] = {}
    if _BAD_ESCAPE.search(query):
        faults.append(wrong("query", _BAD_ESCAPE_TEXT))
    try:
        query.encode()
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        pairs = []
        faults.append(wrong("query", "must be UTF-8, percent-encoded, not too long"))
    for name, raw in pairs:
        if name not in known:
            faults.append(wrong(name[:50], f"is not known here; known are {', '.join(known)}"))
        elif name in given:
            faults.append(wrong(name, "is given twice"))
        given.setdefault(name, raw)
    values: dict[str, Any] = {}
    for name in [name for name in known if name in given]:
        try:
            values[name] = known[name].read(given[name])
        except ValueError as error:
            faults.append(wrong(name, str(error)))
    if faults:
        raise BadRequest(*faults)
    return values


def asked_of(values: Mapping[str, Any], headers: Mapping[str, str]) -> Asked:
    """What the caller demands of any answer."""
    return Asked(
        values.get("min_position", {}),
        values.get("wait_ms", 1000) / 1000,
        values.get("max_lag_events"),
        HOP in headers,
    )


def filters_of(values: Mapping[str, Any]) -> Filters:
    """Those of a list."""
    fields: Collection[str] = Filters.__struct_fields__
    return Filters(**{name: values[name] for name in fields if name in values})


def partitions_of(headers: Mapping[str, str], count: int) -> list[int]:
    """Partitions that a list is restricted to by another worker; all without the header.

    Raises:
        BadRequest: not partition numbers.
    """
    raw = headers.get(PARTITIONS)
    if raw is None:
        return list(range(count))
    try:
        numbers = sorted({int(part) for part in raw.split(",")})
    except ValueError:
        numbers = [-1]
    if not 0 <= numbers[0] <= numbers[-1] < count:
        raise BadRequest(wrong(PARTITIONS, f"must be numbers from 0 to {count - 1}"))
    return numbers
