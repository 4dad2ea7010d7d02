"""What the door reads in a request without judging it: which version is named, and of what moment.

A query comes here in one spelling (`web.http.parameters.target_of`), so that names may be searched
in it. What is wrong with a value is told by who answers.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

TIMELINE = "timeline"
#: What makes a read of rows a question about the past: a moment, and by which clock it is meant.
AS_OF, AT_POSITION, CLOCK = OF_THE_PAST = ("as_of", "at_position", "clock")
#: What may be asked of a version by name.
_BY_VERSION = re.compile(r"/v1/(?:inventory(?:/|$)|lookup$|reports/|audit$)")
_VERSION = re.compile(r"(?:^|&)version=([^&]*)")
_NUMBER = re.compile(r"[1-9][0-9]{0,5}")
_ROWS = re.compile(r"/v1/inventory(?:/|$)")
_BEHIND_ROW = re.compile(r"/v1/inventory/[^/]*/[^/]*/([^/]*)")
_MOMENT = re.compile(rf"(?:^|&)(?:{AS_OF}|{AT_POSITION})=")


def version_named(path: str, query: str) -> str | None:
    """Which version this is asked of, as it was written; None where none is named.

    Named twice, it is no number: who answers says what is wrong.
    """
    named = _VERSION.findall(query) if _BY_VERSION.match(path) else []
    return "&".join(named) if named else None


def is_version(named: str) -> bool:
    """Whether that is a version's number."""
    return _NUMBER.fullmatch(named) is not None


def without_version(query: str) -> str:
    """The query without the version that it names, where that is one."""
    found = _VERSION.search(query)
    if found is None or not is_version(found[1]):
        return query
    return f"{query[: found.start()]}{query[found.end() :]}".lstrip("&")


def is_about_the_past(path: str, query: str) -> bool:
    """Whether only a ledger can answer this read of rows; decided by names alone, cheaply."""
    if not _ROWS.match(path):
        return False
    if _MOMENT.search(query):
        return True
    behind = _BEHIND_ROW.fullmatch(path)
    return behind is not None and unquote(behind[1]) == TIMELINE
