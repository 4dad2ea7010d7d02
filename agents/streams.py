"""How every agent of ours reads its stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from tables.ports import Fail

_Batch = TypeVar("_Batch")


def agent_of(
    take: Callable[[_Batch], Awaitable[None]],
    fail: Fail,
    told: Callable[[_Batch, Exception], str],
) -> Callable[[Any], Awaitable[None]]:
    """The function that is registered as a Faust agent: batch after batch, each in its turn.

    Args:
        take: does what is to be done with one.
        fail: ends the worker. An exception here is a bug, not a refusal: Faust would
            acknowledge the batch and go on (FS#527), so it must never see one.
        told: the sentence for it.
    """

    async def each(stream: Any) -> None:
        async for event in stream.noack().events():
            try:
                await take(event.value)
            except Exception as error:
                await fail(told(event.value, error), error)
                return
            event.ack()

    return each
