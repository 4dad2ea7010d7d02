"""A seeded stream of retail facts, as CloudEvents of the contract's section 2.

The same seed gives the same events on every machine. SKUs are drawn by Zipf's
law (few sell much), locations evenly.
"""

import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate

OPENING = datetime(2026, 11, 23, 10, tzinfo=UTC)
ZIPF_EXPONENT = 0.9
TILLS = 500
SOURCES = ("shipments", "sales", "adjustments")


@dataclass(frozen=True, slots=True)
class Fact:
    """One event with the topic it belongs to; `value` is its JSON."""

    topic: str
    kind: str
    source: str
    id: str
    sku: str
    location: str
    quantity: int
    value: bytes


# (share up to here, topic, type): 10 % received, 86 % sold, the rest shared.
_SHARES = (
    (0.860, "sales", "inventory.sale.completed.v1"),
    (0.960, "shipments", "inventory.shipment.received.v1"),
    (0.980, "sales", "inventory.sale.returned.v1"),
    (0.990, "shipments", "inventory.shipment.dispatched.v1"),
    (1.000, "adjustments", "inventory.stock.adjusted.v1"),
)
_REASONS = ("damage", "theft", "found", "count")


def facts(count: int, *, seed: int = 1, skus: int = 10_000, locations: int = 20) -> Iterator[Fact]:
    """Yield `count` facts, one for each millisecond from the opening on."""
    rng = random.Random(seed)
    shares = [share for share, _, _ in _SHARES]
    popularity = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, skus + 1)))
    second = ""
    for number in range(count):
        if number % 1000 == 0:
            second = f"{OPENING + timedelta(milliseconds=number):%Y-%m-%dT%H:%M:%S}"
        sku = f"SKU-{bisect(popularity, rng.random() * popularity[-1]):06d}"
        location = f"store-{int(rng.random() * locations):03d}"
        _, topic, kind = _SHARES[bisect(shares, rng.random())]
        quantity, source, extra = _details(rng, topic, kind)
        id = f"{seed:04x}-{number:09x}"
        value = (
            f'{{"specversion":"1.0","id":"{id}","source":"{source}","type":"{kind}",'
            f'"time":"{second}.{number % 1000:03d}Z",'
            f'"data":{{"sku":"{sku}","location":"{location}","quantity":{quantity}{extra}}}}}'
        )
        yield Fact(topic, kind, source, id, sku, location, quantity, value.encode())


def _details(rng: random.Random, topic: str, kind: str) -> tuple[int, str, str]:
    """Quantity, source and further fields of `data`."""
    draw = rng.random()
    if topic == "shipments":
        return (
            10 + int(draw * 50) if kind.endswith("received.v1") else 1 + int(draw * 5),
            "wms-01",
            "",
        )
    if topic == "sales":
        quantity = 1 + int(draw * 4) if kind.endswith("completed.v1") else 1
        return quantity, f"till-{int(rng.random() * TILLS):03d}", ""
    quantity = -1 - int(draw * 3) if draw < 0.7 else 1 + int(draw * 3)
    return quantity, "stocktake-01", f',"reason":"{_REASONS[int(rng.random() * len(_REASONS))]}"'
