"""What browsers are told: pages of which origins may ask, and to come back by https alone.

Nothing of it is there unless a setting asks for it, and never on the quick way of reads: what
has an `Origin` takes the usual one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware
from msgspec import Struct

from web.http.replies import SERVER

_Told: TypeAlias = Callable[[web.Request, web.StreamResponse], Awaitable[None]]
#: Short, and for pages alone: a browser takes it for all ports of a host.
_BY_HTTPS = "max-age=86400"
#: What a page may read of an answer, beside its body.
EXPOSED = (
    *("ETag", "Retry-After", "WWW-Authenticate"),
    *("Onhand-Role", "Onhand-Worker", "Onhand-Position", "Onhand-Lag-Events", "Onhand-As-Of"),
    *("Onhand-Version", "Onhand-Epoch", "Onhand-Not-Caught-Up", "Onhand-Between-Owners"),
)
_TAKEN = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID"
#: How long a browser need not ask again, in seconds.
_KEPT = "600"


class Browsers(Struct, frozen=True):
    """origins: of pages that may ask. is_secured: this process speaks TLS."""

    origins: Collection[str] = ()
    is_secured: bool = False

    def tell(self, app: web.Application) -> None:
        """Have it said in all answers of an application that does not run yet."""
        if self.is_secured:
            app.on_response_prepare.append(_come_by_https)
        if self.origins:
            app.on_response_prepare.append(_allowing(self.origins))
            app.middlewares.append(_preflight(self.origins))


async def _come_by_https(request: web.Request, response: web.StreamResponse) -> None:
    if response.content_type == "text/html":
        response.headers["Strict-Transport-Security"] = _BY_HTTPS


def _allowing(origins: Collection[str]) -> _Told:
    exposed = ", ".join(EXPOSED)

    async def allow(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.add("Vary", "Origin")
        origin = request.headers.get("Origin", "")
        if origin in origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = exposed

    return allow


def _preflight(origins: Collection[str]) -> Middleware:
    """A browser's question before the question: it has no token, and tells nothing by asking."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        is_one = "Access-Control-Request-Method" in request.headers
        if (
            request.method != "OPTIONS"
            or not is_one
            or request.headers.get("Origin") not in origins
        ):
            return await handler(request)
        headers = {
            "Access-Control-Allow-Methods": "GET, HEAD, POST",
            "Access-Control-Allow-Headers": _TAKEN,
            "Access-Control-Max-Age": _KEPT,
            **SERVER,
        }
        return web.Response(status=204, headers=headers)

    return answer
