"""A second ledger process. `python -m tests.ledgers.second race|freeze URL …`."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil
import psycopg

from dev.oracle.stock import Record
from dev.workers import ROOT
from ledger.writing import FencedOut
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import a_log

DEADLINE_S = 120


def second(what: str, kept: Kept, seed: int, count: int) -> subprocess.Popen[str]:
    """Start one on the same database."""
    url = kept.url.render_as_string(hide_password=False)
    command = [sys.executable, "-m", "tests.ledgers.second", what, url, str(seed), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@contextmanager
def frozen_inside_copy(kept: Kept, seed: int, count: int) -> Iterator[subprocess.Popen[str]]:
    """A second ledger that sleeps with half of its lines sent; killed at the end."""
    frozen = second("freeze", kept, seed=seed, count=count)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while psutil.Process(frozen.pid).status() != psutil.STATUS_STOPPED:
            assert frozen.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield frozen
    finally:
        frozen.kill()
        frozen.communicate()


def race(kept: Kept, records: list[Record], size: int) -> int:
    """Write all of a log while others do the same; returns how often another one was quicker."""
    fenced = 0
    while True:
        left = [r for r in records if not _is_behind(kept, r)]
        if not left:
            return fenced
        for batch in in_batches(left, size):
            try:
                kept.feed(batch)
            except FencedOut:
                fenced += 1
                kept.restart()
                break


def _is_behind(kept: Kept, record: Record) -> bool:
    return record.offset < kept.books[record.partition][record.topic].reach.next_offset


def freeze(kept: Kept, records: list[Record]) -> None:
    """Stop inside COPY, behind the fence; then go on as if nothing had been."""
    copying: Any = psycopg.Copy
    postings, written = kept.postings(records), copying.write_row
    left = iter(range(len(records) // 2))

    def write_row(copy: Any, line: Sequence[Any]) -> None:
        if next(left, None) is None:
            copying.write_row = written
            os.kill(os.getpid(), signal.SIGSTOP)
        written(copy, line)

    copying.write_row = write_row
    kept.writer.commit(postings)


def main() -> None:
    what, url, seed, count = sys.argv[1:5]
    kept, records = Kept(url), a_log(int(seed), int(count))
    if what == "race":
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdout.write(str(race(kept, records, size=5)))
    else:
        freeze(kept, records)


if __name__ == "__main__":
    main()
