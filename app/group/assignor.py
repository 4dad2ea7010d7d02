"""Our placement of partitions, in the place that Faust has for its own assignor.

Kept from it: the protocol's name and what travels in it, so that workers with either one
can be in one group while a new release is rolled out, and Faust's pages go on. Added to
what a member says of itself: which rows it has, so that they are found again; and to what
the leader says: which partitions a member is to warm up.

Private names of faust-streaming 0.15.3: see `app/group/transport.py`. All of this runs in the
consumer's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)
from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from app.group.placement import Duties, Holdings, place
from app.group.ports import Worker

#: Name of a member while it is placed: its URL, so that a restart changes no tie, and its
#: member id, since two may claim one URL.
Member = tuple[str, str]
Topics = frozenset[str]


class WorkerMetadata(
    ClientMetadata, serializer="json", include_metadata=False, namespace="@ClientMetadata"
):
    """What a member tells the leader, and the leader each member.

    copies: the changelog offset of each partition in its store; not sent by the leader.
    warming: those of its standbys that it will own once it has their rows; by the leader.
    """

    copies: Mapping[str, int] = cast(Mapping[str, int], {})
    warming: list[int] = cast(list[int], [])


class OnhandAssignor(PartitionAssignor):
    """Asks `app.group.placement`; all topics of one partition number go together."""

    app: Worker  # type: ignore[assignment]  # Faust's App, and ours
    _warming: frozenset[int] = frozenset()

    def metadata(self, topics: set[str]) -> Any:
        """What this worker says of itself when it joins."""
        known = self._metadata
        said = WorkerMetadata(
            assignment=known.assignment,
            url=known.url,
            changelog_distribution=known.changelog_distribution,
            external_topic_distribution=known.external_topic_distribution,
            topic_groups=known.topic_groups,
            copies={str(partition): at for partition, at in self.app.copies().items()},
        )
        return ConsumerProtocolMemberMetadata(self.version, list(topics), said.dumps())

    @classmethod
    def _get_client_metadata(cls, metadata: Any) -> WorkerMetadata:
        return cast(WorkerMetadata, WorkerMetadata.loads(metadata.user_data))

    def _perform_assignment(self, cluster: Any, member_metadata: Mapping[str, Any]) -> Any:
        """Place each partition with all topics of the group.

        The count is the version's: every worker has held all topics to it at its start.
        """
        told = {name: self._get_client_metadata(said) for name, said in member_metadata.items()}
        self._update_member_urls(cast(Any, told))
        holdings = {(said.url, name): self._holdings(said) for name, said in told.items()}
        reads = {
            (url, name): frozenset(member_metadata[name].subscription) for url, name in holdings
        }
        topics = _topics(reads, holdings)
        readers = {member: held for member, held in holdings.items() if reads[member] == topics}
        duties = place(readers, self.app.conf.topic_partitions, self.replicas)
        assignments = {name: ClientAssignment(actives={}, standbys={}) for name in told}
        for (_, name), duty in duties.items():
            assignments[name] = ClientAssignment(
                actives={topic: sorted(duty.actives) for topic in sorted(topics)},
                standbys={topic: sorted(duty.standbys) for topic in sorted(topics)},
            )
        return self._told(assignments, {name: duty for (_, name), duty in duties.items()}, topics)

    def _told(
        self,
        assignments: Mapping[str, ClientAssignment],
        duties: Mapping[str, Duties],
        topics: Topics,
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """What each member is sent: as Faust's, and what it is to warm up."""
        changelogs = self._get_changelog_distribution(cast(Any, assignments))
        external = self._get_external_topic_distribution(cast(Any, assignments))
        told = {}
        for name, assignment in assignments.items():
            said = WorkerMetadata(
                assignment=assignment,
                url=self._member_urls[name],
                changelog_distribution=changelogs,
                external_topic_distribution=external,
                topic_groups=dict.fromkeys(sorted(topics), 0),
                warming=sorted(duties[name].warming) if name in duties else [],
            )
            told[name] = ConsumerProtocolMemberAssignment(
                self.version,
                sorted(assignment.kafka_protocol_assignment(self._table_manager)),
                self._compress(said.dumps()),
            )
        return told

    def on_assignment(self, assignment: Any) -> None:
        """What the leader tells this worker."""
        super().on_assignment(assignment)
        said = WorkerMetadata.loads(self._decompress(assignment.user_data))
        self._warming = frozenset(said.warming)

    def _holdings(self, said: WorkerMetadata) -> Holdings:
        """A member's words; of its topics any changelog speaks for all."""
        changelog = min(self._table_manager.changelog_topics)
        return Holdings(
            actives=frozenset(said.assignment.actives.get(changelog, ())),
            standbys=frozenset(said.assignment.standbys.get(changelog, ())),
            copies={int(partition): at for partition, at in said.copies.items()},
        )

    def warming(self) -> frozenset[int]:
        """Partitions to warm up, by the newest assignment."""
        return self._warming

    def placed_topics(self) -> frozenset[str]:
        """What the group reads, by the newest assignment."""
        return frozenset(self._topic_groups)


def _topics(subscriptions: Mapping[Member, Topics], holdings: Mapping[Member, Holdings]) -> Topics:
    """What the group reads: that of the members with the most partitions, then of the most.

    A worker with other topics gets nothing, and ends with a sentence (PartitionManager);
    it must not end those that run well, whoever of them leads the group.
    """

    def weight(topics: Topics) -> tuple[int, int, list[str]]:
        members = [member for member, theirs in subscriptions.items() if theirs == topics]
        owned = sum(len(holdings[member].actives) for member in members)
        return owned, len(members), sorted(topics)

    return max(set(subscriptions.values()), key=weight)
