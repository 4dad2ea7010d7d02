"""What a load asks of workers, by the calls that everybody has: what lay where, and what came in.

Past moments are answered by a ledger, whichever worker is asked.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from app.commands.ask import inventory_path, refusal
from app.loading.facts import REVOKED, SOURCE, moment_us
from audit.copies import session
from core.words import in_words
from importers.documents.levels import StockCount
from ledger.questions.prefixes import time_text

#: For one question, through a rebalance and until a ledger is that far.
_PATIENCE_S: Final = 60.0
_AGAIN_S: Final = 0.2
_WAIT_MS: Final = 10_000
#: What `/v1/facts/lookup` takes at once.
_NAMES: Final = 100
_PAGE: Final = 1_000
_ADJUSTED: Final = "inventory.stock.adjusted.v1"


#: One worker: path and query, percent-encoded, and what is posted to it, None for a GET. Returns
#: status and document; raises what `_FAILURES` are.
AskWorker: TypeAlias = Callable[[str, object], Awaitable[tuple[int, dict[str, Any]]]]
_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
_BY_COMMAND: Final = "start one with `onhand worker`, or name another by --url or ONHAND_URL"


class Unasked(Exception):
    """No worker answered; the message is one sentence with the remedy."""


class NoBook(Exception):
    """A count that cannot be decided; the message is a sentence with the remedy."""


class BookThen(msgspec.Struct, frozen=True):
    """What was on hand at a moment, and up to which facts that was told."""

    on_hand: int
    position: str


class WorkersAsked:
    """Workers, each of whom may answer.

    Args:
        workers: by their URLs; the next is asked where one does not answer.
        patience_s: how long a question is asked again.
        remedy: what to do where nobody answers.
    """

    def __init__(
        self,
        workers: Mapping[str, AskWorker],
        patience_s: float = _PATIENCE_S,
        remedy: str = _BY_COMMAND,
    ) -> None:
        self._workers, self._patience_s, self._remedy = workers, patience_s, remedy
        #: Counts of which no ledger knew the moment: it was asked, and nobody keeps one.
        self.without_ledger = False

    async def changes_by(self, ids: Sequence[str]) -> dict[str, int]:
        """By id, the change of each of our own adjustments that was applied before.

        Raises:
            Unasked: nobody answers.
        """
        found: dict[str, int] = {}
        for first in range(0, len(ids), _NAMES):
            names = [{"source": SOURCE, "id": id_} for id_ in ids[first : first + _NAMES]]
            answer = await self._asked("/v1/facts/lookup", {"facts": names})
            for item in _good(answer)["items"]:
                for came in item["times"]:
                    if came["outcome"] == "applied" and came["type"] == _ADJUSTED:
                        found[item["id"]] = came["quantity"]
        return found

    async def book(self, count: StockCount, time_text: str, after: str) -> BookThen:
        """What the log says was on hand at the moment of a count, by when things happened.

        Args:
            count: which row, and when.
            time_text: the same moment as RFC 3339.
            after: a position that is told of, at least; "": none.

        Raises:
            NoBook: it cannot be told, or a later count stands in the log.
            Unasked: nobody answers.
        """
        least = {"min_position": after, "wait_ms": _WAIT_MS} if after else {}
        if not self.without_ledger:
            past = {"as_of": time_text, "clock": "occurred", **least}
            status, body = await self._asked(inventory_path(count.sku, count.location, past))
            kind = _kind(body)
            if status == 200 or kind == "unknown-key":
                await self._refuse_behind_another(count, least)
                return BookThen(body.get("on_hand", 0), body["history"]["position"])
            if kind == "before-history":
                raise NoBook(
                    f"The ledger knows nothing of before {body['begins']}, and it counts "
                    f"{time_text}: post the difference (`onhand adjust … --reason count`)."
                )
            if kind != "history-not-running":
                raise NoBook(refusal(status, msgspec.json.encode(body)))
            self.without_ledger = True
        return await self._book_of_now(count, time_text, least)

    async def _book_of_now(
        self, count: StockCount, time_text: str, least: Mapping[str, Any]
    ) -> BookThen:
        """Without a ledger only a moment behind every fact of the row is known."""
        answer = await self._asked(inventory_path(count.sku, count.location, least))
        status, body = answer
        if _kind(body) == "unknown-key":
            return BookThen(0, body["freshness"]["position"])
        if status != 200:
            raise NoBook(refusal(status, msgspec.json.encode(body)))
        if moment_us(body["updated_at"]) > count.at_us:
            raise NoBook(
                f"It counts {time_text}, the last fact of {count.sku} at {count.location} came at "
                f"{body['updated_at']}, and nobody keeps what was there before: start a ledger "
                "(`onhand ledger worker`), or post the difference (`onhand adjust … --reason "
                "count`)."
            )
        return BookThen(body["on_hand"], body["freshness"]["position"])

    async def _refuse_behind_another(self, count: StockCount, least: Mapping[str, Any]) -> None:
        """A count that is older than one in the log would change what that one said."""
        path = inventory_path(count.sku, count.location) + "/timeline"
        query = {
            **least,
            "clock": "occurred",
            "from": time_text(count.at_us + 1),
            "limit": _PAGE,
        }
        later: dict[str, dict[str, Any]] = {}
        async for fact in self._facts(path, query):
            if fact["type"] == _ADJUSTED and fact.get("reason") == "count":
                later[fact["id"]] = fact
            elif fact["source"] == SOURCE and fact["id"].endswith(REVOKED):
                later.pop(fact["id"].removesuffix(REVOKED), None)
        for fact in later.values():
            raise NoBook(
                f"{count.sku} at {count.location} was counted later, at {fact['occurred_at']} "
                f"({fact['source']} {fact['id']}), and that count holds: leave this one out."
            )

    async def _facts(self, path: str, query: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            status, body = await self._asked(f"{path}?{urlencode({**query, **cursor})}")
            if _kind(body) == "unknown-key":
                return
            if status != 200:
                raise NoBook(refusal(status, msgspec.json.encode(body)))
            for fact in body["facts"]:
                yield fact
            if body["next_cursor"] is None:
                return
            cursor = {"cursor": body["next_cursor"]}

    async def _asked(self, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Status and document of the first who has an answer; asked again while all are busy.

        Raises:
            Unasked: nobody has, or what answers is no worker.
        """
        until = time.monotonic() + self._patience_s
        while True:
            problems = []
            for url, ask in self._workers.items():
                try:
                    status, found = await ask(path, body)
                except _FAILURES as error:
                    problems.append(f"{url} ({in_words(error)})")
                    continue
                if status != 503 or _kind(found) == "history-not-running":
                    return status, found
                problems.append(
                    f"{url} ({refusal(status, msgspec.json.encode(found)).rstrip('.')})"
                )
            if time.monotonic() > until:
                raise Unasked(
                    "Counts are decided by what workers say, and none answers at "
                    f"{', '.join(problems)}: {self._remedy}."
                )
            await asyncio.sleep(_AGAIN_S)


def _by_http(http: aiohttp.ClientSession, url: str) -> AskWorker:
    base = url if "://" in url else f"http://{url}"

    async def ask(path: str, body: object) -> tuple[int, dict[str, Any]]:
        whole = URL(base.rstrip("/") + path, encoded=True)
        method = "GET" if body is None else "POST"
        async with http.request(method, whole, json=body) as answer:
            return answer.status, document_in(await answer.read())

    return ask


def document_in(body: bytes) -> dict[str, Any]:
    """What a worker answered; raises ValueError if it is none."""
    found = msgspec.json.decode(body)
    if not isinstance(found, dict):
        raise ValueError("it does not answer as Onhand does")
    return found


@asynccontextmanager
async def workers_asked(
    urls: Sequence[str],
    token: str | None = None,
    believed: ssl.SSLContext | None = None,
    patience_s: float = _PATIENCE_S,
) -> AsyncIterator[WorkersAsked]:
    """For as long as this is open, workers may be asked.

    Args:
        urls: of workers.
        token: that goes with each question, if there is one.
        believed: whose certificates are; None: the system's authorities'.
        patience_s: see `WorkersAsked`.
    """
    async with session(token, believed) as http:
        yield WorkersAsked({url: _by_http(http, url) for url in urls}, patience_s)


def _kind(body: Mapping[str, Any]) -> str:
    """Of a problem, its name."""
    return str(body.get("type", "")).rpartition("/")[2]


def _good(answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    status, body = answer
    if status != 200:
        raise Unasked(refusal(status, msgspec.json.encode(body)))
    return body
