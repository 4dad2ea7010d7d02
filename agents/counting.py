"""The agent of a table: shipments, sales and adjustments become stock, words become counts.

One agent reads all source topics of its table, so that one stream sees a partition's batches
in the order in which they were fetched. Decoding, checking and folding are pure functions of
the projection; writing is the table's business. What is left is the order: fold, let the
group commit carry it, free the batch's memory.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from core.words import in_words
from tables.decoder import Batch
from tables.ports import Fail
from tables.table import Table

log = logging.getLogger(__name__)


def counting_agent(table: Table, fail: Fail) -> Callable[[Any], Awaitable[None]]:
    """The function that `app/wiring.py` registers as a Faust agent.

    Args:
        table: where the events go.
        fail: ends the worker. An exception here is a bug, not a refusal: Faust would
            acknowledge the batch and go on (FS#527), so it must never see one.
    """

    async def count(stream: Any) -> None:
        async for event in stream.noack().events():
            batch: Batch = event.value
            try:
                await table.fold(batch)
            except Exception as error:
                await fail(
                    f"A batch of {batch.address.topic}-{batch.address.partition}, offsets "
                    f"{batch.start} to {batch.next_offset - 1} could not be folded: "
                    f"{in_words(error)}.",
                    error,
                )
                return
            event.ack()

    return count
