"""What is on hand of one SKU at one location, and such rows in a partition's memory."""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, starmap
from typing import Final, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

#: Rows that a partition keeps in memory, changed ones aside: about 250 bytes each.
MAX_CACHED_ROWS: Final = 50_000
_encode = msgspec.json.Encoder().encode


class Row(Struct, frozen=True, omit_defaults=True, gc=False):
    """Stock of one SKU at one location: sums of its events, nothing of a worker's own.

    The first five fields are the sums of quantities, in the order of the events' `kind`.
    events: how many were applied. checksum: sum of CRC-32 of `source NUL id` of each,
    mod 2^64; with `events` it finds a lost or doubled one. updated_at: greatest recorded
    time of its events, ms since the epoch. As JSON this is the changelog's and the
    store's value.
    """

    received: int = 0
    dispatched: int = 0
    sold: int = 0
    returned: int = 0
    adjusted: int = 0
    events: int = 0
    checksum: int = 0
    updated_at: int = 0

    @property
    def on_hand(self) -> int:
        """Below zero where a sale came before its shipment."""
        return self.received - self.dispatched - self.sold + self.returned + self.adjusted


NO_STOCK: Final = Row()

Load: TypeAlias = Callable[[list[bytes]], Sequence[Row | None]]


def row_key(sku: str, location: str) -> bytes:
    """Key in the changelog and the store: all rows of a SKU are neighbours."""
    return f"{sku}\x00{location}".encode()


def split_key(key: bytes) -> tuple[str, str]:
    """Undo `row_key`; names hold no NUL."""
    sku, _, location = key.decode().partition("\x00")
    return sku, location


# A row as 64 bytes, one line of the processor's cache. A sum overflows after nine
# billion events of the greatest quantity.
_LINE: Final = np.dtype(
    [(name, "<u8" if name == "checksum" else "<i8") for name in Row.__struct_fields__]
)
_WIDTH: Final = len(Row.__struct_fields__)
_EVENTS, _CHECKSUM, _UPDATED_AT = map(
    Row.__struct_fields__.index, ("events", "checksum", "updated_at")
)
_FIRST_LINES = 256


class Changed(Struct, frozen=True):
    """Rows as they were when they were taken: keys, and a line for each."""

    keys: list[bytes]
    lines: NDArray[np.void]

    def encoded(self, size: int) -> Iterator[dict[bytes, bytes]]:
        """Rows as they are written, `size` at a time: 1,000 take about a millisecond."""
        for first in range(0, len(self.keys), size):
            rows = starmap(Row, self.lines[first : first + size].tolist())
            yield dict(zip(self.keys[first : first + size], map(_encode, rows), strict=True))


class Rows:
    """The rows of one partition that are in memory: its cache, and what is not stored yet.

    One array of lines, and the place of each key in it: a few hundred events are then added
    in a few calls, whatever rows they touch.

    Args:
        max_rows: kept, beside those that were changed since or by the last `take`.
    """

    def __init__(self, max_rows: int = MAX_CACHED_ROWS) -> None:
        self.max_rows = max_rows
        # A table that is counted from the first event on need not ask the store for rows
        # that cannot be there; until some of them leave memory.
        self.all_in_memory = False
        self._places: dict[bytes, int] = {}
        self._keys: list[bytes] = []  # by place
        self._free: list[int] = []
        self._lines = np.zeros(_FIRST_LINES, _LINE)
        self._changed = np.zeros(_FIRST_LINES, np.bool_)
        self._travelling: NDArray[np.intp] = np.empty(0, np.intp)

    def __iter__(self) -> Iterator[bytes]:
        """Keys, those that came first first."""
        return iter(self._places)

    def get(self, key: bytes) -> Row | None:
        """A row as folded so far, if in memory."""
        place = self._places.get(key)
        return None if place is None else Row(*self._lines[place].item())

    def add(self, keys: Sequence[bytes], events: NDArray[np.void], load: Load) -> None:
        """The rule: each event adds its quantity to its kind's column of its row.

        Args:
            keys: of the rows; a row may come several times.
            events: for each key a line of `domain.columns.EVENT`.
            load: asked for the rows that are not in memory.
        """
        places = self._places_of(keys, load)
        numbers, at = self._lines.view(np.int64), places * _WIDTH
        np.add.at(numbers, at + events["kind"], events["quantity"].astype(np.int64))
        np.add.at(numbers, at + _EVENTS, 1)
        # Modulo 2^64, as all of numpy's sums.
        np.add.at(numbers, at + _CHECKSUM, events["crc"].astype(np.int64))
        np.maximum.at(numbers, at + _UPDATED_AT, events["time_ms"])
        self._changed[places] = True

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
        if not self.all_in_memory:
            for place, row in zip(places, load(keys), strict=True):
                if row is not None:
                    self._lines[place] = msgspec.structs.astuple(row)
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
            self._lines = np.concatenate([self._lines, np.zeros(more, _LINE)])
            self._changed = np.concatenate([self._changed, np.zeros(more, np.bool_)])
        return places

    def take(self) -> Changed:
        """Take what was changed since the last call, to be written; adding may go on.

        Says that the rows of the last call are in the store: those that were not changed
        again can leave memory now and be loaded later.
        """
        changed = np.flatnonzero(self._changed)
        self._changed[changed] = False
        self._travelling = changed
        taken = Changed([self._keys[place] for place in changed.tolist()], self._lines[changed])
        self._trim()
        return taken

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
