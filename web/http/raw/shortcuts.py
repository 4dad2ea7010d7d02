"""The short way of a request: judged, and answered, by its bytes before aiohttp sees it."""

from __future__ import annotations

import re
from collections.abc import Callable

#: Is given the whole response, once; or None: then the request goes the usual way.
Take = Callable[[bytes | None], None]
#: Answers what a quiet connection received at once: with the whole response; with None for what
#: must go the usual way; or with `LATER`, and then by `Take`, never before it has returned.
Shortcut = Callable[[bytes, Take], bytes | None]
#: In place of a response that comes later.
LATER = b""

#: What a connection in the lane of operations may ask.
OPERATIONS = tuple(
    f"{method} {path}{end}".encode()
    for method in ("GET", "HEAD")
    for path in ("/live", "/ready", "/metrics")
    for end in (" ", "?")
)
# What announces a body or another protocol.
_BODY = re.compile(rb"\n(?:Content-Length|Transfer-Encoding|Upgrade)[ \t]*:", re.IGNORECASE)


# Of a POST whose body has a length, and no other header that announces anything.
_LENGTH = re.compile(rb"\r\nContent-Length: ?([0-9]{1,9})\r\n", re.IGNORECASE)


def is_one_whole(data: bytes) -> bool:
    """Whether aiohttp's parser, at a boundary between requests, is at one again after this.

    Only then may the next bytes be read as a request: a client's bytes must never be cut in
    another place than aiohttp would cut them. Who sends anything but a GET without a body, or a
    POST whose body came with it, goes the usual way for the rest of the connection.
    """
    end = data.find(b"\r\n\r\n") + 4
    if data.startswith((b"GET /", b"HEAD /")):
        return end == len(data) and _BODY.search(data) is None
    if end < 4 or not data.startswith(b"POST /"):
        return False
    head = data[:end]
    length = _LENGTH.search(head)
    if length is None or len(_BODY.findall(head)) != 1:
        return False
    return end + int(length[1]) == len(data)


def never(data: bytes, take: Take) -> None:
    """Of a server that has no short way."""
