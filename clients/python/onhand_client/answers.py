"""What answers hold, as values; each is made of the JSON that a worker sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict

#: A SKU and a location.
Key = tuple[str, str]


class Freshness(NamedTuple):
    """Who answered, up to where, how far behind.

    Attributes:
        role: `active` for the owner, `standby`, or `former` between two owners.
        worker: URL of the worker whose rows these are.
        partition: of the SKU; of a list, the one that is furthest behind.
        position: events up to this opaque token are in the answer.
        lag_events: events in the log that are not.
        as_of: RFC 3339; when a broker last answered that worker.
        version, epoch: of the rules, and of the record that made them the active ones.
    """

    role: str
    worker: str
    partition: int
    position: str
    lag_events: int
    as_of: str
    version: int
    epoch: int


class Row(NamedTuple):
    """Stock of one SKU at one location, in the SKU's smallest unit.

    Attributes:
        on_hand: `received` − `dispatched` − `sold` + `returned` + `adjusted`; perhaps less than 0.
        events: how many facts made it; `checksum`: of their ids, 16 hex digits.
        updated_at: RFC 3339; when the log took the latest of them.
        damaged: returned and not back in stock; 0 under rules that know none.
    """

    sku: str
    location: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: str
    updated_at: str
    damaged: int = 0

    @property
    def key(self) -> Key:
        """SKU and location."""
        return self.sku, self.location


class Totals(NamedTuple):
    """Stock of one SKU over all its locations; as in `Row`."""

    sku: str
    on_hand: int
    received: int
    dispatched: int
    sold: int
    returned: int
    adjusted: int
    events: int
    checksum: str
    updated_at: str
    damaged: int = 0


class RowAnswer(NamedTuple):
    """One row; None where no fact names its key, which is an answer too."""

    row: Row | None
    freshness: Freshness

    @property
    def on_hand(self) -> int:
        """0 where no fact names the key."""
        return 0 if self.row is None else self.row.on_hand


class SkuAnswer(NamedTuple):
    """Totals and rows of a SKU; None and no row where no fact names it."""

    totals: Totals | None
    rows: Sequence[Row]
    freshness: Freshness

    @property
    def on_hand(self) -> int:
        """Over all locations; 0 where no fact names the SKU."""
        return 0 if self.totals is None else self.totals.on_hand


class PastRow(NamedTuple):
    """A row as it was; None where no fact named its key by then.

    history: which prefix of the log it is of: `position`, `as_of`, `clock`, `ledger`, `begins`;
    empty where there is no row.
    """

    row: Row | None
    history: Mapping[str, Any]


class Page(NamedTuple):
    """A piece of a list.

    Attributes:
        next_cursor: where the next page begins; None at the end.
        missing_partitions: that nobody could answer for; the cursor comes back for them.
        freshness: the worst of all partitions. positions: all of theirs, as one token.
    """

    rows: Sequence[Row]
    next_cursor: str | None
    missing_partitions: Sequence[int]
    freshness: Freshness
    positions: str


class LookupAnswer(NamedTuple):
    """Rows of many keys.

    Attributes:
        rows: by SKU and location, in the order of the keys asked for.
        unknown: keys that no fact names. unanswered: that nobody could answer for.
        freshness: the furthest behind of all answers; None where there was none.
    """

    rows: Mapping[Key, Row]
    unknown: Sequence[Key]
    unanswered: Sequence[Key]
    freshness: Freshness | None


class Line(TypedDict):
    """One fact for the five calls of lines.

    `source` may be left out where the client has one, `id` always: it is made before the first
    try. `quantity` is a whole number from 1; of an adjustment a difference, with `reason`.
    """

    sku: str
    location: str
    quantity: int
    source: NotRequired[str]
    id: NotRequired[str]
    time: NotRequired[str]
    reason: NotRequired[str]
    reference: NotRequired[str]
    actor: NotRequired[str]


class EventResult(NamedTuple):
    """What is known of one event.

    Attributes:
        id: as it was sent, or as the worker made it of an idempotency key; empty if neither is
            known.
        status: `accepted`: it is in the log for good; `unknown`: it may be, or may come to be.
        position: where in the log, of an accepted one.
        outcome: with `outcome=True`: `applied`, `repeated` (a try before, or another sender, had
            it in already: `of` says where), `refused` (`reason`), or `unknown` (`detail`).
    """

    id: str
    status: str
    position: str | None = None
    outcome: str | None = None
    of: str | None = None
    reason: str | None = None
    detail: str | None = None


class WriteResult(NamedTuple):
    """What became of the events, in their order. position: the furthest of each partition."""

    events: Sequence[EventResult]
    position: str

    @property
    def is_accepted(self) -> bool:
        """Whether all are in the log."""
        return all(event.status == "accepted" for event in self.events)


_ROW = frozenset(Row._fields)
_TOTALS = frozenset(Totals._fields)


def freshness_in(body: Mapping[str, Any]) -> Freshness:
    """The `freshness` of an answer."""
    fresh = body["freshness"]
    return Freshness(
        fresh["role"],
        fresh["worker"],
        fresh["partition"],
        fresh["position"],
        fresh["lag_events"],
        fresh["as_of"],
        fresh.get("version", 0),
        fresh.get("epoch", 0),
    )


def row_in(body: Mapping[str, Any]) -> Row:
    """A row; members that are not known are passed over."""
    return Row(**{name: value for name, value in body.items() if name in _ROW})


def rows_in(body: Mapping[str, Any]) -> list[Row]:
    """The `items` of an answer."""
    return [row_in(item) for item in body["items"]]


def totals_in(body: Mapping[str, Any]) -> Totals:
    """The totals of an answer about a SKU."""
    return Totals(**{name: value for name, value in body.items() if name in _TOTALS})


def keys_in(items: Sequence[Mapping[str, str]]) -> list[Key]:
    """SKU and location of each."""
    return [(item["sku"], item["location"]) for item in items]


def events_in(body: Mapping[str, Any]) -> list[EventResult]:
    """The `events` of an answer to a write, of a 202 or of a 503."""
    found = []
    for event in body.get("events", ()):
        is_unknown = event.get("status") == "unknown"
        more = (event.get(name) for name in ("position", "outcome", "of", "reason", "detail"))
        found.append(EventResult(event["id"], "unknown" if is_unknown else "accepted", *more))
    return found
