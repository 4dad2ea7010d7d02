"""What single steps cost, in one process without Kafka: `python -m bench.micro [WORD…]`.

CPU time of this process and of what it starts, so that a busy machine shows less. `bench.pairs`
runs it in two checkouts in turn.
"""

import atexit
import gc
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from subprocess import DEVNULL
from time import process_time_ns
from typing import Final, NamedTuple, TypeAlias

import msgspec
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from bench.fold import ADDRESS, TOPIC, absent, in_binary_mode, records
from core.fold import Fold, fold, take_group
from core.records import Record
from core.stages import Stage
from dev.workers import ROOT
from domain.columns import columns
from domain.rows import Row, row_key
from domain.rules.held import CURRENT
from domain.stock import STOCK
from tables.home.rocks import RocksStores
from tables.home.store import Local, Store
from tables.partition import Partition
from tables.stock import StockReading
from web.cluster.heartbeats import Heartbeat
from web.cluster.roster import Roster
from web.http.bodies import BodyLimits
from web.reads.queries import Queries
from wire.batches import pieces

#: Does the step once, for so many things as stand beside it.
Step: TypeAlias = tuple[Callable[[], object], int]

EVENTS: Final = 20_000
HOT: Final = 2_000
ROWS: Final = 100_000
#: In one fetch of a partition, where traffic is thin.
BATCHES: Final = 20
ASKED: Final = 2_000
URL: Final = "http://127.0.0.1:6066"
CODECS: Final = {"plain": 0, "lz4": 3, "zstd": 4}
#: Of one measurement.
LEAST_NS: Final = 30_000_000
#: Numbers of stores.
_free = count(1)


# ---- the log


@cache
def _log(binary: bool = False) -> list[Record]:
    return in_binary_mode(_log()) if binary else records(EVENTS)


@cache
def _fetched(each: int, codec: int) -> list[bytes]:
    """The log as a broker sends it: in batches of so many records, `BATCHES` to a fetch."""
    rest, made = iter(_log()), []
    while batch := list(islice(rest, each)):
        made.append(_batch(batch, codec))
    return [b"".join(made[at : at + BATCHES]) for at in range(0, len(made), BATCHES)]


def _batch(batch: list[Record], codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=2**20,
    )  # fmt: skip
    first = batch[0][0]
    for offset, time_ms, key, value, headers in batch:
        builder.append(offset - first, time_ms, key, value, list(headers))
    raw = builder.build()
    raw[:8] = first.to_bytes(8)  # the checksum does not hold it
    return bytes(raw)


def unpack(each: int, codec: int) -> Step:
    """Records of what was fetched."""
    fetches = _fetched(each, codec)
    return lambda: sum(len(piece) for data in fetches for piece in pieces(data, 0)), EVENTS


def decode(binary: bool, each: int) -> Step:
    """Records to columns; few, so that they are as near as those that were just fetched."""
    log = _log(binary)[:HOT]
    slices = [log[at : at + each] for at in range(0, len(log), each)]
    return lambda: [columns(ADDRESS, piece, CURRENT) for piece in slices], len(log)


def folded(binary: bool) -> Step:
    """The same, folded, taken and encoded."""
    log = _log(binary)
    slices = [log[at : at + 500] for at in range(0, len(log), 500)]

    def work() -> None:
        state = Fold(STOCK, 0, 1, [TOPIC], 100_000)
        for piece in slices:
            fold(state, ADDRESS, columns(ADDRESS, piece, CURRENT), absent, list)
        list(take_group(state).rows.encoded(1_000))

    return work, len(log)


# ---- the store


def _key(number: int) -> bytes:
    return row_key(f"SKU-{number:06d}", "store-001")


@cache
def _row() -> bytes:
    return msgspec.json.encode(
        Row(received=500, sold=123, events=130, checksum=2**63 + 5, updated_at=1795000000123)
    )


@cache
def _stores() -> RocksStores:
    folder = Path(tempfile.mkdtemp(prefix="onhand-micro-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return RocksStores(folder, STOCK.name)


def _filled(partition: int, writes: int = 20) -> Store:
    """A store of `ROWS` rows that was written, closed and opened again."""
    store = _stores().open(partition)
    for number in range(writes):
        first, last = (ROWS * n // writes for n in (number, number + 1))
        store.write({_key(n): _row() for n in range(first, last)}, (), Local(last))
    store.close()
    return _stores().open(partition)


@cache
def _reopened() -> Store:
    return _filled(0)


def _some(beyond: int = 0) -> list[bytes]:
    rng = random.Random(3)
    return [_key(beyond + rng.randrange(ROWS)) for _ in range(ASKED)]


def get(beyond: int) -> Step:
    """Single keys, there or (`beyond`) not, of a reopened store."""
    store, keys = _reopened(), _some(beyond)
    return lambda: [store.get(key) for key in keys], len(keys)


def get_many(beyond: int) -> Step:
    """500 keys at a time."""
    store, keys = _reopened(), _some(beyond)
    slices = [keys[at : at + 500] for at in range(0, len(keys), 500)]
    return lambda: [store.get_many(piece) for piece in slices], len(keys)


def scan() -> Step:
    """500 rows in order."""
    store, start = _reopened(), _key(ROWS // 3)
    return lambda: store.scan(start, None, 500), 500


def write(rows: int) -> Step:
    """Groups of so many rows."""
    store, rng, at = _filled(next(_free)), random.Random(4), count()

    def work() -> None:
        puts = {_key(rng.randrange(ROWS)): _row() for _ in range(rows)}
        number = next(at)
        store.write(puts, (), Local(number, number, "c0ffee"))

    return work, 1


def load() -> Step:
    """What a restore writes at once: 20,000 rows."""
    store, at = _stores().open(next(_free)), count()
    parts = [{_key(n): _row() for n in range(k, ROWS, 5)} for k in range(5)]

    def work() -> None:
        number = next(at)
        store.load(parts[number % 5], (), Local(number))

    return work, ROWS // 5


def opening(writes: int) -> Step:
    """A store that was written so often, opened and closed again."""
    partition = next(_free)
    _filled(partition, writes).close()
    return lambda: _stores().open(partition).close(), 1


# ---- reads


class _Member:
    """The broker has just confirmed it."""

    def confirmed_at(self) -> float:
        return time.monotonic()

    async def confirm(self) -> None:
        pass


@cache
def _table() -> StockReading:
    table = StockReading(1, URL, _Member(), 5.0)
    table.held[0] = p = Partition(0, _reopened())
    for stage in (Stage.RESTORING, Stage.ACTIVE):
        p.move(stage)
    p.left_whole = True
    p.ends = {TOPIC: (ROWS, int(time.time() * 1000))}
    p.advance({TOPIC: ROWS})
    return table


@cache
def queries() -> Queries:
    """Of a worker that owns all rows."""
    me = Heartbeat(version=1, rules=1, build="", url=URL, instance="me", sequence=0)
    return Queries(_table(), Roster(me), (TOPIC,), 1, BodyLimits())


def heads(*lines: str) -> list[bytes]:
    """Requests for rows that are there, with these header lines."""
    head = "\r\n".join(("", "Host: 127.0.0.1:6066", *lines, "", "")).encode()
    keys = [key.decode().partition("\x00") for key in _some()]
    return [
        f"GET /v1/inventory/{sku}/{location} HTTP/1.1".encode() + head for sku, _, location in keys
    ]


CURL: Final = ("User-Agent: curl/8.5.0", "Accept: */*")
BROWSER: Final = (
    "Connection: keep-alive", "Accept: application/json", "Accept-Language: en", "Pragma: no-cache",
    "Accept-Encoding: gzip, deflate", "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101",
)  # fmt: skip


def quick(*lines: str) -> Step:
    """Key reads by their bytes, with these header lines."""
    asked, answer = heads(*lines), queries().quick
    assert answer(asked[0])
    return lambda: [answer(head) for head in asked], len(asked)


def seldom() -> Step:
    """Key reads so far apart that the freshness is told anew for each."""
    asked, answer, p = heads(*CURL), queries().quick, _table().held[0]

    def work() -> None:
        for head in asked:
            p._fresh_until = 0.0  # as if 20 ms had passed
            answer(head)

    return work, len(asked)


def row() -> Step:
    """One row of the table, below HTTP."""
    table, keys = _table(), [tuple(key.decode().split("\x00")) for key in _some()]
    return lambda: [table.get(0, *key) for key in keys], len(keys)


# ---- the command


def start(modules: str) -> Step:
    """A Python of its own that imports what a command does before it has anything to do."""
    command = [sys.executable, "-c", f"import {modules}"]
    return lambda: subprocess.run(command, cwd=ROOT, stdin=DEVNULL, check=True), 1


STEPS: Final[Mapping[str, Callable[[], Step]]] = {
    **{
        f"unpack {name}, {each:,} a batch": partial(unpack, each, codec)
        for name, codec in CODECS.items()
        for each in (1, 3, 50, 1_000)
    },
    "decode 3 records": partial(decode, False, 3),
    "decode 500 records": partial(decode, False, 500),
    "decode 500 records, binary mode": partial(decode, True, 500),
    "decode and fold": partial(folded, False),
    "decode and fold, binary mode": partial(folded, True),
    "store: get": partial(get, 0),
    "store: get, absent": partial(get, 10**6),
    "store: get many": partial(get_many, 0),
    "store: get many, absent": partial(get_many, 10**6),
    "store: scan": scan,
    "store: write 1": partial(write, 1),
    "store: write 5": partial(write, 5),
    "store: write 50": partial(write, 50),
    "store: write 500": partial(write, 500),
    "store: load": load,
    "store: open, after 20 writes": partial(opening, 20),
    "store: open, after 5,000 writes": partial(opening, 5_000),
    "row": row,
    "quick read": quick,
    "quick read, curl": partial(quick, *CURL),
    "quick read, browser": partial(quick, *BROWSER),
    "quick read, seldom": seldom,
    "start: Python alone": partial(start, "sys"),
    "start: onhand stock": partial(start, "app.commands, app.config, app.commands.ask"),
    "start: onhand topics": partial(start, "app.commands, app.topics"),
}


class Measured(NamedTuple):
    """One step: µs of CPU for each thing."""

    name: str
    us: float


def measured(name: str, repeats: int) -> Iterator[Measured]:
    """Prepare a step, then measure it so often; each measurement is of 30 ms or more."""
    work, things = STEPS[name]()
    work()
    times, spent = 1, timed(work, 1)
    while spent < LEAST_NS and times < 2**20:
        times *= 2 if spent > LEAST_NS // 4 else 4
        spent = timed(work, times)
    for _ in range(repeats):
        yield Measured(name, timed(work, times) / times / things / 1000)


def timed(work: Callable[[], object], times: int) -> int:
    """ns of CPU."""
    gc.collect()
    began = _cpu_ns()
    for _ in range(times):
        work()
    return _cpu_ns() - began


def _cpu_ns() -> int:
    """Of this process, and of those that it started and saw end."""
    ended = getrusage(RUSAGE_CHILDREN)
    return process_time_ns() + int((ended.ru_utime + ended.ru_stime) * 1e9)


def main() -> None:
    """Print what was asked for; with `--answer`, for `bench.pairs`, as it is asked."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # as the worker does
    if sys.argv[1:] == ["--answer"]:
        steps: dict[str, Iterator[Measured]] = {}
        for line in sys.stdin:
            name = line.strip()
            if name not in steps:
                steps[name] = measured(name, 10**9)
            print(next(steps[name]).us, flush=True)
        return
    for name in STEPS:
        if all(word in name for word in sys.argv[1:]):
            us = median(each.us for each in measured(name, 5))
            print(f"{name:<34} {us:10.2f} µs", flush=True)


if __name__ == "__main__":
    main()
