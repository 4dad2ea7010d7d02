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
ZIPF = 0.9
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


Shares = tuple[tuple[float, str, str], ...]
"""(share up to here, topic, type), ascending to 1."""

SHOP: Shares = (  # 10 % received, 86 % sold, the rest shared
    (0.860, "sales", "inventory.sale.completed.v1"),
    (0.960, "shipments", "inventory.shipment.received.v1"),
    (0.980, "sales", "inventory.sale.returned.v1"),
    (0.990, "shipments", "inventory.shipment.dispatched.v1"),
    (1.000, "adjustments", "inventory.stock.adjusted.v1"),
)
EVEN: Shares = (  # each topic a third
    (0.333, "sales", "inventory.sale.completed.v1"),
    (0.667, "shipments", "inventory.shipment.received.v1"),
    (1.000, "adjustments", "inventory.stock.adjusted.v1"),
)
_REASONS = ("damage", "theft", "found", "count")


def facts(
    count: int,
    *,
    seed: int = 1,
    skus: int = 10_000,
    locations: int = 20,
    zipf: float = ZIPF,
    shares: Shares = SHOP,
) -> Iterator[Fact]:
    """Yield `count` facts, one for each millisecond from the opening on.

    `zipf` is the exponent of the SKUs' popularity: 0 draws them evenly.
    """
    rng = random.Random(seed)
    limits = [limit for limit, _, _ in shares]
    popularity = list(accumulate(1 / rank**zipf for rank in range(1, skus + 1)))
    second = ""
    for number in range(count):
        if number % 1000 == 0:
            second = f"{OPENING + timedelta(milliseconds=number):%Y-%m-%dT%H:%M:%S}"
        sku = f"SKU-{bisect(popularity, rng.random() * popularity[-1]):06d}"
        location = f"store-{int(rng.random() * locations):03d}"
        _, topic, kind = shares[bisect(limits, rng.random())]
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
