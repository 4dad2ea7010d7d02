"""Merge ordered rows of several partitions into one page, without scanning too much.

Each source gives its rows in order up to some key, its frontier; what lies beyond it
is not known yet. So a page may hold only rows up to the lowest frontier: a row beyond
it could come before one that was not seen. The page may then hold fewer rows than
`limit`, and its cursor goes on from the frontier.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from domain.rows import Row
from tables.home.store import StoreError
from tables.stock import StockReading
from web.http.pacing import Pacer
from web.reads.cursors import START, LastGiven, RowKey
from web.reads.parameters import Filters
from web.reads.replies import RowBody, row_body

#: Rows that a page may look at in each partition.
MAX_EXAMINED = 5000
#: Rows taken from the store at once; doubles from the first to the last, which takes
#: less than a millisecond. A short page reads little, a selective filter loses no time.
FIRST_CHUNK, LAST_CHUNK = 32, 256
#: The same where an index names the rows: each is a read of its own.
FIRST_NAMED = 16


class Source:
    """Ordered rows. `frontier`: all rows up to there are known; None for all there are."""

    def __init__(self, rows: Iterable[RowBody], frontier: LastGiven) -> None:
        self.frontier = frontier
        self._rows = deque(rows)

    async def head(self) -> RowBody | None:
        """The next row, without taking it; None if none is known before the frontier."""
        return self._rows[0] if self._rows else None

    def take(self) -> None:
        """Go beyond the head."""
        self._rows.popleft()

    def is_spent(self) -> bool:
        """Whether it certainly has nothing more."""
        return not self._rows and self.frontier is None


class Scan(Source):
    """Rows of one local partition that pass the filters, read in pieces as needed."""

    def __init__(
        self, table: StockReading, partition: int, place: RowKey, filters: Filters, pacer: Pacer
    ) -> None:
        super().__init__((), place)
        self._table = table
        self._partition = partition
        self._prefix, self._location = filters.sku_prefix, filters.location
        self._passes = passes(filters)
        self._pacer = pacer
        self._found: deque[tuple[str, str, Row]] = deque()
        self._examined = 0
        self._chunk = FIRST_CHUNK if filters.location is None else FIRST_NAMED
        #: The disk does not give the rows: `head` has raised StoreError.
        self.failed = False

    async def head(self) -> RowBody | None:
        """The next row, read from the store if need be; raises StoreError."""
        while not self._found and self.frontier is not None and self._examined < MAX_EXAMINED:
            await self._pacer.give_way()
            # The partition may have left this worker while others ran. Then the page ends
            # here, and the next one asks whoever has it.
            if self._table.freshness(self._partition) is None:
                self._examined = MAX_EXAMINED
                break
            after = None if self.frontier == START else self.frontier
            try:
                rows = self._read(after)
            except StoreError:
                self.failed = True
                raise
            self._found.extend(filter(self._passes, rows))
            self._chunk = min(2 * self._chunk, LAST_CHUNK)
        # Most of what is read is for a later page: made into bodies only as it is taken.
        return row_body(*self._found[0]) if self._found else None

    def _read(self, after: LastGiven) -> list[tuple[str, str, Row]]:
        """The next rows; moves the frontier to where they end."""
        if self._location is not None:
            named = self._table.at(
                self._partition, self._location, after, self._chunk, self._prefix
            )
            if named is not None:
                self._examined += self._chunk
                self.frontier = named.reached
                return named.rows
        rows = self._table.scan(self._partition, after, self._chunk, self._prefix)
        self._examined += len(rows)
        self.frontier = rows[-1][:2] if len(rows) == self._chunk else None
        return rows

    def take(self) -> None:
        """Go beyond the head."""
        self._found.popleft()

    def is_spent(self) -> bool:
        """Whether it certainly has nothing more."""
        return not self._found and self.frontier is None


async def merge(
    sources: Sequence[Source], limit: int, pacer: Pacer
) -> tuple[list[RowBody], LastGiven]:
    """At most `limit` rows in order, and the key up to which they are all there are.

    A source without a head holds its frontier against the others' rows.
    """
    heap: list[tuple[RowKey, int, RowBody | None]] = []

    async def push(index: int) -> None:
        source = sources[index]
        head = await source.head()
        if head is not None:
            heapq.heappush(heap, ((head.sku, head.location), index, head))
        elif source.frontier is not None:
            heapq.heappush(heap, (source.frontier, index, None))

    for index in range(len(sources)):
        await push(index)
    page: list[RowBody] = []
    while heap:
        key, index, row = heapq.heappop(heap)
        if row is None:
            return page, key
        page.append(row)
        sources[index].take()
        if len(page) == limit:
            return page, None if all(source.is_spent() for source in sources) else key
        await push(index)
        await pacer.give_way()
    return page, None


def passes(filters: Filters) -> Callable[[tuple[str, str, Row]], bool]:
    """The filters as one test of (sku, location, row); the prefix is the scan's."""
    location, below, above = filters.location, filters.on_hand_below, filters.on_hand_above

    def test(found: tuple[str, str, Row]) -> bool:
        if location is not None and found[1] != location:
            return False
        if below is None and above is None:
            return True
        on_hand = found[2].on_hand
        return (below is None or on_hand < below) and (above is None or on_hand > above)

    return test
