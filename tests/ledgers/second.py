"""A second ledger process. `python -m tests.ledgers.second race|freeze URL …`."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import psycopg

from dev.oracle.stock import Record
from ledger.writing import FencedOut
from tests.ledgers.kept import Kept, in_batches
from tests.ledgers.logs import a_log


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
