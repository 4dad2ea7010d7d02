"""Builders: say what matters to a test, take the rest as it comes."""

import base64
import json
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import msgspec

from core.fold import Fold, Group, fold, take_group
from core.records import Address, Record
from core.refusals import DeadLetter
from core.sums import Sums
from core.versions import VersionBegun, first_record, to_bytes
from domain.events import (
    Adjustment,
    Goods,
    SaleCompleted,
    SaleReturned,
    ShipmentDispatched,
    ShipmentReceived,
    StockAdjusted,
    StockEvent,
)
from domain.rows import Row, row_key
from domain.rules.held import CURRENT, Ruling
from domain.rules.sets import RuleSet
from domain.stock import Stock, StockMemory
from web.versions.view import VersionView

TOPICS = {role: role for role in ("shipments", "sales", "adjustments")}
SKU, LOCATION = "SKU-000042", "store-007"
RECORDED_MS = 1_795_000_000_000
# For st.text(): what hurts. All of Unicode costs Hypothesis seconds to list in a fresh clone.
LETTERS = "aZ09 ._-@,{}[]:'\"\\/\n\t\x00\x7f\x85\xa0é\u2028\ufeffネ😀\ud800\udfff"

Moved = TypeVar("Moved", ShipmentReceived, ShipmentDispatched, SaleCompleted, SaleReturned)


def _moved(
    event: type[Moved],
    *,
    id: str = "1",
    source: str = "till-17",
    sku: str = SKU,
    location: str = LOCATION,
    quantity: int = 1,
    **words: str | None,
) -> Moved:
    goods = Goods(sku, location, quantity, **words)
    return event(specversion="1.0", id=id, source=source, data=goods)


def a_receipt(**fields: Any) -> ShipmentReceived:
    """Goods that came in."""
    return _moved(ShipmentReceived, **fields)


def a_dispatch(**fields: Any) -> ShipmentDispatched:
    """Goods that left for elsewhere."""
    return _moved(ShipmentDispatched, **fields)


def a_sale(**fields: Any) -> SaleCompleted:
    """One thing sold, unless said otherwise."""
    return _moved(SaleCompleted, **fields)


def a_return(**fields: Any) -> SaleReturned:
    """One thing brought back."""
    return _moved(SaleReturned, **fields)


def an_adjustment(
    *,
    id: str = "1",
    source: str = "stocktaking",
    sku: str = SKU,
    location: str = LOCATION,
    quantity: int = -1,
    reason: str = "damage",
    **words: str | None,
) -> StockAdjusted:
    """One thing broken, unless said otherwise."""
    change = Adjustment(sku=sku, location=location, quantity=quantity, reason=reason, **words)
    return StockAdjusted(specversion="1.0", id=id, source=source, data=change)


def key_of(event: StockEvent) -> bytes:
    """The key of its row."""
    return row_key(event.data.sku, event.data.location)


def at(
    offset: int,
    event: StockEvent | bytes | None,
    *,
    key: bytes | None = SKU.encode(),
    recorded_ms: int | None = None,
    headers: Sequence[tuple[str, bytes | None]] = (),
) -> Record:
    """A record in the log; an event is keyed by its SKU, as it must be."""
    recorded_ms = RECORDED_MS + offset if recorded_ms is None else recorded_ms
    if isinstance(event, bytes) or event is None:
        return offset, recorded_ms, key, event, headers
    value = msgspec.json.encode(event)
    return offset, recorded_ms, event.data.sku.encode(), value, headers


def as_json(**changes: Any) -> bytes:
    """A sound sale as JSON, with fields of the envelope changed; `...` leaves one out."""
    event: dict[str, Any] = {
        "specversion": "1.0",
        "id": "1",
        "source": "till-17",
        "type": "inventory.sale.completed.v1",
        "time": "2026-11-23T10:00:00.123Z",
        "data": {"sku": SKU, "location": LOCATION, "quantity": 2},
    }
    return _without_gaps(event | changes)


def with_data(kind: str = "inventory.sale.completed.v1", **changes: Any) -> bytes:
    """A sound event as JSON, with fields of its data changed; `...` leaves one out."""
    data = {"sku": SKU, "location": LOCATION, "quantity": 2, "reason": "found"}
    return as_json(type=kind, data=json.loads(_without_gaps(data | changes)))


def in_binary_mode(value: bytes) -> tuple[bytes, list[tuple[str, bytes | None]]]:
    """Value and headers of the same event in binary mode, as far as that can be said so."""
    try:
        event = json.loads(value)
        data = json.dumps(event.pop("data")).encode()
    except (ValueError, KeyError, TypeError, AttributeError):
        return value, []
    headers: list[tuple[str, bytes | None]] = [("content-type", b"application/json")]
    headers += [
        (f"ce_{name}", text.encode(errors="surrogatepass") if isinstance(text, str) else None)
        for name, text in event.items()
    ]
    return data, headers


def with_data_base64(value: bytes) -> bytes:
    """The same event with its data as some clients write it, if there is any."""
    try:
        event = json.loads(value)
        event["data_base64"] = base64.b64encode(json.dumps(event.pop("data")).encode()).decode()
    except (ValueError, KeyError, TypeError, AttributeError):
        return value
    return json.dumps(event).encode()


def _without_gaps(fields: dict[str, Any]) -> bytes:
    return json.dumps({name: field for name, field in fields.items() if field is not ...}).encode()


def written(group: Group) -> dict[bytes, bytes]:
    """Its rows as the changelog and the store get them."""
    return {key: row for piece in group.rows.encoded(1000) for key, row in piece.items()}


class Owner:
    """A worker's memory and store for one partition, with a store that is a dict.

    Attributes:
        rows, segments: what is committed.
        letters: dead letters committed.
    """

    def __init__(
        self,
        partition: int = 0,
        partitions: int = 1,
        window: int = 100,
        rules: RuleSet = CURRENT,
    ) -> None:
        self._counted = Stock(Ruling(rules))
        self._shape: dict[str, Any] = {
            "partition": partition,
            "partitions": partitions,
            "window": window,
        }
        self.rows: dict[bytes, Row] = {}
        self.segments: dict[bytes, bytes] = {}
        self.letters: list[DeadLetter] = []
        self.positions: dict[str, int] = {}
        self.counts: dict[str, tuple[int, int, int]] = {}
        self.buried: dict[bytes, bytes] = {}
        self.restart()

    def load(self, keys: list[bytes]) -> list[bytes | None]:
        """Committed rows."""
        rows = map(self.rows.get, keys)
        return [None if row is None else msgspec.json.encode(row) for row in rows]

    @property
    def sums(self) -> Sums:
        """What is in memory."""
        assert isinstance(self.state.memory, StockMemory)
        return self.state.memory.rows

    def fold(self, records: Sequence[Record], topic: str = "sales") -> Self:
        """Fold into memory; nothing is committed."""
        if records:
            address = Address(topic, topic, self._shape["partition"], self._shape["partitions"])
            columns = self._counted.columns(address, records)
            fold(self.state, address, columns, self.load, lambda: records)
        return self

    def commit(self) -> Self:
        """Write a group, as a transaction would."""
        group = take_group(self.state)
        assert group.new == [key for key in written(group) if key not in self.rows]
        for key in group.expired:
            self.buried[key] = self.segments.pop(key)
        self.segments.update(group.segments)
        for key, value in written(group).items():
            self.rows[key] = msgspec.json.decode(value, type=Row)
        self.letters += group.dead_letters
        self.positions, self.counts = group.positions, dict(group.counts)
        return self

    def restart(self, *, resurrect: bool = False) -> Self:
        """Lose the memory; take the partition over from what is committed.

        With `resurrect` the store has missed tombstones of segments.
        """
        if resurrect:
            self.segments = self.buried | self.segments
        self.state = Fold.restored(
            self._counted,
            **self._shape,
            topics=TOPICS,
            positions=self.positions,
            counts=self.counts,
            segments=list(self.segments.items()),
        )
        return self

    def row(self, event: StockEvent) -> Row:
        """As folded so far."""
        key = key_of(event)
        numbers = self.sums.get(key)
        return self.rows.get(key, Row()) if numbers is None else Row(*numbers)

    @property
    def duplicates(self) -> int:
        """Records repeated so far, on all topics."""
        return sum(counts.repeated for counts in self.state.counts.values())

    @property
    def refusals(self) -> list[str]:
        """Reasons of the dead letters not yet committed, in their order."""
        return [str(letter.reason) for letter in self.state.dead_letters]


def a_partition(window: int = 100, **stock: int) -> Owner:
    """The only partition, with some stock of the usual SKU."""
    owner = Owner(window=window)
    if stock:
        owner.rows[row_key(SKU, LOCATION)] = Row(**stock)
    return owner


def an_active_version(version: int = 1, active: int | None = None, rules: int = 2) -> VersionView:
    """What a worker knows whose version, or `active`, was the active one from the beginning."""
    view = VersionView({}, "control", version)
    first = first_record(active or version, VersionBegun(rules, 100_000))
    view._history.take(to_bytes(first), 0, 0)
    return view
