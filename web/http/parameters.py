"""What a caller asks in path and query, checked as a whole.

A parameter that is not known is refused, not ignored: whoever misspells
`max_lag_events` or `location` would else take an answer for what it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, unquote_plus

from aiohttp import web

from web.http.problems import Fault, Problem, problem

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: What needs no encoding in a query, besides letters, digits and `_.-~`.
_KEPT = "@:,/"
_BAD_ESCAPE_SAYS = "a % must be followed by two hexadecimal digits"
#: Schema of any text.
TEXT = {"type": "string"}
SOME_TEXT = {"type": "string", "minLength": 1}


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
    """Path as it was sent, and query in one spelling.

    Not `request.path`: yarl folds `..` away and decodes `%2F`, so that one key would
    be answered with another's row.
    """
    path, _, query = request.raw_path.partition("#")[0].partition("?")
    if not path.startswith("/"):  # absolute form, as sent to a proxy
        path = "/" + path.partition("://")[2].partition("/")[2]
    return path, _in_one_spelling(query)


def _in_one_spelling(query: str) -> str:
    """The query with each name and value percent-encoded where it has to be, and nowhere else.

    So `%76ersion=%32` is `version=2` for all who look for a name in it. What cannot be decoded
    stays as it is: `parameters` refuses it.
    """
    if "%" not in query and "+" not in query:
        return query
    if _BAD_ESCAPE.search(query):
        return query
    try:
        return "&".join(
            "=".join(
                quote(unquote_plus(part, errors="strict"), _KEPT) for part in pair.split("=", 1)
            )
            for pair in query.split("&")
        )
    except UnicodeError:
        return query


def part_of(raw: str) -> str:
    """One part of a path, decoded. Raises ValueError with a sentence without its subject."""
    if _BAD_ESCAPE.search(raw):
        raise ValueError(_BAD_ESCAPE_SAYS)
    try:
        raw.encode()  # aiohttp keeps bytes that are not UTF-8 as lone surrogates
        return unquote(raw, errors="strict")
    except UnicodeError as error:
        raise ValueError("must be UTF-8, percent-encoded") from error


# ---- the query


class Parameter(NamedTuple):
    """One query parameter. `read` raises ValueError with a sentence without its subject."""

    read: Callable[[str], Any]
    schema: Mapping[str, Any]
    text: str
    required: bool = False


def checked(raw: str, why: str | None) -> str:
    """The text as it came; raises ValueError with what is wrong with it, if anything is."""
    if why is not None:
        raise ValueError(why)
    return raw


def not_empty(raw: str) -> str:
    """Any text but an empty one."""
    return checked(raw, None if raw else "must not be empty")


def boolean(raw: str) -> bool:
    """`true` or `false`."""
    if raw not in ("true", "false"):
        raise ValueError("must be true or false")
    return raw == "true"


def number(least: int, most: int, text: str) -> Parameter:
    """A whole number within these bounds."""

    def read(raw: str) -> int:
        if re.fullmatch(r"-?[0-9]{1,19}", raw) and least <= int(raw) <= most:
            return int(raw)
        raise ValueError(f"must be a whole number from {least} to {most}")

    return Parameter(read, {"type": "integer", "minimum": least, "maximum": most}, text)


def parameters(
    query: str, known: Mapping[str, Parameter], past: Sequence[str] = ()
) -> dict[str, Any]:
    """Those that are given, by name.

    Args:
        query: in one spelling.
        known: what is read here.
        past: what belongs to the same call where it names a moment, and is read elsewhere.

    Raises:
        BadRequest: names every bad one.
    """
    faults: list[Fault] = []
    given: dict[str, str] = {}
    if _BAD_ESCAPE.search(query):
        faults.append(wrong("query", _BAD_ESCAPE_SAYS))
    try:
        query.encode()
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=50)
    except ValueError:
        pairs = []
        faults.append(wrong("query", "must be UTF-8, percent-encoded, not too long"))
    for name, raw in pairs:
        if name in past and name not in known:
            faults.append(wrong(name, "goes with a moment: name it by as_of"))
        elif name not in known:
            names = ", ".join([*known, *past])
            faults.append(wrong(name[:50], f"is not known here; known are {names}"))
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
