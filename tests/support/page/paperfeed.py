"""A feed of paper: what a test tells comes as facts or rows, page by page behind a position."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from web.feed.asked import BEGIN, END
from web.http.problems import Problem, problem

Json = dict[str, Any]


class PaperFeed:
    """All facts of one partition.

    Attributes:
        waiting: questions that are kept until there is news.
        log: number of the log; another one does not know positions of this one.
        never_ends: each page has one fact more, and is not the last one.
        missing: partitions that nobody owns; said with rows.
    """

    def __init__(self) -> None:
        self._facts: list[Json] = []
        #: What each is: a fact, a row, or a reset.
        self._events: list[str] = []
        self._news = asyncio.Event()
        self.waiting, self.log, self.never_ends = 0, 7, False
        self.missing: list[int] = []

    def tell(self, sku: str, location: str, change: int, **more: Any) -> Json:
        """A sale; more: what is different."""
        kind = "inventory.sale.completed.v1"
        said = {"type": kind, "sku": sku, "location": location, "quantity": -change}
        return self._add({"outcome": "applied", "change": change, **said, **more})

    def repeat(self, fact: Json) -> None:
        """The same once more."""
        self._add(fact | {"outcome": "repeated", "change": 0, "of": fact["position"]})

    def refuse(self, reason: str, detail: str) -> None:
        """What could not be read."""
        self._add({"outcome": "refused", "change": 0, "refused": reason, "detail": detail})

    def change(self, sku: str, location: str, on_hand: int, events: int) -> None:
        """A row that changed."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        said = {"on_hand": on_hand, "events": events, "updated_at": now}
        self._add({"sku": sku, "location": location, **said}, "row")

    def reset(self) -> None:
        """Changes of rows are missing."""
        self._add({"partitions": [0], "reason": "behind"}, "reset")

    @property
    def after(self) -> str:
        """The position behind all that there is."""
        return self._at(len(self._facts))

    def _at(self, count: int) -> str:
        return f"sales-0@{count},log@{self.log}"

    def _add(self, fact: Json, event: str = "fact") -> Json:
        n = len(self._facts) + 1
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        known = {"source": "till-17", "id": f"4711-{n}"} if "sku" in fact else {}
        self._facts.append(known | fact | {"position": f"sales-0@{n}", "recorded_at": now})
        self._events.append(event)
        self._news.set()
        self._news = asyncio.Event()
        return self._facts[-1]

    async def answer(self, query: Mapping[str, str]) -> web.Response:
        """A page, at once or when there is one."""
        after = query.get("after", BEGIN)
        if after not in (BEGIN, END):
            place, _, log = after.partition(",log@")
            first = int(place.removeprefix("sales-0@"))
            if self.never_ends:
                self.tell("SKU-000001", "store-001", -1)
            if log == str(self.log):
                await self._more_than(first, int(query.get("wait_ms", 0)))
            if log != str(self.log):  # at first, or by now
                return problem(Problem.INVALID_REQUEST, "after is of another log.")
        else:
            first = 0 if after == BEGIN else len(self._facts)
        lines = [
            {"id": self._at(n), "event": self._events[n - 1], "data": fact}
            for n, fact in enumerate(self._facts[first:], first + 1)
            if _is_wanted(fact, query)
        ]
        is_end = not self.never_ends and not self.missing
        page: Json = {"changes": lines, "after": self.after, "at_end": is_end}
        if query.get("of") == "rows":
            page["missing_partitions"] = self.missing
        return web.json_response(page)

    async def _more_than(self, first: int, wait_ms: int) -> None:
        self.waiting += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_ms / 1000):
                    while len(self._facts) <= first:
                        await self._news.wait()
        finally:
            self.waiting -= 1


def _is_wanted(fact: Json, query: Mapping[str, str]) -> bool:
    return (
        fact.get("sku", "").startswith(query.get("sku_prefix", ""))
        and query.get("location") in (None, fact.get("location"))
        and query.get("type") in (None, fact.get("type"))
    )
