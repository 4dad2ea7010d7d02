"""What came lately, and what was made of it: for columns whose values come again and again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Lately(dict[K, V]):
    """Makes of a key what `make` does, which depends on the key alone; forgets when it is full."""

    MOST: Final = 2**15

    def __init__(self, make: Callable[[K], V]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, key: K) -> V:
        if len(self) >= self.MOST:
            self.clear()
        self[key] = made = self._make(key)
        return made
