"""The agent of a bridge: foreign records become facts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agents.carried import ForeignBatch
from agents.carrying import Bridge
from agents.streams import agent_of
from tables.ports import Fail


def bridge_agent(bridge: Bridge, fail: Fail) -> Callable[[Any], Awaitable[None]]:
    """The function that `app/bridge/wiring.py` registers as a Faust agent.

    Args:
        bridge: where the records go.
        fail: ends the worker.
    """
    return agent_of(bridge.take, fail, _could_not)


def _could_not(batch: ForeignBatch, error: Exception) -> str:
    return (
        f"A batch of partition {batch.partition}, offsets {batch.start} to "
        f"{batch.next_offset - 1}, could not be carried: {error!r}."
    )
