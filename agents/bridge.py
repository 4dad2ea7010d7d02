"""The agent of a bridge: foreign records become facts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agents.carrying import Bridge, ForeignBatch
from tables.ports import Fail


def bridge_agent(bridge: Bridge, fail: Fail) -> Callable[[Any], Awaitable[None]]:
    """The function that `app/bridge/wiring.py` registers as a Faust agent.

    Args:
        bridge: where the records go.
        fail: ends the worker. An exception here is a bug, not a refusal: Faust would
            acknowledge the batch and go on (FS#527), so it must never see one.
    """

    async def carry(stream: Any) -> None:
        async for event in stream.noack().events():
            batch: ForeignBatch = event.value
            try:
                await bridge.take(batch)
            except Exception as error:
                await fail(
                    f"A batch of partition {batch.partition}, offsets {batch.start} to "
                    f"{batch.next_offset - 1}, could not be carried: {error!r}.",
                    error,
                )
                return
            event.ack()

    return carry
