"""Conditions on a request: those that a call does not keep are refused, not passed over.

Who sends `If-Match` wants nothing done unless it holds. To do it all the same, without a
word, would be worse than not to do it.
"""

from collections.abc import Collection, Mapping

from aiohttp import web

from web.http.problems import Fault, Problem, problem

NONE_MATCH = "If-None-Match"
_CONDITIONS = ("If-Match", NONE_MATCH, "If-Modified-Since", "If-Unmodified-Since", "If-Range")


def refusal_of(headers: Mapping[str, str], kept: Collection[str] = ()) -> web.Response | None:
    """The 400 for conditions that the call does not keep; None if there is none.

    Args:
        headers: of the request.
        kept: those of `_CONDITIONS` that the call does keep.
    """
    given = [name for name in _CONDITIONS if name in headers and name not in kept]
    if not given:
        return None
    detail = "is a condition that this call does not keep"
    faults = [Fault(parameter=name, detail=detail) for name in given]
    sentence = f"{given[0]} {detail}, so nothing was done. Leave it out."
    return problem(Problem.INVALID_REQUEST, sentence, errors=faults)
