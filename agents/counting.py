"""The agent of a table: shipments, sales and adjustments become stock, words become counts.

One agent reads all source topics of its table, so that one stream sees a partition's batches
in the order in which they were fetched. Decoding, checking and folding are pure functions of
the projection; writing is the table's business. What is left is the order: fold, let the
group commit carry it, free the batch's memory.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agents.streams import agent_of
from core.words import in_words
from tables.decoder import Batch
from tables.ports import Fail
from tables.table import Table


def counting_agent(table: Table, fail: Fail) -> Callable[[Any], Awaitable[None]]:
    """The function that `app/counting/parts.py` registers as a Faust agent.

    Args:
        table: where the events go.
        fail: ends the worker.
    """
    return agent_of(table.fold, fail, _could_not)


def _could_not(batch: Batch, error: Exception) -> str:
    return (
        f"A batch of {batch.address.topic}-{batch.address.partition}, offsets "
        f"{batch.start} to {batch.next_offset - 1} could not be folded: {in_words(error)}."
    )
