"""`onhand`, or Faust's worker, killed at a moment.

`python -m tests.support.breaking.failing COMMAND…` runs it.
ONHAND_FAIL_AT names it: a step of the record of versions, as `wire.control.reached` is told it;
or a transaction that spans topics. `open 3` is where all of the third is written and nobody was
asked to commit it, `done 3` where Kafka has committed it and who asked does not know yet.
"""

import itertools
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from wire import control
from wire.transactions import RecordBatch, TransactionalProducer

VARIABLE = "ONHAND_FAIL_AT"


def die(*_: object) -> None:
    """`kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(step: str) -> None:
    """As this step is reached."""
    if step == os.environ[VARIABLE]:
        die()


def die_in_transaction(when: str, nth: int, records: int = 0) -> None:
    """In the nth one of so many records or more, or behind it."""
    commit, count = TransactionalProducer.commit, itertools.count(1)

    async def dying(
        producer: TransactionalProducer, batches: Sequence[RecordBatch], *check: Any
    ) -> list[int]:
        spans = len({batch.tp.topic for batch in batches}) > 1
        size = sum(batch.size for batch in batches)
        is_last = spans and size >= records and next(count) == nth
        offsets = await commit(producer, batches, *([die] if is_last and when == "open" else check))
        if is_last:
            die()
        return offsets

    TransactionalProducer.commit = dying  # type: ignore[method-assign,assignment]


def main() -> None:
    """Run it, until it dies."""
    when, _, nth = os.environ[VARIABLE].partition(" ")
    if nth:
        die_in_transaction(when, int(nth))
    else:
        control.reached = die_at
    if sys.argv[1] == "-A":
        from faust.cli.faust import cli

        cli()
    else:
        from app.commands import main as onhand

        sys.exit(onhand())


if __name__ == "__main__":
    main()
