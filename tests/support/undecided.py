"""`python -m tests.support.undecided ARGUMENTS`: faust, killed within its third large transaction.

All records of that one are in the log, and nobody has said yet whether they count.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from itertools import count

from faust.cli.faust import cli

from wire.transactions import RecordBatch, TransactionalProducer

DECIDED, MANY = 2, 20

_commit = TransactionalProducer.commit
_begun = count()


async def _commit_or_die(
    producer: TransactionalProducer,
    batches: Sequence[RecordBatch],
    check: Callable[[Sequence[int]], None] = lambda offsets: None,
) -> list[int]:
    def die(offsets: Sequence[int]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if sum(batch.size for batch in batches) >= MANY and next(_begun) >= DECIDED:
        check = die
    return await _commit(producer, batches, check)


if __name__ == "__main__":
    TransactionalProducer.commit = _commit_or_die  # type: ignore[assignment,method-assign]
    sys.exit(cli())
