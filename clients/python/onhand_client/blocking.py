"""The client for programs without asyncio: the other one, on a loop in a thread of its own.

One set of rules, tried and tested once, is worth what it costs a call to go to the thread and
back: some tenths of a millisecond on a busy machine. Any number of threads may share a client,
and their calls run side by side.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import CancelledError
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from onhand_client.answers import Page, Row
from onhand_client.client import AsyncClient, Calls, Session
from onhand_client.many import MOST
from onhand_client.transport import Token

P = ParamSpec("P")
R = TypeVar("R")
#: Of a loop that ends: a connection that was given up late is closed in the next ones.
_LAST_TURNS = 5


class _LoopThread:
    """An event loop that runs in a thread until it is stopped."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        #: Nothing is given to a loop that ends: nobody would wait for it there.
        self._gate = threading.Lock()
        self._is_open = True
        self._thread = threading.Thread(target=self._run, name="onhand-client", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        # Calls of other threads that are not done yet end here, and not never.
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        for _ in range(_LAST_TURNS):
            self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def run(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Its result, or what it raises; whoever is interrupted meanwhile ends it."""
        with self._gate:
            if not (self._is_open and self._thread.is_alive()):  # nor after a fork
                coroutine.close()
                raise RuntimeError("The client is closed.")
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise RuntimeError("The client was closed during the call.") from None
        finally:
            future.cancel()

    def stop(self, last: Coroutine[Any, Any, None]) -> None:
        """Run that, end the thread, and wait for it. May be called twice, from any thread."""
        with self._gate:
            is_first = self._is_open and self._thread.is_alive()
            self._is_open = False
            if is_first:
                future = asyncio.run_coroutine_threadsafe(last, self._loop)
        if is_first:
            future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        else:
            last.close()
        self._thread.join()


def _blocking(
    call: Callable[Concatenate[Calls, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[BlockingCalls, P], R]:
    @wraps(call)
    def wait(self: BlockingCalls, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._thread.run(call(self._calls, *args, **kwargs))

    return wait


class BlockingCalls:
    """Every call of `Calls`, with the same arguments, answers and errors."""

    def __init__(self, calls: Calls, thread: _LoopThread) -> None:
        self._calls, self._thread = calls, thread

    row = _blocking(Calls.row)
    sku = _blocking(Calls.sku)
    lookup = _blocking(Calls.lookup)
    row_at = _blocking(Calls.row_at)
    timeline = _blocking(Calls.timeline)
    fact = _blocking(Calls.fact)
    get = _blocking(Calls.get)
    post_shipments = _blocking(Calls.post_shipments)
    post_dispatches = _blocking(Calls.post_dispatches)
    post_sales = _blocking(Calls.post_sales)
    post_returns = _blocking(Calls.post_returns)
    post_adjustments = _blocking(Calls.post_adjustments)
    post_events = _blocking(Calls.post_events)

    def pages(
        self,
        *,
        location: str | None = None,
        sku_prefix: str | None = None,
        on_hand_below: int | None = None,
        on_hand_above: int | None = None,
        limit: int = MOST,
        cursor: str | None = None,
        partial: bool = False,
        max_lag_events: int | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Page]:
        """As `Calls.pages`; a page is asked for when it is wanted."""
        pages = self._calls.pages(
            location=location,
            sku_prefix=sku_prefix,
            on_hand_below=on_hand_below,
            on_hand_above=on_hand_above,
            limit=limit,
            cursor=cursor,
            partial=partial,
            max_lag_events=max_lag_events,
            timeout_s=timeout_s,
        )

        async def next_page() -> Page | None:
            return await anext(pages, None)

        while (page := self._thread.run(next_page())) is not None:
            yield page

    def rows(
        self,
        *,
        location: str | None = None,
        sku_prefix: str | None = None,
        on_hand_below: int | None = None,
        on_hand_above: int | None = None,
        max_lag_events: int | None = None,
        timeout_s: float | None = None,
    ) -> Iterator[Row]:
        """As `Calls.rows`."""
        for page in self.pages(
            location=location,
            sku_prefix=sku_prefix,
            on_hand_below=on_hand_below,
            on_hand_above=on_hand_above,
            max_lag_events=max_lag_events,
            timeout_s=timeout_s,
        ):
            yield from page.rows


class Client(BlockingCalls):
    """`AsyncClient` for programs without asyncio; arguments as there. Threads may share it.

    Use it with `with`, or call `close`. After a fork, make a new one: threads stay behind.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        *,
        token: Token = None,
        tls: ssl.SSLContext | None = None,
        source: str | None = None,
        direct: bool = True,
        timeout_s: float = 10.0,
        write_timeout_s: float = 30.0,
        hedge: bool = True,
        connections: int = 100,
        user_agent: str = "",
    ) -> None:
        self._client = AsyncClient(
            urls,
            token=token,
            tls=tls,
            source=source,
            direct=direct,
            timeout_s=timeout_s,
            write_timeout_s=write_timeout_s,
            hedge=hedge,
            connections=connections,
            user_agent=user_agent,
        )
        super().__init__(self._client, _LoopThread())

    def session(self, seen: str = "") -> BlockingSession:
        """As `AsyncClient.session`."""
        return BlockingSession(self._client.session(seen), self._thread)

    def close(self) -> None:
        """End the thread and close every connection. May be called twice.

        Calls of other threads that are on the way end with a RuntimeError; whether a write of
        theirs is in the log is then not known.
        """
        self._thread.stop(self._client.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class BlockingSession(BlockingCalls):
    """`Session` for programs without asyncio; of one caller, whose calls follow each other."""

    def __init__(self, session: Session, thread: _LoopThread) -> None:
        super().__init__(session, thread)
        self._session = session

    @property
    def position(self) -> str:
        """As `Session.position`."""
        return self._session.position

    def export(self) -> str:
        """As `Session.export`."""
        return self._session.export()
