"""What a set of rules is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from domain.events import StockEvent
from domain.reading import Reader

#: What events do: for each the number of the row's field that changes, and by how much.
Effects: TypeAlias = Callable[[Sequence[StockEvent]], tuple[list[int], list[int]]]


class RuleSet(Reader):
    """How a version reads records, and what it does with them. Never changed once released.

    Common to all sets are the checks (`domain/checks.py`), the checksum, the ids that are made
    from an Idempotency-Key, and the duplicates window; what a type asks of its data never
    changes either (`domain/schemas.py`).

    Args:
        number: in the changelog and in every heartbeat; another number is another version.
        events: the types that it knows, by name.
        effects: of events of these types.
    """

    def __init__(
        self, number: int, events: Mapping[str, type[StockEvent]], effects: Effects
    ) -> None:
        super().__init__(events)
        self.number = number
        self.effects = effects
