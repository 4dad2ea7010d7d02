"""The files of the page, read once at start: what a browser may ask for is a closed list.

They hold nothing of the stock, so they need no token. Everything that the page shows it asks for
by the public calls, and those do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
from aiohttp import web
from msgspec import Struct

from web.http.conditions import NONE_MATCH
from web.http.problems import PAGES
from web.http.replies import JSON, SERVER, Handler

_FOLDER = Path(__file__).with_name("static")
_FIRST = "index.html"
#: Every path of the page but its first begins so.
PAGE_PATH = "/page/"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
#: Scripts and styles are files of this worker, and nothing is loaded from anywhere else. A text
#: can become no element either: `trusted-types 'none'` refuses innerHTML and its like.
CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        *(f"{kind}-src 'self'" for kind in ("script", "style", "img", "connect")),
        *(f"{kind} 'none'" for kind in ("base-uri", "form-action", "frame-ancestors")),
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    **SERVER,
}


class PageFile(Struct, frozen=True):
    """One file as it is sent. etag: of its bytes, so that it changes with them."""

    body: bytes
    etag: str
    headers: Mapping[str, str]

    async def get(self, request: web.Request) -> web.Response:
        """Send it, or say that the browser has it."""
        if self.etag in request.headers.get(NONE_MATCH, ""):
            unchanged = {k: v for k, v in self.headers.items() if k != "Content-Type"}
            return web.Response(status=304, headers=unchanged)
        return web.Response(body=self.body, headers=self.headers)


def page_style() -> str:
    """Of all pages for people; another page may stand on it."""
    return (_FOLDER / "style.css").read_text(encoding="utf-8")


def page_file(body: bytes, kind: str, **more: str) -> PageFile:
    """A file with the headers of all of them, and `more`, which come before those."""
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return PageFile(body, etag, {"Content-Type": kind, "ETag": etag, **_HEADERS, **more})


class PageFiles:
    """All of them, as they were when this was made."""

    def __init__(self) -> None:
        found = {
            path.name: (path.read_bytes(), _TYPES[path.suffix])
            for path in sorted(_FOLDER.iterdir())
            if path.suffix in _TYPES
        }
        # What a problem's page tells people to do, for a page that shows the problem itself.
        found["problems.json"] = (msgspec.json.encode(dict(PAGES)), JSON)
        self.first = page_file(*found.pop(_FIRST), Vary="Accept")
        self.others = {PAGE_PATH + name: page_file(*one) for name, one in found.items()}

    def routes(self) -> Iterator[web.RouteDef]:
        """All but `/`, which programs ask for, too."""
        for path, file in self.others.items():
            yield web.get(path, file.get)

    def before(
        self, guarding: Callable[[str, Handler], Handler]
    ) -> Callable[[str, Handler], Handler]:
        """As `guarding`, but at `/` a browser gets the page without being judged."""

        def guard(path: str, handler: Handler) -> Handler:
            guarded = guarding(path, handler)

            async def handle(request: web.Request) -> web.StreamResponse:
                is_get = request.method in ("GET", "HEAD")
                if is_get and "text/html" in request.headers.get("Accept", ""):
                    return await self.first.get(request)
                return await guarded(request)

            return handle if path == "/" else guarded

        return guard
