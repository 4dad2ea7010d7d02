"""A chain of shops that never was: seeded, believable retail facts, one after the other.

Few SKUs sell much (Zipf), stores open and close around the clock of their own
zone, shelves are refilled from a warehouse at a reorder point, goods come back,
tills lose their line and send late, senders repeat themselves, and now and
then something arrives that nobody can read.
"""

import json
import random
from bisect import bisect
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import accumulate
from typing import NamedTuple

from dev.oracle.stock import partition_of

ZIPF_EXPONENT = 0.9
# Share of customers in a store by its local hour, 0 to 23: closed at night, but for the night shop.
HOURS = [1, 1, 1, 1, 1, 2, 6, 20, 45, 60, 75, 85, 100, 90, 75, 75, 85, 100, 95, 70, 40, 15, 4, 2]
ZONES_H = (-5, 0, 1, 3, 8)
TILLS = 4
WAREHOUSE = "warehouse-1"
SHELF, REORDER_AT, CASE = 36, 6, 12
PALLET = 480
RECENT = 2_000


class Sent(NamedTuple):
    """One record to append.

    Attributes:
        role: the topic without its prefix.
        key: record key.
        value: record value.
        kind: what it is, for counting: `sale`, `delivery`, `repeat`, `unreadable`, …
        refusal: the contract's reason if it must be refused, else empty.
        partition: where it has to go if not where its key belongs.
    """

    role: str
    key: bytes | None
    value: bytes | None
    kind: str
    refusal: str = ""
    partition: int | None = None


@dataclass(frozen=True)
class Habits:
    """How often things happen, as shares of what is sent.

    Attributes:
        repeated: sent again exactly, by a sender that saw no answer.
        unreadable: cannot be applied.
        returned: goods that come back.
        adjusted: damage, theft, a recount.
        moved: a transfer between two stores.
        offline: a till loses its line; its sales come late, their time in the past.
        uncounted: shelves sold from before anyone told what lies on them.
        damaged: of what comes back, said to be damaged.
        voided: sales taken back before the goods have left, as tills of the next release say it.
    """

    repeated: float = 0.03
    unreadable: float = 0.0005
    returned: float = 0.04
    adjusted: float = 0.006
    moved: float = 0.003
    offline: float = 0.001
    uncounted: float = 0.3
    damaged: float = 0.0
    voided: float = 0.0


@dataclass(frozen=True)
class Said:
    """An event before it is written down."""

    role: str
    type: str
    kind: str
    source: str
    sku: str
    location: str
    quantity: int
    reason: str = ""
    reference: str = ""


class Shop:
    """The chain. The same arguments and times give the same records."""

    def __init__(
        self,
        *,
        seed: int,
        skus: int,
        stores: int,
        partitions: int,
        run: str,
        habits: Habits | None = None,
    ) -> None:
        self._random = random.Random(seed)
        self._habits = habits or Habits()
        self._run = run
        self._partitions = partitions
        self.skus = [f"SKU-{n:06d}" for n in range(skus)]
        self.stores = [f"store-{n:03d}" for n in range(stores)]
        self._popular = list(accumulate((n + 1) ** -ZIPF_EXPONENT for n in range(skus)))
        self._open: list[float] = []
        self._open_at = -1
        self._count = 0
        self._events = 0
        self._due: list[tuple[int, int, Sent]] = []
        self._stock: dict[tuple[str, str], int] = {}
        self._ordered: set[tuple[str, str]] = set()
        self._sold: deque[Said] = deque(maxlen=RECENT)
        self._offline: dict[str, int] = {}

    def next(self, now: datetime) -> Sent:
        """The next record; `now` is when what it tells of happened."""
        self._count += 1
        while not self._due or self._due[0][0] > self._count:
            self._happen(now)
        sent = heappop(self._due)[2]
        if sent.kind not in ("repeat", "unreadable") and self._chance(self._habits.repeated):
            self._later(sent._replace(kind="repeat"), self._random.randint(1, 1_500))
        return sent

    def _happen(self, now: datetime) -> None:
        """Something happens in the chain; what is told of it goes into the queue."""
        habits, draw = self._habits, self._random.random()
        for share, happening in (
            (habits.unreadable, self._babble),
            (habits.adjusted, self._adjust),
            (habits.moved, self._move),
            (habits.returned, self._return),
            (habits.voided, self._void),
            (1.0, self._sell),
        ):
            if draw < share:
                happening(now)
                return
            draw -= share

    def _sell(self, now: datetime) -> None:
        sku, store = self._sku(), self._store(now)
        shelf = (sku, store)
        if shelf not in self._stock:
            self._stock[shelf] = 0
            if not self._chance(self._habits.uncounted):
                self._stock[shelf] = opening = self._random.randint(CASE, SHELF)
                self._tell(self._adjustment(sku, store, opening, "opening"), now)
        till = f"till-{store[-3:]}-{self._random.randrange(TILLS)}"
        quantity = 1 + int(self._random.expovariate(1.6))
        sale = Said("sales", "sale.completed", "sale", till, sku, store, quantity)
        self._sold.append(sale)
        self._tell(sale, now, self._line_down(till))
        self._take(sku, store, quantity, now)

    def _line_down(self, till: str) -> int:
        """How many records a till's word waits for, because its line is down."""
        if self._offline.get(till, 0) <= self._count and self._chance(self._habits.offline):
            self._offline[till] = self._count + self._random.randint(500, 4_000)
        return max(0, self._offline.get(till, 0) - self._count)

    def _take(self, sku: str, location: str, quantity: int, now: datetime) -> None:
        """Goods leave a shelf; an order goes out when few are left."""
        place = (sku, location)
        left = self._stock[place] = self._stock.get(place, 0) - quantity
        if left >= REORDER_AT or place in self._ordered:
            return
        self._ordered.add(place)
        if location == WAREHOUSE:
            pallets = -(-(REORDER_AT - left) // PALLET)
            self._deliver(sku, WAREHOUSE, pallets * PALLET, now, f"po-{self._run}-{self._events}")
            return
        cases = -(-(SHELF - left) // CASE)
        self._transfer(sku, WAREHOUSE, location, cases * CASE, now)

    def _transfer(self, sku: str, start: str, end: str, quantity: int, now: datetime) -> None:
        reference = f"transfer-{self._run}-{self._events}"
        source = f"wms-{start}"
        leaves = Said("shipments", "shipment.dispatched", "transfer", source, sku, start, quantity)
        self._tell(replace(leaves, reference=reference), now)
        self._deliver(sku, end, quantity, now, reference)
        self._take(sku, start, quantity, now)

    def _deliver(
        self, sku: str, location: str, quantity: int, now: datetime, reference: str
    ) -> None:
        self._stock[sku, location] = self._stock.get((sku, location), 0) + quantity
        self._ordered.discard((sku, location))
        kind, source = "delivery", f"wms-{location}"
        arrives = Said("shipments", "shipment.received", kind, source, sku, location, quantity)
        self._tell(replace(arrives, reference=reference), now, self._random.randint(5, 900))

    def _move(self, now: datetime) -> None:
        start, end = self._random.sample([*self.stores, WAREHOUSE], 2)
        self._transfer(self._sku(), start, end, self._random.randint(1, 6), now)

    def _return(self, now: datetime) -> None:
        if not self._sold:
            return self._sell(now)
        sale = self._random.choice(self._sold)
        self._stock[sale.sku, sale.location] += 1
        back = replace(sale, type="sale.returned", kind="return", quantity=1)
        if self._habits.damaged and self._chance(self._habits.damaged):
            back = replace(back, reason="damaged")
        return self._tell(back, now)

    def _void(self, now: datetime) -> None:
        if not self._sold:
            return self._sell(now)
        sale = self._random.choice(self._sold)
        self._stock[sale.sku, sale.location] += 1
        return self._tell(replace(sale, type="sale.voided", kind="voided", quantity=1), now)

    def _adjust(self, now: datetime) -> None:
        sku, store = self._sku(), self._store(now)
        reason = self._random.choice(("damage", "theft", "found", "count", "correction"))
        quantity = self._random.randint(1, 4) * (1 if reason == "found" else -1)
        self._tell(self._adjustment(sku, store, quantity, reason), now)

    def _adjustment(self, sku: str, store: str, quantity: int, reason: str) -> Said:
        source = f"stocktake-{store[-3:]}"
        return Said(
            "adjustments", "stock.adjusted", "adjustment", source, sku, store, quantity, reason
        )

    def _babble(self, now: datetime) -> None:
        """Something that must be refused, whatever it is meant to say."""
        sku, store = self._sku(), self._store(now)
        sale = Said("sales", "sale.completed", "unreadable", "till-new", sku, store, 2)
        good = self._written(sale, now)
        self._later(garble(good, self._random, self._partitions), 0)
        if self._random.random() < 0.1:  # a till that was reset numbers its sales from 1 again
            self._later(good._replace(kind="sale"), 0)
            other = good._replace(value=(good.value or b"").replace(b":2}", b":3}"))
            self._later(other._replace(refusal="id_conflict"), 0)

    def _tell(self, said: Said, now: datetime, wait: int = 0) -> None:
        self._later(self._written(said, now), wait, "late" if wait and said.role == "sales" else "")

    def _later(self, sent: Sent, wait: int, kind: str = "") -> None:
        self._events += 1
        sent = sent._replace(kind=kind) if kind else sent
        heappush(self._due, (self._count + wait, self._events, sent))

    def _written(self, said: Said, now: datetime) -> Sent:
        self._events += 1
        data: dict[str, object] = {"sku": said.sku, "location": said.location}
        data |= {"reason": said.reason} if said.reason else {}
        data |= {"reference": said.reference} if said.reference else {}
        event = {
            "specversion": "1.0",
            "id": f"{self._run}-{self._events}",
            "source": said.source,
            "type": f"inventory.{said.type}.v1",
            "time": now.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "data": data | {"quantity": said.quantity},
        }
        value = json.dumps(event, separators=(",", ":")).encode()
        return Sent(said.role, said.sku.encode(), value, said.kind)

    def _sku(self) -> str:
        return self.skus[bisect(self._popular, self._random.random() * self._popular[-1])]

    def _store(self, now: datetime) -> str:
        hour = now.astimezone(UTC).hour
        if hour != self._open_at:
            zones = [ZONES_H[n % len(ZONES_H)] for n in range(len(self.stores))]
            self._open = list(accumulate(HOURS[(hour + zone) % 24] for zone in zones))
            self._open_at = hour
        return self.stores[bisect(self._open, self._random.random() * self._open[-1])]

    def _chance(self, share: float) -> bool:
        return self._random.random() < share


def garble(good: Sent, rng: random.Random, partitions: int) -> Sent:
    """A readable sale made into something that must be refused."""
    sku, value = good.key or b"", good.value or b""
    home = partition_of(sku.decode(), partitions)
    wrong: list[Sent] = [
        good._replace(value=value[:-9], refusal="not_json"),
        good._replace(value=b"\xff\xfe<sale/>", refusal="not_json"),
        good._replace(value=value.replace(b'"1.0"', b'"0.3"'), refusal="bad_envelope"),
        good._replace(value=value.replace(b":2}", b':"two"}'), refusal="bad_data"),
        good._replace(value=value.replace(b":2}", b":0}"), refusal="bad_data"),
        good._replace(value=value.replace(b'"time":"', b'"time":"on '), refusal="bad_time"),
        good._replace(value=value.replace(b"completed.v1", b"dreamt.v1"), refusal="unknown_type"),
        good._replace(key=None, refusal="missing_key"),
        good._replace(key=sku + b"-old", refusal="key_mismatch"),
        good._replace(role="shipments", refusal="misrouted"),
        good._replace(value=None, refusal="null_value"),
    ]
    if partitions > 1:
        wrong.append(good._replace(partition=(home + 1) % partitions, refusal="misrouted"))
    return rng.choice(wrong)
