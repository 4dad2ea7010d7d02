"""What every answer has in common."""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec
from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: Is told who answered, what came of it, and in how many seconds.
Observe: TypeAlias = Callable[[str, str, float], None]

JSON = "application/json"
# What every answer of this service says of its server (no versions for strangers), and that its
# bytes are of the type that it names, whatever a browser makes of them.
SERVER = {"Server": "onhand", "X-Content-Type-Options": "nosniff"}
#: Of an answer that nobody keeps.
PRIVATE = {"Cache-Control": "no-store"}
_encode = msgspec.json.Encoder().encode


def json_reply(
    body: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Any JSON answer. Caches may keep it and must ask again; who still has it gets a 304."""
    all_headers = json_headers(headers or {})
    if status == 304:
        del all_headers["Content-Type"]
        return web.Response(status=304, headers=all_headers)
    return web.Response(body=_encode(body), status=status, headers=all_headers)


def json_headers(more: Mapping[str, str]) -> dict[str, str]:
    """Of any JSON answer."""
    return {"Content-Type": JSON, "Cache-Control": "no-cache", **SERVER, **more}


def label(response: web.StreamResponse, version: int, epoch: int) -> None:
    """Say of which version it is, and by which record that is the active one."""
    response.headers["Onhand-Version"] = str(version)
    response.headers["Onhand-Epoch"] = str(epoch)


def response_bytes(response: web.Response) -> bytes:
    """As aiohttp would write it, for where there is no request of it."""
    body = response.body
    assert isinstance(body, bytes)
    more = {"Content-Length": str(len(body)), "Date": rfc822_formatted_time()}
    lines = "".join(f"{k}: {v}\r\n" for k, v in {**response.headers, **more}.items())
    status = HTTPStatus(response.status)
    return f"HTTP/1.1 {status} {status.phrase}\r\n{lines}\r\n".encode() + body
