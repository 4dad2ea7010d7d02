"""Faust's assignment, handed to InventoryTable; Faust's own recovery stays unused.

`app/group/assignor.py` places source partitions, changelog partitions and standbys; Faust
subscribes to the changelog because a Faust table names it. Everything that Faust would
then do with that table (restore, follow, write) is InventoryTable's business.

Private names of faust-streaming 0.15.3: see `app/group/transport.py`.
"""

from __future__ import annotations

from typing import Any

import faust
from faust.stores.memory import Store as FaustStore
from faust.tables.manager import TableManager
from faust.tables.table import Table
from faust.types import TP

from app.group.ports import Worker
from app.group.transport import FAUST_LOG


class ChangelogTable(Table[bytes, bytes]):
    """Tells Faust which changelog belongs to the sources. Holds nothing.

    `faust tables` lists it; rows are read through InventoryTable.
    """

    logger = FAUST_LOG

    def __init__(self, app: faust.App, *, changelog: str, partitions: int, **options: Any) -> None:
        topic = app.topic(
            changelog, key_type=bytes, value_type=bytes, partitions=partitions, internal=False
        )
        super().__init__(
            app,
            changelog_topic=topic,
            partitions=partitions,
            key_type=bytes,
            value_type=bytes,
            **options,
        )

    def _new_store(self) -> FaustStore[bytes, bytes]:
        return FaustStore("memory://", self.app, self, key_type=bytes, value_type=bytes)

    async def on_start(self) -> None:
        """Nothing to open and nothing to declare."""

    async def on_rebalance(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to open."""


class AssignmentError(Exception):
    """The group's assignment does not keep a partition's topics together."""


class PartitionManager(TableManager):
    """Takes Faust's place between a finished rebalance and the first record."""

    logger = FAUST_LOG
    app: Worker  # type: ignore[assignment]  # Faust's App, and ours

    async def on_start(self) -> None:
        # Upstream sleeps a second here and starts its recovery service.
        await self._update_channels()

    async def _update_channels(self) -> None:
        self._tables_finalized.set()
        for table in self.values():
            if table not in self._channels:
                # Subscribing to the changelog is what makes the assignor place it.
                channel = table.changelog_topic.clone_using_queue(self.changelog_queue)
                self.app.topics.add(channel)
                self._channels[table] = channel
            await table.maybe_start()
        self._tables_registered.set()

    def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Done in BatchConsumer.on_partitions_revoked, which can be awaited."""

    async def on_rebalance(
        self, assigned: set[TP], revoked: set[TP], newly_assigned: set[TP], generation_id: int = 0
    ) -> None:
        app = self.app
        self._recovery_started.set()
        if generation_id != app.consumer_generation_id:
            return  # a newer assignment is on its way
        try:
            await self._hand_over(assigned)
        except Exception as error:
            # Faust would crash in its orderly way, which commits on the way out.
            await app.fail(f"The assignment cannot be served: {error}.", error)
        app.flow_control.resume()
        app.consumer.start_anew()
        app.consumer.resume_flow()
        await app._fetcher.maybe_start()
        await app.on_rebalance_complete.send()
        self.on_actives_ready()
        self.on_standbys_ready()
        # After the caller has said that the rebalance returned: its sensors want that order.
        self.loop.call_soon(app.on_rebalance_end)

    async def _hand_over(self, assigned: set[TP]) -> None:
        app = self.app
        actives = self._partitions(app.assignor.assigned_actives())
        standbys = self._partitions(app.assignor.assigned_standbys())
        self._check_together(assigned, actives)
        await app.on_assigned(actives, standbys - actives, app.assignor.warming())

    def _partitions(self, tps: set[TP]) -> set[int]:
        return {tp.partition for tp in tps if tp.topic in self._changelogs}

    def _check_together(self, assigned: set[TP], actives: set[int]) -> None:
        """The leader may be of another release, or this worker the only one with its topics."""
        app = self.app
        mine = {*app.source_topics, *self._changelogs}
        if unread := sorted(mine - app.assignor.placed_topics()):
            raise AssignmentError(
                f"The other workers of this group do not read {', '.join(unread)}. Workers of "
                "one ONHAND_NAME and ONHAND_VERSION must have one ONHAND_TOPIC_PREFIX"
            )
        for topic in app.source_topics:
            given = {tp.partition for tp in assigned if tp.topic == topic}
            if given != actives:
                raise AssignmentError(
                    f"The group gave this worker partitions {sorted(given)} of {topic} but "
                    f"{sorted(actives)} of the changelog. Workers of other releases must have "
                    "another ONHAND_VERSION."
                )
