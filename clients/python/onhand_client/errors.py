"""What can go wrong: an exception for each problem that a worker may name, and few besides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onhand_client.answers import WriteResult


class OnhandError(Exception):
    """Everything that this package raises about an answer, or for want of one.

    result: of a write, what is known of each event; None for reads, and where nothing was sent.
    """

    result: WriteResult | None = None


class NoAnswer(OnhandError):
    """Nobody answered by the deadline; says who was asked last and what came of it."""


class Unsure(OnhandError):
    """A write may be in the log in part or whole: `result` says what is known of each event.

    Send the same events again, with the ids that `result` names: each is counted once. Why it
    is not known stands in `__cause__`.
    """

    result: WriteResult

    def __init__(self, why: str, result: WriteResult) -> None:
        super().__init__(why)
        self.result = result


class ProblemError(OnhandError):
    """A worker said no (RFC 9457).

    Attributes:
        name: the last part of `type`, such as `unknown-key`; empty for an answer that is no
            problem document, as from a proxy between.
        type: as it was sent; `/problems/NAME` is a page on every worker.
        title: short, the same each time.
        status: of HTTP.
        detail: a sentence about this very case.
        errors: each with `detail`, and `line` (from 1) or `parameter`.
        body: the whole document, with members such as `freshness` or `scope`.
        retry_after_s: seconds to wait before another try; None where nothing is said.
    """

    def __init__(
        self, status: int, body: Mapping[str, Any], retry_after_s: float | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.type = str(body.get("type", "about:blank"))
        self.name = self.type.rpartition("/")[2] if self.type.startswith("/problems/") else ""
        self.title = str(body.get("title", ""))
        self.detail = str(body.get("detail", ""))
        errors = body.get("errors")
        self.errors: list[dict[str, Any]] = list(errors) if isinstance(errors, list) else []
        self.retry_after_s = retry_after_s
        super().__init__(f"{status} {self.name or 'answer'}: {self.detail or self.title}")


class InvalidRequest(ProblemError):
    """400: correct what `detail` and `errors` name."""


class MissingIdentity(InvalidRequest):
    """400: a line has no source and id."""


class Unauthenticated(ProblemError):
    """401: no token, or none that is known."""


class MissingScope(ProblemError):
    """403: the token lacks what `body["scope"]` names."""


class NotFound(ProblemError):
    """404: see the subclasses. A row that no fact names is no error: `RowAnswer.row` is None."""


class UnknownKey(NotFound):
    """404: no fact names it, where an answer without it would say nothing."""


class BeforeHistory(NotFound):
    """404: the ledger keeps nothing that early."""


class UnknownPath(NotFound):
    """404: no such call; perhaps the address is not Onhand's."""


class MethodNotAllowed(ProblemError):
    """405."""


class RequestTimeout(ProblemError):
    """408: the body came too slowly."""


class RepairRefused(ProblemError):
    """409."""


class AlreadyLoaded(ProblemError):
    """409: take it as done; `body["position"]` is at or behind all facts of the document."""


class DocumentConflict(ProblemError):
    """409: a document of this name was loaded, and says something else."""


class UnreadableDocument(ProblemError):
    """422: not one line of the document can be taken."""


class LinesRefused(ProblemError):
    """422: `body["document"]` says of which lines, and why."""


class TooLarge(ProblemError):
    """413: one event is too large; bodies are split by this package."""


class UnsupportedMediaType(ProblemError):
    """415."""


class InternalError(ProblemError):
    """500: a bug in the worker."""


class Unavailable(ProblemError):
    """503, until the deadline: what it is says the subclass."""


class TooBusy(Unavailable):
    """503: too many requests at once."""


class NotReady(Unavailable):
    """503: the partition is taken over or restored."""


class NotCaughtUp(Unavailable):
    """503: the position asked for has not been reached."""


class TooStale(Unavailable):
    """503: the best answer is further behind than `max_lag_events`."""


class PartitionsUnavailable(Unavailable):
    """503: nobody can answer for some partitions."""


class LogUnavailable(Unavailable):
    """503: Kafka could not be read."""


class HistoryNotRunning(Unavailable):
    """503: no ledger runs."""


class AuditNotRunning(Unavailable):
    """503: no audit runs."""


class AppendFailed(Unavailable):
    """503: Kafka confirmed nothing."""


class AppendIncomplete(Unavailable):
    """503: Kafka confirmed some events."""


class LoadUnfinished(Unavailable):
    """503: send the same document again, and it goes on behind what was sent."""


#: By the name of the problem.
BY_NAME: Mapping[str, type[ProblemError]] = {
    "invalid-request": InvalidRequest,
    "missing-identity": MissingIdentity,
    "unauthenticated": Unauthenticated,
    "missing-scope": MissingScope,
    "unknown-key": UnknownKey,
    "before-history": BeforeHistory,
    "unknown-path": UnknownPath,
    "method-not-allowed": MethodNotAllowed,
    "request-timeout": RequestTimeout,
    "repair-refused": RepairRefused,
    "too-large": TooLarge,
    "unsupported-media-type": UnsupportedMediaType,
    "internal-error": InternalError,
    "too-busy": TooBusy,
    "not-ready": NotReady,
    "not-caught-up": NotCaughtUp,
    "too-stale": TooStale,
    "partitions-unavailable": PartitionsUnavailable,
    "log-unavailable": LogUnavailable,
    "history-not-running": HistoryNotRunning,
    "audit-not-running": AuditNotRunning,
    "append-failed": AppendFailed,
    "append-incomplete": AppendIncomplete,
    "already-loaded": AlreadyLoaded,
    "document-conflict": DocumentConflict,
    "unreadable-document": UnreadableDocument,
    "lines-refused": LinesRefused,
    "load-unfinished": LoadUnfinished,
}
#: Of an answer whose problem has no name here: from a newer worker, or from a proxy.
_BY_STATUS: Mapping[int, type[ProblemError]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: MissingScope,
    404: NotFound,
    500: InternalError,
    503: Unavailable,
}


def problem_of(
    status: int, body: Mapping[str, Any], retry_after_s: float | None = None
) -> ProblemError:
    """The exception for this answer, not raised."""
    name = str(body.get("type", "")).rpartition("/")[2]
    kind = BY_NAME.get(name) or _BY_STATUS.get(status, ProblemError)
    return kind(status, body, retry_after_s)
