"""What an answer is worth, this worker's own or another's: usable, final, better than another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import msgspec
from aiohttp import web

from core.stages import Role
from domain.lookup import NotCaughtUp, NotReady, TooBusy, TooStale
from web.cluster.exchange import Head, PeerAnswer
from web.http.bodies import BAD_JSON
from web.http.problems import PAGES, Problem, problem
from web.http.replies import SERVER

# What of another worker's answer is for the client; the rest belongs to that connection.
_FOR_CLIENT = (
    "content-type", "cache-control", "server", "etag", "retry-after", "onhand-",
    "www-authenticate",
)  # fmt: skip


class _Typed(msgspec.Struct):
    type: str


def problem_of(answer: object) -> Problem | None:
    """Which refusal this is, of ours or another worker's."""
    match answer:
        case NotReady():
            return Problem.NOT_READY
        case NotCaughtUp():
            return Problem.NOT_CAUGHT_UP
        case TooStale():
            return Problem.TOO_STALE
        case TooBusy():
            return Problem.TOO_BUSY
        case (
            PeerAnswer(status=status, body=bytes(body))
            | web.Response(status=status, body=bytes(body))
        ) if status >= 400:
            try:
                return Problem(msgspec.json.decode(body, type=_Typed).type.rpartition("/")[2])
            except (*BAD_JSON, ValueError):
                return Problem.INTERNAL_ERROR
        case _:
            return None


def unanswered_reply(why: NotReady | NotCaughtUp | TooStale | TooBusy) -> web.Response:
    """Why there is no answer, as a response."""
    match why:
        case NotReady(detail, retry_after_s, between_owners):
            # Tells the worker that passed the request on that asking again will help.
            former = {"Onhand-Role": str(Role.FORMER)} if between_owners else None
            return problem(Problem.NOT_READY, detail, retry_after_s=retry_after_s, headers=former)
        case NotCaughtUp(detail, retry_after_s):
            return problem(Problem.NOT_CAUGHT_UP, detail, retry_after_s=retry_after_s)
        case TooStale(detail, retry_after_s):
            return problem(Problem.TOO_STALE, detail, retry_after_s=retry_after_s)
        case TooBusy(detail, retry_after_s):
            return problem(Problem.TOO_BUSY, detail, retry_after_s=retry_after_s)
        case _:
            assert_never(why)


def is_usable(answer: PeerAnswer | Head) -> bool:
    """Whether it is an answer of Onhand's, and no bug's: nothing else may reach a client."""
    if answer.status in (200, 304, 404) and "Onhand-Position" in answer.headers:
        return True
    name = problem_of(answer)
    # 401: it does not take this worker for one; the client has shown its token already.
    return (
        name not in (None, Problem.INTERNAL_ERROR, Problem.UNAUTHENTICATED)
        and PAGES[name].status == answer.status
    )


def for_client(given: Mapping[str, str]) -> dict[str, str]:
    """The headers of another worker's answer that are passed on."""
    headers = {k: v for k, v in given.items() if k.lower().startswith(_FOR_CLIENT)}
    # `Server` stays in its place, but is ours, whatever stands between the two workers.
    return headers | SERVER


def settles(answer: object) -> bool:
    """Whether this ends the request; else somebody else may know better."""
    if isinstance(answer, PeerAnswer):
        return answer.status < 500
    return not isinstance(answer, NotReady | NotCaughtUp | TooStale | TooBusy)


def is_between_owners(answer: object) -> bool:
    """Whether the last owner says that only the next one can tell."""
    if isinstance(answer, PeerAnswer):
        return answer.status == 503 and answer.headers.get("Onhand-Role") == Role.FORMER
    return isinstance(answer, NotReady) and answer.between_owners


def is_soon_another(answer: object, names_position: bool) -> bool:
    """Whether asking again in a moment may get a better answer.

    Between two owners; or whoever has the rows still reads what this worker has told already, and
    the caller has named no position that he waits for himself.
    """
    return is_between_owners(answer) or (
        not names_position and problem_of(answer) is Problem.NOT_CAUGHT_UP
    )


def says_more(one: object, other: object) -> bool:
    """Whether the second of two refusals tells the caller more than the first.

    `not-ready` tells least, unless a moment later somebody can answer.
    """
    return _weight(other) > _weight(one)


def _weight(refusal: object) -> int:
    if problem_of(refusal) is not Problem.NOT_READY:
        return 2
    return 1 if is_between_owners(refusal) else 0
