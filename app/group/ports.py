"""What this room asks of the worker that it belongs to; `app.service.OnhandApp` is one.

The classes here are hung into Faust, which hands them its `app`. Of that they may use what
stands below and nothing else: first what is ours, then what Faust's own `App` has.
"""

from __future__ import annotations

from typing import Any, Protocol

import faust

from app.config import Settings
from wire.fetch import Fetched


class BatchMaker(Protocol):
    """Makes of what was fetched what its agent takes: `tables.decoder.Decoder` is one."""

    def batch(
        self,
        topic: str,
        partition: int,
        part: Fetched,
        epoch: int,
        more: bool = False,
        here: bool = False,
    ) -> Any:
        """One partition's; `nbytes` of it says how large it is.

        more: another one of this partition follows at once, for the same reader. here: ask no
        other process to decode it.
        """


class Worker(Protocol):
    """The worker, as the consumer, the assignor and the assignment see it.

    source_topics: their full names. starts_anew: when it has stopped, it is started once more.
    """

    settings: Settings
    source_topics: tuple[str, ...]
    starts_anew: bool

    @property
    def decoder(self) -> BatchMaker:
        """Makes batches of what was fetched."""

    def reader_of(self, topic: str) -> str:
        """Name of the one who counts a topic; several may live in one worker."""

    async def stand_still(self, topic: str, partition: int, sentence: str) -> None:
        """A source has lost what its reader would read next of this partition."""

    async def may_join(self) -> None:
        """Return once this worker may be a member of the group."""

    def most_events_per_s(self) -> int:
        """What it may take in now; 0: as much as comes."""

    async def fail(self, sentence: str, error: BaseException | None) -> None:
        """End the worker now, with one sentence."""

    async def on_assigned(
        self, actives: set[int], standbys: set[int], warming: frozenset[int]
    ) -> None:
        """After a rebalance.

        Args:
            actives: partitions to own.
            standbys: those to stand by for.
            warming: those of them to own once their rows are here.
        """

    async def on_revoked(self) -> None:
        """Before a rebalance: give up what is owned."""

    def copies(self) -> dict[int, int]:
        """The changelog offset of each partition in its store; asked in the consumer's thread."""

    def group_offsets(self) -> dict[tuple[str, int], int]:
        """What lag tools are told, by topic and partition."""

    # ---- of Faust's App; Any where Faust's own types say less than what we put there

    conf: faust.Settings
    on_rebalance_complete: Any

    @property
    def assignor(self) -> Any:
        """OnhandAssignor."""

    @property
    def consumer(self) -> Any:
        """BatchConsumer, once Faust has made it."""

    @property
    def topics(self) -> Any:
        """BatchConductor."""

    @property
    def flow_control(self) -> Any:
        """Lets streams go on."""

    @property
    def _fetcher(self) -> Any: ...

    @property
    def should_stop(self) -> bool:
        """Faust is ending."""

    @property
    def consumer_generation_id(self) -> int:
        """Of the consumer group, as of the last rebalance."""

    def create_event(self, key: Any, value: Any, headers: Any, message: Any) -> Any:
        """Faust's envelope of a message."""

    def on_rebalance_end(self) -> None:
        """Tell Faust's sensors."""
