"""How calls are put at their paths, what is answered where there is none, and which was meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Protocol

from aiohttp import web

from web.http.problems import Problem, problem
from web.http.replies import SERVER, Handler

#: As alike as two spellings of one word: `inventry` and `inventory` are 0.94, `stock` is 0.3.
_ALIKE = 0.75
#: No part of ours is longer: what a caller sends is compared with each of them.
_LONGEST = 40


class Guard(Protocol):
    """Stands before a handler."""

    def guarding(self, handler: Handler) -> Handler:
        """The handler behind it."""


def add_routes(
    app: web.Application,
    routes: Iterable[web.RouteDef],
    through: Guard | None = None,
    door: Guard | None = None,
    guarding: Callable[[str, Handler], Handler] | None = None,
) -> None:
    """Add each path with its methods, HEAD for each GET, OPTIONS, and 405 for the rest.

    `guarding` comes first: it is told the path, and judges who may call it (`web.access`).

    No aiohttp middleware: two of them would cost a key read 5 µs.
    """
    by_path: dict[str, dict[str, Handler]] = {}
    for route in routes:
        handler: Any = route.handler
        if door is not None:
            handler = door.guarding(handler)
        guarded = handler if through is None else through.guarding(handler)
        if guarding is not None:
            guarded = guarding(route.path, guarded)
        methods = by_path.setdefault(route.path, {})
        methods[route.method] = guarded
        if route.method == "GET":
            methods["HEAD"] = guarded
    for path, methods in by_path.items():
        resource = app.router.add_resource(path)
        for method, handle in methods.items():
            resource.add_route(method, handle, expect_handler=go_on)
        others = _other_methods(", ".join(sorted([*methods, "OPTIONS"])))
        if guarding is not None:
            others = guarding(path, others)
        resource.add_route("*", others, expect_handler=go_on)


def answer_the_rest(app: web.Application, handler: Handler) -> None:
    """Have this answer whatever no other route takes, each method; the last one of all routes.

    Without it aiohttp answers: by its own name, and without asking who calls.
    """
    # A dot would not match an encoded line feed.
    app.router.add_route("*", r"/{path:[\s\S]*}", handler, expect_handler=go_on)


async def go_on(request: web.Request) -> None:
    """Answer `Expect: 100-continue`, pass over any other expectation.

    aiohttp's own handler quotes what it does not know, and fails on what is no text.
    """
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun


def _other_methods(allow: str) -> Handler:
    async def refuse(request: web.Request) -> web.Response:
        if request.method == "OPTIONS":
            return web.Response(status=204, headers={"Allow": allow, **SERVER})
        detail = f"This path takes {allow}, not {request.method}."
        return problem(Problem.METHOD_NOT_ALLOWED, detail, headers={"Allow": allow})

    return refuse


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
