"""What became of a batch of facts, as its future tells."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from core.words import in_words


def first_offset(batch: asyncio.Future[Any]) -> int | None:
    """Of its first record; None: it is not in the log, not yet, or nobody knows where."""
    if not batch.done() or batch.cancelled() or batch.exception() is not None:
        return None
    metadata = batch.result()
    # The broker knew the batch but no longer its offset: aiokafka then counts from -1
    # (producer/sender.py, DuplicateSequenceNumber). It is in; we cannot say where, so the
    # caller may send it again.
    is_lost = metadata is None or metadata.log_start_offset == -1
    return None if is_lost else int(metadata.offset)


def why_refused(batches: Iterable[asyncio.Future[Any]]) -> str:
    """A sentence: of the first one that failed, if any did."""
    errors = (each.exception() for each in batches if each.done() and not each.cancelled())
    first = next((error for error in errors if error is not None), None)
    why = "no position was given" if first is None else in_words(first)
    return f"Kafka refused: {why}."
