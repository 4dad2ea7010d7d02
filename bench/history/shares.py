"""Where the CPU of an event goes in a ledger, step by step: of the thread that judges and writes.

What a database's own process does is told as one number, and what it does at the end of a build
as another. The clock is the thread's, so other load moves it little.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

import psutil
from sqlalchemy import text

import ledger.books
import ledger.writing
from bench.history.log import Batch
from bench.history.writers import OurLedger

#: Which function is which step; what one calls of the others is not counted twice.
_STEPS: Final[Sequence[tuple[Any, str, str]]] = (
    (ledger.books, "examined", "decode and check"),
    (ledger.books.Book, "_judge", "window"),
    (ledger.books, "written_of", "lines"),
    (ledger.books, "linked_all", "chain"),
    (ledger.books.Book, "enter", "the rest of a book"),
    (ledger.writing, "changes_of", "sums of rows"),
    (ledger.writing, "check_ranges", "ranges"),
    (ledger.writing, "append", "lines to the database"),
    (ledger.writing, "add_totals", "sums to the database"),
    (ledger.writing, "fence", "fence"),
    (ledger.writing.LedgerWriter, "commit", "begin and commit"),
    (OurLedger, "finish", "sums and indexes at the end"),
)


@contextmanager
def _counted() -> Iterator[Counter[str]]:
    """CPU seconds by step, while this lasts."""
    used: Counter[str] = Counter()
    inside = [0.0]

    def step(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **named: Any) -> Any:
            began = time.thread_time()
            inside.append(0.0)
            try:
                return function(*given, **named)
            finally:
                took = time.thread_time() - began
                used[name] += took - inside.pop()
                inside[-1] += took

        return timed

    with ExitStack() as stack:
        for owner, attribute, name in _STEPS:
            stack.enter_context(
                patch.object(owner, attribute, step(name, getattr(owner, attribute)))
            )
        yield used


def shares(url: str, log: Sequence[Batch], built_from: int) -> dict[str, float]:
    """µs of an event by step, most first; `built_from` as `OurLedger` has it."""
    events = sum(len(records) for batch in log for records in batch.values())
    side = OurLedger(url, built_from=built_from)
    server = None
    if side.engine.dialect.name == "postgresql":
        with side.engine.begin() as connection:
            pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        server = psutil.Process(pid)
    try:
        with _counted() as used:
            at_first = _cpu_s(server)
            for batch in log:
                side.write(batch)
            written = _cpu_s(server)
            side.finish()
            at_last = _cpu_s(server)
    finally:
        side.close()
    if server is not None:
        used["PostgreSQL, batches"] = written - at_first
        used["PostgreSQL, sums and indexes at the end"] = at_last - written
    return {step: used_s / events * 1e6 for step, used_s in used.most_common()}


def _cpu_s(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)
