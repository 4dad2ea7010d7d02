"""Writes: ids before the first try, and the very same body until it is in, or time is over."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

from onhand_client.answers import EventResult, Line, WriteResult, events_in
from onhand_client.asking import Asking
from onhand_client.errors import (
    AppendFailed,
    AppendIncomplete,
    InternalError,
    NoAnswer,
    OnhandError,
    ProblemError,
    Unsure,
)
from onhand_client.positions import Positions
from onhand_client.transport import Failed, Kind, Request

#: Lines of one request, and bytes: a worker takes 1 MiB.
MOST_LINES = 1000
MOST_BYTES = 1_000_000
_LINES = "application/json"
_EVENTS = "application/cloudevents-batch+json"

Event = Mapping[str, Any]


class Writes:
    """The calls that write. `_seen` is of a session: its next reads hold what it wrote."""

    _asking: Asking
    _seen: Positions | None
    _source: str | None
    _write_timeout_s: float

    async def post_shipments(
        self,
        lines: Iterable[Line],
        *,
        outcome: bool = False,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """Goods that came in.

        Lines without `id` get one, unless there is an idempotency key. More than 1,000 lines, or
        more than a worker takes at once, go in several requests, one after the other; of these,
        the n-th has the key with `/n` behind it.

        Args:
            lines: any number.
            outcome: wait until each is counted, and say what became of it.
            idempotency_key: stands for these very lines: the same lines under it count once.
            timeout_s: for each request, with all its tries; None takes the client's.

        Raises:
            InvalidRequest: `errors` names bad lines, from 1, of all lines. Of that request nothing
                was appended; `result` holds what earlier ones appended.
            Unsure: no confirmation in time; `result` says of each event what is known.
        """
        return await self._post("shipments", lines, outcome, idempotency_key, timeout_s)

    async def post_dispatches(
        self,
        lines: Iterable[Line],
        *,
        outcome: bool = False,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """Goods that went out, other than by sale; as `post_shipments`."""
        return await self._post("dispatches", lines, outcome, idempotency_key, timeout_s)

    async def post_sales(
        self,
        lines: Iterable[Line],
        *,
        outcome: bool = False,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """Goods that were sold; as `post_shipments`."""
        return await self._post("sales", lines, outcome, idempotency_key, timeout_s)

    async def post_returns(
        self,
        lines: Iterable[Line],
        *,
        outcome: bool = False,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """Goods that were brought back; as `post_shipments`."""
        return await self._post("returns", lines, outcome, idempotency_key, timeout_s)

    async def post_adjustments(
        self,
        lines: Iterable[Line],
        *,
        outcome: bool = False,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """What a count found, damage, theft …: differences, with a reason; as `post_shipments`."""
        return await self._post("adjustments", lines, outcome, idempotency_key, timeout_s)

    async def post_events(
        self,
        events: Iterable[Event],
        *,
        outcome: bool = False,
        timeout_s: float | None = None,
    ) -> WriteResult:
        """CloudEvents of any types, as structured JSON; `id` and `source` as of lines."""
        events = [{"specversion": "1.0", **event} for event in events]
        return await self._send("/v1/events", _EVENTS, events, outcome, None, timeout_s)

    async def _post(
        self,
        path: str,
        lines: Iterable[Line],
        outcome: bool,
        key: str | None,
        timeout_s: float | None,
    ) -> WriteResult:
        each = cast("list[Event]", list(lines))
        return await self._send(f"/v1/{path}", _LINES, each, outcome, key, timeout_s)

    async def _send(
        self,
        path: str,
        content_type: str,
        events: Sequence[Event],
        outcome: bool,
        key: str | None,
        timeout_s: float | None,
    ) -> WriteResult:
        whole = [self._identified(event, key) for event in events]
        bodies = list(_bodies(whole))
        done: list[EventResult] = []
        for number, (start, some, body) in enumerate(bodies, 1):
            headers = {"Content-Type": content_type}
            if key is not None:
                headers["Idempotency-Key"] = key if len(bodies) == 1 else f"{key}/{number}"
            request = Request(
                "POST",
                path,
                "outcome=true" if outcome else "",
                Kind.WRITE,
                body,
                headers,
                waits_for_outcome=outcome,
            )
            allowed_s = self._write_timeout_s if timeout_s is None else timeout_s
            try:
                found = await self._append(request, some, time.monotonic() + allowed_s)
            except OnhandError as error:
                _number_from(error, start)
                done += () if error.result is None else error.result.events
                error.result = self._written(done)
                raise
            done += found
        return self._written(done)

    def _written(self, events: Sequence[EventResult]) -> WriteResult:
        """The result, and a session's next reads wait for it."""
        result = _result(events)
        if self._seen is not None:
            self._seen.wrote(result.position)
        return result

    def _identified(self, event: Event, key: str | None) -> Event:
        """With source and id: made before the first try, so that every try is of one fact."""
        more: dict[str, str] = {}
        if self._source is not None and not event.get("source"):
            more["source"] = self._source
        if key is None and not event.get("id"):
            more["id"] = str(uuid.uuid4())
        return {**event, **more} if more else event

    async def _append(
        self, request: Request, events: Sequence[Event], until: float
    ) -> list[EventResult]:
        """One request, sent until it is in.

        Raises:
            ProblemError: surely nothing of it is in the log.
            NoAnswer: the same: no worker could be reached.
            Unsure: it may be.
        """
        failures: list[Failed] = []
        try:
            found = events_in((await self._asking.ask(request, until, failures)).body)
            if len(found) != len(events):
                failures.append(Failed("an answer that does not name each event", gone=False))
                raise NoAnswer(f"{len(found)} of {len(events)} events were answered for.")
            return found
        except OnhandError as error:
            if not any(map(_may_be_in, failures)):
                raise
            why = f"{len(events):,} events may be in the log or not: {error}"
            raise Unsure(why, _result(_known(events, failures))) from error


def _may_be_in(failed: Failed) -> bool:
    """Whether a try that failed may have appended something, now or later."""
    if failed.problem is None:
        return failed.sent
    # Any other no is said before anything is appended; of a proxy's nothing is known.
    kinds = (AppendFailed, AppendIncomplete, InternalError)
    return isinstance(failed.problem, kinds) or not failed.problem.name


def _known(events: Sequence[Event], failures: Sequence[Failed]) -> list[EventResult]:
    """What all tries together say of each event."""
    known = [EventResult(str(event.get("id", "")), "unknown") for event in events]
    for failed in failures:
        said = events_in(failed.problem.body) if failed.problem is not None else []
        if len(said) == len(known):
            pairs = zip(known, said, strict=True)
            known = [old if old.status == "accepted" else new for old, new in pairs]
    return known


def _result(events: Sequence[EventResult]) -> WriteResult:
    positions = Positions(",".join(event.position or "" for event in events))
    return WriteResult(tuple(events), positions.token())


def _bodies(events: Sequence[Event]) -> Iterator[tuple[int, Sequence[Event], bytes]]:
    """Arrays that a worker takes, each with the index of its first event.

    Raises:
        ValueError, TypeError: an event is no JSON.
    """
    start, size = 0, 0
    texts: list[bytes] = []
    for index, event in enumerate(events):
        text = json.dumps(
            event, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
        if texts and (len(texts) == MOST_LINES or size + len(text) > MOST_BYTES):
            yield start, events[start:index], b"[%b]" % b",".join(texts)
            start, size, texts = index, 0, []
        texts.append(text)
        size += len(text) + 1
    if texts:
        yield start, events[start:], b"[%b]" % b",".join(texts)


def _number_from(error: OnhandError, start: int) -> None:
    """Bad lines are counted in one request; the caller counts all of them."""
    if start and isinstance(error, ProblemError):
        error.errors = [
            {**one, "line": one["line"] + start} if "line" in one else one for one in error.errors
        ]
