"""How long questions take: rows as sales choose them, and one row of 100,000 facts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Engine, text

from bench.history.log import HOT, PARTITIONS
from ledger.engine import open_reader, url_of
from ledger.history import History, Ledger
from ledger.lines import TOPICS
from ledger.questions.prefixes import Prefix
from ledger.questions.timeline import Wish, leaf
from ledger.upkeep.snapshots import long_rows, take_snapshots


class Answered(NamedTuple):
    """Milliseconds. what: the question. of: which rows."""

    what: str
    of: str
    p50_ms: float
    p99_ms: float
    asked: int


def snapshots_made(engine: Engine) -> int:
    """As a ledger does beside writing, until nothing is left."""
    made = 0
    while True:
        with engine.begin() as connection:
            keys = long_rows(connection)
            if not keys:
                return made
            made += take_snapshots(connection, keys)


def asked(url: str, times: int) -> Iterator[Answered]:
    """Each question so often, each in a transaction of its own, warm."""
    engine = open_reader(url_of(url), "onhand-bench")
    history, rng = History(engine, TOPICS, PARTITIONS), random.Random(3)
    with engine.begin() as connection:
        some = text(
            "SELECT sku, location, source, id FROM event WHERE topic = 1 AND off % 97 = 0 "
            "AND sku <> 'SKU-HOT' LIMIT 5000"
        )
        by_popularity = [tuple(line) for line in connection.execute(some)]
        first, last = connection.execute(text("SELECT min(log_at), max(log_at) FROM event")).one()
        connection.execute(text("SELECT count(*) FROM event")).one()  # warm
    for of, keys in (
        ("rows as they sell", [rng.choice(by_popularity)[:2] for _ in range(times)]),
        ("a row of 100,000 facts", [HOT] * times),
    ):
        for what, ask in _questions(rng, first, last, _when(engine, keys)).items():
            yield _measured(history, what, of, [(ask, key) for key in keys])
    names = [rng.choice(by_popularity)[2:] for _ in range(times)]
    took = []
    for source, ident in names:
        began = time.perf_counter()
        with history.look() as ledger:
            assert ledger.facts(source, ident)
        took.append(time.perf_counter() - began)
    yield _answered("one fact by its id", "any", took)
    engine.dispose()


def _when(engine: Engine, keys: Iterable[Sequence[str]]) -> dict[tuple[str, str], tuple[int, int]]:
    """When the first and the last fact of each row happened."""
    sql = "SELECT min(occurred_at), max(occurred_at) FROM event WHERE sku = :sku AND location = :at"
    with engine.begin() as connection:
        return {
            (sku, at): tuple(connection.execute(text(sql), {"sku": sku, "at": at}).one())
            for sku, at in set(map(tuple, keys))
        }


def _questions(
    rng: random.Random, first: int, last: int, happened: Mapping[tuple[str, str], tuple[int, int]]
) -> dict[str, Callable[[Ledger, str, str], object]]:
    def cut_at_time(ledger: Ledger, sku: str) -> Prefix:
        part = ledger.partition_of(sku)
        ends = min(place.reach.complete_until for place in ledger.places(part).values())
        return Prefix(ledger.until(part, rng.randrange(first, min(last, ends))))

    def recorded(ledger: Ledger, sku: str, location: str) -> object:
        return ledger.row(sku, location, cut_at_time(ledger, sku))

    def position(ledger: Ledger, sku: str, location: str) -> object:
        part = ledger.partition_of(sku)
        offsets = {topic: rng.randrange(end) for topic, end in ledger.now(part).items() if end}
        return ledger.row(sku, location, Prefix(ledger.at(part, offsets)))

    def occurred(ledger: Ledger, sku: str, location: str) -> object:
        until = rng.randint(*happened[sku, location])
        return ledger.row(sku, location, Prefix(ledger.now(ledger.partition_of(sku)), until))

    def page(ledger: Ledger, sku: str, location: str) -> object:
        prefix = Prefix(ledger.now(ledger.partition_of(sku)))
        wish = Wish(sku, location, prefix, since=rng.randrange(first, last), limit=50)
        return leaf(ledger, wish._replace(newest_first=rng.random() < 0.5))

    return {
        "as of a recorded time": recorded,
        "at a position": position,
        "as of an occurred time": occurred,
        "a page of 50 of the timeline": page,
    }


def _measured(
    history: History,
    what: str,
    of: str,
    asks: Sequence[tuple[Callable[[Ledger, str, str], object], Sequence[str]]],
) -> Answered:
    took = []
    for ask, (sku, location) in asks:
        began = time.perf_counter()
        with history.look() as ledger:
            ask(ledger, sku, location)
        took.append(time.perf_counter() - began)
    return _answered(what, of, took)


def _answered(what: str, of: str, took: list[float]) -> Answered:
    took.sort()
    p50_ms, p99_ms = (1000 * took[int(share * (len(took) - 1))] for share in (0.5, 0.99))
    return Answered(what, of, p50_ms, p99_ms, len(took))
