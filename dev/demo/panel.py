"""The page of a worker with a panel above it: the meter, and a button per worker that kills it.

A small server of the demo's own, for this machine alone. The page's files are the service's, as
they are; its calls are passed on to a worker that answers, so that the page outlives each of them.
Only the panel is the demo's (dev/demo/static), and only it may kill.

Whoever may see the page may kill, so its address is a secret: it begins with a random token, and
nothing answers beside it. The browser says where a POST comes from, and it must come from this very
page; the name that the browser was given must be this machine's, or a foreign name could be made to
point here.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from dev.demo.keeper import NotNow
from dev.demo.meter import Balance
from dev.kafka import free_port
from web.page.files import PAGE_PATH, PageFiles

LOOPBACK = "127.0.0.1"
FOLDER = Path(__file__).with_name("static")
KINDS = {".js": "text/javascript", ".css": "text/css"}
HTML = {"Content-Type": "text/html; charset=utf-8"}
HEAD = (
    '<link rel="stylesheet" href="demo/panel.css">\n'
    '<script type="module" src="demo/panel.js"></script>\n</head>'
)
#: Of a worker's answer, what the page reads.
KEPT = ("Content-Type", "Date", "ETag", "Retry-After")
TIMEOUT = aiohttp.ClientTimeout(total=15, sock_connect=1)


class Kept(Protocol):
    """Whoever looks after the workers; see `Keeper`."""

    @property
    def is_open(self) -> bool: ...  # noqa: D102

    @property
    def urls(self) -> Sequence[str]: ...  # noqa: D102

    def told(self) -> list[dict[str, Any]]: ...  # noqa: D102

    def kill(self, name: str) -> None: ...  # noqa: D102


class Panel:
    """The server's answers. `port`: another one, if somebody took it before it served."""

    def __init__(self, port: int, kept: Kept, balance: Callable[[], Balance]) -> None:
        self.port = port
        self._kept = kept
        self._balance = balance
        self._begins = f"/{secrets.token_urlsafe(16)}"
        self._http: aiohttp.ClientSession | None = None
        page = PageFiles()
        #: For all that is sent: the page's policy, and no address to another page.
        own = ("ETag", "Content-Type")
        self._headers = {k: v for k, v in page.first.headers.items() if k not in own}
        first = page.first.body.decode()
        if first.count("</head>") != 1:
            raise ValueError("the page has another head than the panel is made for")
        self._first = first.replace("</head>", HEAD).encode()
        self._files = page.others

    @property
    def url(self) -> str:
        """Of the page; whoever knows it may kill."""
        return f"http://{LOOPBACK}:{self.port}{self._begins}/"

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Listen on the loopback interface, until the end of the block."""
        app = web.Application(middlewares=[self._guard])
        app.on_response_prepare.append(self._seal)
        below = self._begins
        app.router.add_post(below + "/demo/kill/{name}", self._kill)
        app.router.add_get(below + "/demo/state", self._state)
        app.router.add_get(below + "/demo/{file}", self._own_file)
        for path, file in self._files.items():
            app.router.add_get(below + path, file.get)
        app.router.add_get(below + "/{path:.*}", self._page_or_call)
        app.router.add_get("/{path:.*}", self._beside)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        async with aiohttp.ClientSession(timeout=TIMEOUT) as self._http:
            await runner.setup()
            try:
                try:
                    await web.TCPSite(runner, LOOPBACK, self.port).start()
                except OSError:
                    self.port = free_port()
                    await web.TCPSite(runner, LOOPBACK, self.port).start()
                yield
            finally:
                await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        names = (f"{LOOPBACK}:{self.port}", f"localhost:{self.port}")
        if request.host not in names:
            raise web.HTTPForbidden(text="This page is for this machine alone.\n")
        if request.method == "POST" and not _is_from(f"http://{request.host}", request.headers):
            raise web.HTTPForbidden(text="Only the demo's own page may ask for this.\n")
        return await handler(request)

    async def _seal(self, _: web.Request, response: web.StreamResponse) -> None:
        for name, value in self._headers.items():
            response.headers.setdefault(name, value)

    async def _state(self, _: web.Request) -> web.Response:
        now = self._balance()
        meter = {**now._asdict(), "drift": now.drift}
        told = {"meter": meter, "workers": self._kept.told(), "open": self._kept.is_open}
        return web.json_response(told, headers={"Cache-Control": "no-store"})

    async def _kill(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        try:
            self._kept.kill(name)
        except KeyError:
            raise web.HTTPNotFound(text=f"There is no worker {name}.\n") from None
        except NotNow as why:
            raise web.HTTPConflict(text=f"{why}\n") from None
        return web.Response(status=204)

    async def _own_file(self, request: web.Request) -> web.Response:
        wanted = request.match_info["file"]
        for path in FOLDER.iterdir():  # a closed list: nothing else on the disk is reached
            if path.name == wanted and path.suffix in KINDS:
                kind = {"Content-Type": f"{KINDS[path.suffix]}; charset=utf-8"}
                return web.Response(body=path.read_bytes(), headers=kind)
        raise web.HTTPNotFound(text=f"There is no file {wanted}.\n")

    async def _beside(self, _: web.Request) -> web.Response:
        raise web.HTTPNotFound(text="Open the whole address that the demo printed.\n")

    async def _page_or_call(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix(self._begins)
        if path == "/" and "text/html" in request.headers.get("Accept", ""):
            return web.Response(body=self._first, headers=HTML)
        if path.startswith((PAGE_PATH, "/demo/")):
            raise web.HTTPNotFound(text="The page has no such file.\n")
        return await self._passed_on(request, path)

    async def _passed_on(self, request: web.Request, path: str) -> web.Response:
        """What the first worker says that says anything: the page never waits for a dead one."""
        assert self._http is not None
        query = f"?{request.rel_url.raw_query_string}" if request.rel_url.raw_query_string else ""
        for url in self._kept.urls:
            asked = URL(url + path + query, encoded=True)
            headers = {"Accept": request.headers.get("Accept", "*/*")}
            try:
                async with self._http.get(asked, headers=headers, allow_redirects=False) as answer:
                    if answer.content_type == "text/event-stream":  # it has no end to wait for
                        raise web.HTTPTemporaryRedirect(asked)
                    body = await answer.read()
            except (aiohttp.ClientError, TimeoutError):
                continue
            kept = {name: answer.headers[name] for name in KEPT if name in answer.headers}
            return web.Response(status=answer.status, body=body, headers=kept)
        raise web.HTTPBadGateway(text="No worker answers now.\n")


def _is_from(origin: str, headers: Mapping[str, str]) -> bool:
    """Whether the browser says that a page of this origin asks."""
    return headers.get("Origin") == origin and headers.get("Sec-Fetch-Site") in (
        None,
        "same-origin",
    )
