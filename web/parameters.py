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

from domain.events import MAX_NAME_CHARS
from domain.lookup import parse_position
from web.admission import ANYTHING, DEFAULT_WAIT_S, MAX_WAIT_S, Asked
from web.hops import HOP, PARTITIONS
from web.problems import Problem, problem

ROOT = "/v1/inventory"
MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
_INT64 = 2**63

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Wrong(NamedTuple):
    """One thing that is not as it should be."""

    parameter: str
    detail: str


class BadRequest(Exception):
    """The request is not valid; carries every fault found, for one 400."""

    def __init__(self, faults: Collection[Wrong]) -> None:
        super().__init__("; ".join(f"{fault.parameter}: {fault.detail}" for fault in faults))
        self.faults = list(faults)

    def reply(self) -> web.Response:
        """The 400."""
        errors = [fault._asdict() for fault in self.faults]
        return problem(Problem.INVALID_REQUEST, f"{self}.", errors=errors)


class Filters(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which rows a list holds."""

    location: str | None = None
    sku_prefix: str = ""
    on_hand_below: int | None = None
    on_hand_above: int | None = None


class ListAsked(msgspec.Struct, frozen=True):
    """A list's parameters; `cursor` is not decoded yet."""

    filters: Filters
    limit: int
    cursor: str | None
    partial: bool


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
    if not path.startswith(ROOT + "/"):
        return None
    parts = path[len(ROOT) + 1 :].split("/")
    if len(parts) > 2:
        return None
    names = ("sku", "location")
    faults: list[Wrong] = []
    ids = tuple(_id(name, raw, faults) for name, raw in zip(names, parts, strict=False))
    if faults:
        raise BadRequest(faults)
    return ids


def _id(name: str, raw: str, faults: list[Wrong]) -> str:
    if raw.isalnum() and raw.isascii() and len(raw) <= MAX_NAME_CHARS:
        return raw
    if _BAD_ESCAPE.search(raw):
        faults.append(Wrong(name, "a % must be followed by two hexadecimal digits"))
        return raw
    try:
        text = unquote(raw, errors="strict")
        text.encode()
    except UnicodeError:
        faults.append(Wrong(name, "must be UTF-8, percent-encoded"))
        return raw
    why = id_fault(text)
    if why is not None:
        faults.append(Wrong(name, why))
    return text


def id_fault(text: str) -> str | None:
    """Why this cannot be a SKU or location (DESIGN.md, section 2); None if it can."""
    if not text:
        return "must not be empty"
    if len(text) > MAX_NAME_CHARS:
        return f"must be at most {MAX_NAME_CHARS} characters long"
    if text in (".", ".."):
        return "must not be . or .."
    if text != text.strip(" "):
        return "must not begin or end with a space"
    if _CONTROL.search(text):
        return "must not have control characters"
    return None


_READ = ("min_position", "wait_ms", "max_lag_events")
_LIST = (
    "location",
    "sku_prefix",
    "on_hand_below",
    "on_hand_above",
    "limit",
    "cursor",
    "partial",
)


def read_parameters(query: str, headers: Mapping[str, str]) -> Asked:
    """Parameters of a read of one key or SKU.

    Raises:
        BadRequest: names every bad one.
    """
    if not query:
        return ANYTHING if HOP not in headers else Asked(hop=True)
    given = _Given(query, _READ)
    asked = given.asked(HOP in headers)
    given.check()
    return asked


def lookup_parameters(query: str, headers: Mapping[str, str]) -> tuple[Asked, bool]:
    """Those of a lookup, and whether a partial answer will do."""
    given = _Given(query, (*_READ, "partial"))
    asked = given.asked(HOP in headers)
    partial = given.boolean("partial")
    given.check()
    return asked, partial


def list_parameters(query: str, headers: Mapping[str, str]) -> tuple[Asked, ListAsked]:
    """Those of a list."""
    given = _Given(query, (*_READ, *_LIST))
    asked = given.asked(HOP in headers)
    filters = Filters(
        given.an_id("location"),
        given.prefix("sku_prefix"),
        given.number("on_hand_below", -_INT64, _INT64 - 1),
        given.number("on_hand_above", -_INT64, _INT64 - 1),
    )
    limit = given.number("limit", 1, MAX_LIMIT)
    listed = ListAsked(
        filters,
        DEFAULT_LIMIT if limit is None else limit,
        given.text("cursor"),
        given.boolean("partial"),
    )
    given.check()
    return asked, listed


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
        raise BadRequest([Wrong(PARTITIONS, f"must be numbers from 0 to {count - 1}")])
    return numbers


class _Given:
    """The query's parameters; collects what is wrong with them."""

    def __init__(self, query: str, known: Collection[str]) -> None:
        self._faults: list[Wrong] = []
        self._values: dict[str, str] = {}
        if _BAD_ESCAPE.search(query):
            self._faults.append(Wrong("query", "a % must be followed by two hexadecimal digits"))
        try:
            query.encode()  # aiohttp keeps bytes that are not UTF-8 as lone surrogates
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
        except ValueError:
            pairs = []
            self._faults.append(Wrong("query", "must be UTF-8, percent-encoded, not too long"))
        for name, value in pairs:
            if name not in known:
                self._wrong(name[:50], f"is not known here; known are {', '.join(known)}")
            elif name in self._values:
                self._wrong(name, "is given twice")
            self._values.setdefault(name, value)

    def check(self) -> None:
        if self._faults:
            raise BadRequest(self._faults)

    def _wrong(self, name: str, detail: str) -> None:
        self._faults.append(Wrong(name, detail))

    def asked(self, hop: bool) -> Asked:
        wait_ms = self.number("wait_ms", 0, int(MAX_WAIT_S * 1000))
        return Asked(
            self._parse("min_position", parse_position, {}),
            DEFAULT_WAIT_S if wait_ms is None else wait_ms / 1000,
            self.number("max_lag_events", 0, _INT64 - 1),
            hop,
        )

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def number(self, name: str, least: int, most: int) -> int | None:
        raw = self._values.get(name)
        if raw is None:
            return None
        if re.fullmatch(r"-?[0-9]{1,19}", raw) and least <= int(raw) <= most:
            return int(raw)
        self._wrong(name, f"must be a whole number from {least} to {most}")
        return None

    def boolean(self, name: str) -> bool:
        raw = self._values.get(name, "false")
        if raw not in ("true", "false"):
            self._wrong(name, "must be true or false")
        return raw == "true"

    def an_id(self, name: str) -> str | None:
        raw = self._values.get(name)
        why = None if raw is None else id_fault(raw)
        if why is not None:
            self._wrong(name, why)
        return raw

    def prefix(self, name: str) -> str:
        raw = self._values.get(name, "")
        if len(raw) > MAX_NAME_CHARS:
            self._wrong(name, f"must be at most {MAX_NAME_CHARS} characters long")
        elif _CONTROL.search(raw):
            self._wrong(name, "must not have control characters")
        return raw

    def _parse(self, name: str, parse: Callable[[str], Any], default: Any) -> Any:
        raw = self._values.get(name)
        if raw is None:
            return default
        try:
            return parse(raw)
        except ValueError as error:
            self._wrong(name, str(error))
            return default
