"""What one event costs in the fold, part by part: `python -m bench.fold`.

One thread, no Kafka, no RocksDB: 10,000 SKUs at 20 locations, Zipf-like, one partition.
Times are CPU times, the least of several rounds, so that a busy machine shows less.
"""

import gc
import json
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from time import process_time_ns
from typing import Any

from core.fold import Fold, fold, take_group
from core.records import Address, Record
from core.window import IDENTITY_BITS, Window
from domain.columns import columns
from domain.events import StockEvent, contents, identity
from domain.rows import row_key
from domain.rules.held import CURRENT
from domain.stock import STOCK, StockMemory

EVENTS = 200_000
SLICES = (250, 500, 1_000, 5_000)
GROUP = 16_000
W = 100_000
TOPIC = "sales"
ADDRESS = Address(TOPIC, TOPIC, 0, 1)
KINDS = ("inventory.sale.completed.v1",) * 9 + ("inventory.sale.returned.v1",)


def records(count: int, seed: int = 1) -> list[Record]:
    """A day at the tills."""
    rng = random.Random(seed)
    made: list[Record] = []
    for n in range(count):
        sku = f"SKU-{int(10_000 ** rng.random()):06d}"
        event = {
            "specversion": "1.0",
            "id": f"{4711 + n}-1",
            "source": f"till-{n % 200}",
            "type": KINDS[n % 10],
            "time": f"2026-11-23T10:{n // 60 % 60:02d}:{n % 60:02d}.123Z",
            "data": {
                "sku": sku,
                "location": f"store-{rng.randrange(20):03d}",
                "quantity": 1 + n % 3,
            },
        }
        value = json.dumps(event, separators=(",", ":")).encode()
        made.append((n, 1_795_000_000_000 + n, sku.encode(), value, ()))
    return made


def in_binary_mode(log: list[Record]) -> list[Record]:
    """The same day as the SDKs of CloudEvents send it by default."""
    made: list[Record] = []
    for offset, time_ms, key, value, _ in log:
        event = json.loads(value or b"")
        data = json.dumps(event.pop("data"), separators=(",", ":")).encode()
        headers = [("content-type", b"application/json")]
        headers += [(f"ce_{name}", text.encode()) for name, text in event.items()]
        made.append((offset, time_ms, key, data, headers))
    return made


def absent(keys: list[bytes]) -> Sequence[bytes | None]:
    """A store with nothing in it; its reads are not measured here."""
    return [None] * len(keys)


def us_per_event(work: Callable[[], Any], events: int, rounds: int = 7) -> float:
    """CPU time, the least of `rounds`."""
    best = min(_timed(work) for _ in range(rounds))
    return best / events / 1000


def _timed(work: Callable[[], Any]) -> int:
    began = process_time_ns()
    work()
    return process_time_ns() - began


def whole(log: list[Record], size: int, rounds: int = 5) -> tuple[float, ...]:
    """Fold the second half of the log into a warm state: decode, fold, and the groups beside.

    Each slice counts with the least of its costs over all rounds.
    """
    half = len(log) // 2
    costs = zip(*(_round(log, size, half) for _ in range(rounds)), strict=True)
    return tuple(sum(map(min, zip(*each, strict=True))) / half / 1000 for each in costs)


def _round(log: list[Record], size: int, half: int) -> tuple[list[int], list[int], list[int]]:
    state = Fold(STOCK, 0, 1, [TOPIC], W)
    decodes, folds, takes = [], [], []
    for first in range(0, len(log), size):
        piece = log[first : first + size]
        found = columns(ADDRESS, piece, CURRENT)
        decode_ns = _timed(partial(columns, ADDRESS, piece, CURRENT))
        fold_ns = _timed(partial(fold, state, ADDRESS, found, absent, list))
        full = first // GROUP != (first + size) // GROUP
        take_ns = _timed(lambda: list(take_group(state).rows.encoded(1_000))) if full else 0
        if first >= half:
            decodes.append(decode_ns)
            folds.append(fold_ns)
            takes.append(take_ns)
    return decodes, folds, takes


def parts(log: list[Record], size: int) -> dict[str, float]:
    """The same steps one by one, each on slices of `size` records."""
    slices = [log[first : first + size] for first in range(0, len(log), size)]
    values = [
        ([record[3] for record in piece], [record[4] for record in piece]) for piece in slices
    ]
    decoded: list[list[StockEvent]] = [CURRENT.decode_batch(*piece) for piece in values]  # type: ignore[misc]
    keys = [[row_key(e.data.sku, e.data.location) for e in piece] for piece in decoded]
    pieces = [columns(ADDRESS, piece, CURRENT) for piece in slices]

    def judge() -> None:
        window = Window(TOPIC, W)
        for each in pieces:
            window.judge(*(each.events[name] for name in ("offset", "identity", "content")))

    def add() -> None:
        memory = StockMemory(empty=True)
        memory.rows.max_rows = len(log)
        for each in pieces:
            memory.add(each, absent)

    n = len(log)
    return {
        "decode_batch": us_per_event(lambda: [CURRENT.decode_batch(*piece) for piece in values], n),
        "identity": us_per_event(lambda: [[identity(e) for e in piece] for piece in decoded], n),
        "contents": us_per_event(
            lambda: [contents(*each) for each in zip(decoded, keys, strict=True)], n
        ),
        "window.judge": us_per_event(judge, n),
        "rows": us_per_event(add, n),
    }


def bytes_per_id() -> float:
    """A full window, just before its tail is merged."""
    rng = random.Random(2)
    window = Window(TOPIC, W)
    most, offset = 0, 0
    for _ in range(400):
        size = 500
        ids = [rng.getrandbits(IDENTITY_BITS) for _ in range(size)]
        window.judge(list(range(offset, offset + size)), ids, [1] * size)
        offset += size
        window.take(offset)
        most = max(most, window.nbytes())
    return most / W


def main() -> None:
    """Print a table."""
    log = records(int(sys.argv[1]) if len(sys.argv) > 1 else EVENTS)
    binary = in_binary_mode(log)
    gc.freeze()  # as the worker does once it has started
    for size in SLICES:
        decoded, folded, taken = whole(log, size)
        in_binary = whole(binary, size)[0]
        print(
            f"slices of {size:>5}: {decoded:.2f} us/event to decode "
            f"({in_binary:.2f} in binary mode), {folded:.2f} to fold, "
            f"{taken:.2f} to take and encode groups"
        )
        for name, cost in parts(log, size).items():
            print(f"    {name:<14} {cost:.2f}")
    print(f"window, W = {W:,}, full: at most {bytes_per_id():.1f} bytes an id")


if __name__ == "__main__":
    main()
