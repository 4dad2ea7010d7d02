"""What is answered where there is nothing, and which path was meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from difflib import SequenceMatcher

from aiohttp import web

from web.http.problems import Problem, problem

#: As alike as two spellings of one word: `inventry` and `inventory` are 0.94, `stock` is 0.3.
_ALIKE = 0.75
#: No part of ours is longer: what a caller sends is compared with each of them.
_LONGEST = 40


def unknown_path(also: str = "") -> Callable[[web.Request], Awaitable[web.Response]]:
    """Answers whatever no route takes.

    Args:
        also: one sentence about who answers.
    """

    async def nothing(request: web.Request) -> web.Response:
        sentences = [f"There is nothing at {request.path!a}.", also]
        ours = (resource.canonical for resource in request.app.router.resources())
        if (meant := meant_by(request.rel_url.raw_path, ours)) is not None:
            sentences.insert(1, f"Did you mean {meant!a}?")
        return problem(Problem.UNKNOWN_PATH, " ".join(filter(None, sentences)))

    return nothing


def meant_by(path: str, ours: Iterator[str]) -> str | None:
    """The path that somebody meant who misspelt one, with all that is theirs kept.

    Args:
        path: as it was asked for.
        ours: of the calls there are; `{…}` stands for one part of any kind, or for all the rest.
    """
    asked = path.strip("/")
    best, found = _ALIKE, None
    for call in ours:
        parts = call.strip("/").split("/")
        # Who leaves the version out means a call all the same.
        for whole in (asked, f"v1/{asked}"):
            given = whole.split("/", len(parts) - 1)
            score = _likeness(given, parts)
            if score is not None and score > best:
                best = score
                found = "/" + "/".join(
                    mine if part.startswith("{") else part
                    for part, mine in zip(parts, given, strict=True)
                )
    return None if found == path else found


def _likeness(given: Sequence[str], parts: Sequence[str]) -> float | None:
    """Of the worst part, 0 to 1; None where the shapes differ."""
    if len(given) != len(parts):
        return None
    worst = 1.0
    for part, mine in zip(parts, given, strict=True):
        if not part.startswith("{") and part != mine:
            if len(mine) > _LONGEST:
                return None
            worst = min(worst, SequenceMatcher(None, part, mine).ratio())
        elif not mine:
            return None
    # Of two that are as near, the one that says more by itself.
    fixed = sum(not part.startswith("{") for part in parts)
    return worst + fixed / 1000 if fixed else None
