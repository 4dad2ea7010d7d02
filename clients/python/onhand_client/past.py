"""Questions about the past, and any other GET: passed on as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onhand_client import answers
from onhand_client.answers import PastRow
from onhand_client.errors import UnknownKey, problem_of
from onhand_client.reading import Param, Reads, path_of, query_of
from onhand_client.transport import Kind, Request


class PastReads(Reads):
    """Calls that a ledger answers, through any worker. A session's positions mean nothing here."""

    async def row_at(
        self,
        sku: str,
        location: str,
        *,
        as_of: str | None = None,
        at_position: str | None = None,
        clock: str | None = None,
        timeout_s: float | None = None,
    ) -> PastRow:
        """A row as it was at a time (RFC 3339) or a position; a ledger has to run.

        Raises:
            BeforeHistory, HistoryNotRunning, NotCaughtUp: as docs/history.md tells.
        """
        params = {"as_of": as_of, "at_position": at_position, "clock": clock}
        try:
            body = await self.get(path_of(sku, location), params, timeout_s=timeout_s)
        except UnknownKey:
            return PastRow(None, {})
        return PastRow(answers.row_in(body), body["history"])

    async def timeline(
        self,
        sku: str,
        location: str,
        params: Mapping[str, Param] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Mapping[str, Any]:
        """The facts of a row with their balances, as docs/history.md tells: one page.

        `params`: `clock`, `from`, `to`, `order`, `limit`, `cursor`, `all`.
        """
        path = f"{path_of(sku, location)}/timeline"
        return await self.get(path, params, timeout_s=timeout_s)

    async def fact(
        self, source: str, id: str, *, partial: bool = False, timeout_s: float | None = None
    ) -> Mapping[str, Any]:
        """What became of a fact, each time that it came: the answer of GET /v1/facts."""
        params: dict[str, Param] = {"source": source, "id": id, "partial": partial or None}
        return await self.get("/v1/facts", params, timeout_s=timeout_s)

    async def get(
        self,
        path: str,
        params: Mapping[str, Param] | None = None,
        *,
        timeout_s: float | None = None,
    ) -> Mapping[str, Any]:
        """Any other GET, as JSON; `path` is percent-encoded, parameters that are None are left out.

        Raises:
            ProblemError: any no, also that a key is unknown.
        """
        request = Request("GET", path, query_of(params or {}), kind=Kind.PAGE)
        reply = await self._asking.ask(request, self._until(timeout_s))
        if reply.status >= 400:
            raise problem_of(reply.status, reply.body)
        body: Mapping[str, Any] = reply.body
        return body
