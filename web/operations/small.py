"""A small server that only those ask who run it: of a bridge, and of an audit that never ends."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from web.access.access import Access, Demand
from web.http.browsers import Browsers
from web.http.connections import ConnectionLimits, guard
from web.http.paths import add_routes, answer_the_rest, unknown_path
from web.http.problems import pages


def attach_small(
    app: web.Application,
    routes: Iterable[web.RouteDef],
    access: Access,
    limits: ConnectionLimits,
    elsewhere: str,
) -> None:
    """Add its routes, and what answers all else, to an application that does not run yet.

    Args:
        app: of the server.
        routes: what it can be asked; `access` knows which of them are open.
        access: who may ask.
        limits: of connections.
        elsewhere: a sentence for who asks it for something else.
    """
    tls = access.tls.server()
    guard(app, limits, tls=tls)
    Browsers(is_secured=tls is not None).tell(app)
    any_token = access.guarding(Demand.ANY_TOKEN)
    add_routes(app, routes, guarding=access.of_operations())
    add_routes(app, pages(), guarding=any_token)
    answer_the_rest(app, any_token("", unknown_path(elsewhere)))
