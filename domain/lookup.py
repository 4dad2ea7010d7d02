"""What a question about stock can come to."""

from typing import TypeAlias

from msgspec import Struct

from core.stages import Freshness
from domain.rows import Row


class Found(Struct, frozen=True):
    """A row."""

    sku: str
    location: str
    row: Row
    freshness: Freshness


class NotFound(Struct, frozen=True):
    """No event up to `freshness.position` has named this SKU at this location."""

    sku: str
    location: str
    freshness: Freshness


class NotReady(Struct, frozen=True):
    """Nobody who holds the partition can answer now.

    between_owners: only since the next owner is not known yet: a moment later somebody can.
    """

    detail: str
    retry_after_s: int
    between_owners: bool = False


class NotCaughtUp(Struct, frozen=True):
    """`min_position` was not reached in time."""

    detail: str
    retry_after_s: int


class TooStale(Struct, frozen=True):
    """Every answer at hand is further behind than `max_lag_events`."""

    detail: str
    retry_after_s: int


class TooBusy(Struct, frozen=True):
    """So many wait for a position already that this one may not."""

    detail: str
    retry_after_s: int


Lookup: TypeAlias = Found | NotFound | NotReady | NotCaughtUp | TooStale | TooBusy
