"""The agent: shipments, sales and adjustments become stock.

One agent reads all three source topics, so that one stream sees a partition's batches
in the order in which they were fetched. Decoding, checking and folding are pure
functions in `domain/`; writing is the table's business. What is left is the order:
fold, let the group commit carry it, free the batch's memory.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

from core.words import in_words
from tables.decoder import Batch
from tables.ports import Fail
from tables.stock import InventoryTable

log = logging.getLogger(__name__)


def inventory_agent(table: InventoryTable, fail: Fail) -> Callable[[Any], Awaitable[None]]:
    """The function that `app/wiring.py` registers as a Faust agent.

    Args:
        table: where the events go.
        fail: ends the worker. An exception here is a bug, not a refusal: Faust would
            acknowledge the batch and go on (FS#527), so it must never see one.
    """

    async def inventory(stream: Any) -> None:
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

    return inventory
