"""Rows that are sums of their events, as lines of numbers in one array.

A partition's cache of them, and of what is not stored yet: a few hundred events are added in
a few calls, whatever rows they touch.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from core.projection import Load, NotARow

#: Rows that a partition keeps in memory, changed ones aside: about 250 bytes each.
MAX_CACHED_ROWS: Final = 50_000
_FIRST_LINES: Final = 256

#: The numbers of one row, in the order of its fields.
RowNumbers: TypeAlias = tuple[int, ...]


class Changed(Struct, frozen=True):
    """Rows as they were when they were taken: keys, a line for each, and how to write lines.

    new: those of the keys that the store has no row of.
    """

    keys: list[bytes]
    lines: NDArray[np.void]
    write: Callable[[list[RowNumbers]], Iterable[bytes]]
    new: list[bytes] = []

    def encoded(self, size: int) -> Iterator[dict[bytes, bytes]]:
        """Rows as they are written, `size` at a time: 1,000 take about a millisecond."""
        for first in range(0, len(self.keys), size):
            rows = self.write(self.lines[first : first + size].tolist())
            yield dict(zip(self.keys[first : first + size], rows, strict=True))


class Sums:
    """The rows of one partition that are in memory.

    One array of lines, and the place of each key in it.

    Args:
        line: a row: a field of 8 bytes for each number, signed or not.
        read: a stored row's numbers. Raises ValueError where it is none.
        write: rows as they are stored, for many at once.
        empty: the store has no rows.
        max_rows: kept, beside those that were changed since or by the last `take`.
    """

    def __init__(
        self,
        line: np.dtype[Any],
        read: Callable[[bytes], RowNumbers],
        write: Callable[[list[RowNumbers]], Iterable[bytes]],
        *,
        empty: bool = False,
        max_rows: int = MAX_CACHED_ROWS,
    ) -> None:
        self._line, self._read, self._write = line, read, write
        self._width = line.itemsize // 8
        self.max_rows = max_rows
        # A table that is counted from the first event on need not ask the store for rows
        # that cannot be there; until some of them leave memory.
        self.all_in_memory = empty
        self._places: dict[bytes, int] = {}
        self._keys: list[bytes] = []  # by place
        self._free: list[int] = []
        self._lines = np.zeros(_FIRST_LINES, line)
        self._changed = np.zeros(_FIRST_LINES, np.bool_)
        #: By place: whether the store has a row of it, or will have with what `take` gave last.
        self._stored = np.zeros(_FIRST_LINES, np.bool_)
        self._travelling: NDArray[np.intp] = np.empty(0, np.intp)

    def __iter__(self) -> Iterator[bytes]:
        """Keys, those that came first first."""
        return iter(self._places)

    def get(self, key: bytes) -> RowNumbers | None:
        """A row as folded so far, if in memory."""
        place = self._places.get(key)
        return None if place is None else self._lines[place].item()

    def change(self, keys: Sequence[bytes], load: Load) -> NDArray[np.intp]:
        """Say which rows change; returns, for each key, what `add` and `keep_greatest` ask for.

        Args:
            keys: a row may come several times.
            load: asked for the rows that are not in memory.

        Raises:
            NotARow: what it gave is no row.
        """
        places = self._places_of(keys, load)
        self._changed[places] = True
        return places * self._width

    def add(self, rows: NDArray[np.intp], field: Any, amounts: Any) -> None:
        """Add to a field of each row, modulo 2^64, as all of numpy's sums.

        Args:
            rows: as `change` gave them, and before it is called again.
            field: its number from 0 on; one for all rows, or one for each.
            amounts: 64 bits wide; one for all rows, or one for each.
        """
        np.add.at(self._lines.view(np.int64), rows + field, amounts)

    def keep_greatest(self, rows: NDArray[np.intp], field: Any, values: Any) -> None:
        """As `add`, but of a field's number and these the greatest is kept."""
        np.maximum.at(self._lines.view(np.int64), rows + field, values)

    def _places_of(self, keys: Sequence[bytes], load: Load) -> NDArray[np.intp]:
        places = self._places
        found = list(map(places.get, keys))
        missing = [i for i, place in enumerate(found) if place is None]
        if missing:
            self._load(list(dict.fromkeys(keys[i] for i in missing)), load)
            for i in missing:
                found[i] = places[keys[i]]
        return np.array(found, np.intp)

    def _load(self, keys: list[bytes], load: Load) -> None:
        """Bring these rows into memory; none of them is there, and none comes twice."""
        places = self._new_places(keys)
        self._lines[places] = 0
        self._stored[places] = False
        if not self.all_in_memory:
            stored = load(keys)
            try:
                for place, row in zip(places, stored, strict=True):
                    if row is not None:
                        self._lines[place] = self._read(row)
                        self._stored[place] = True
            except ValueError as error:
                raise NotARow(str(error)) from error
        self._places.update(zip(keys, places, strict=True))

    def _new_places(self, keys: list[bytes]) -> list[int]:
        """Places for these keys: freed ones first, then new ones at the end."""
        kept = max(0, len(self._free) - len(keys))
        places, self._free = self._free[kept:], self._free[:kept]
        for place, key in zip(places, keys, strict=False):
            self._keys[place] = key
        first = len(self._keys)
        self._keys += keys[len(places) :]
        places += range(first, len(self._keys))
        if len(self._keys) > self._lines.size:
            more = max(self._lines.size // 2, len(self._keys) - self._lines.size)
            self._lines = np.concatenate([self._lines, np.zeros(more, self._line)])
            self._changed = np.concatenate([self._changed, np.zeros(more, np.bool_)])
            self._stored = np.concatenate([self._stored, np.zeros(more, np.bool_)])
        return places

    def take(self) -> Changed:
        """Take what was changed since the last call, to be written; adding may go on.

        Says that the rows of the last call are in the store: those that were not changed
        again can leave memory now and be loaded later.
        """
        changed = np.flatnonzero(self._changed)
        self._changed[changed] = False
        self._travelling = changed
        keys = [self._keys[place] for place in changed.tolist()]
        new = [self._keys[place] for place in changed[~self._stored[changed]].tolist()]
        self._stored[changed] = True
        taken = Changed(keys, self._lines[changed], self._write, new)
        self._trim()
        return taken

    def gone(self, keys: Iterable[bytes]) -> None:
        """Of what `take` gave last, these rows are not written but deleted."""
        for key in keys:
            if (place := self._places.get(key)) is not None:
                self._stored[place] = False

    def _trim(self) -> None:
        """Once there are too many, forget a quarter: those that came first and are stored."""
        places = self._places
        if len(places) - self._travelling.size <= self.max_rows:
            return
        self.all_in_memory = False
        travelling = set(self._travelling.tolist())
        stored = (key for key, place in places.items() if place not in travelling)
        for key in list(islice(stored, len(places) - self.max_rows * 3 // 4)):
            self._free.append(places.pop(key))
