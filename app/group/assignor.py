"""Our placement of partitions, in the place that Faust has for its own assignor.

Kept from it: the protocol's name and what travels in it, so that workers with either one
can be in one group while a new release is rolled out, and Faust's pages go on. Added to
what a member says of itself: which rows it has, so that they are found again.

Private names of faust-streaming 0.15.3: see `app/group/transport.py`. All of this runs in the
consumer's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata

from app.group.placement import Holdings, place
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
    """

    copies: Mapping[str, int] = cast(Mapping[str, int], {})


class OnhandAssignor(PartitionAssignor):
    """Asks `app.group.placement`; all topics of one partition number go together."""

    app: Worker  # type: ignore[assignment]  # Faust's App, and ours

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
        return self._protocol_assignments(
            cast(Any, assignments),
            self._get_changelog_distribution(cast(Any, assignments)),
            self._get_external_topic_distribution(cast(Any, assignments)),
            dict.fromkeys(sorted(topics), 0),
        )

    def _holdings(self, said: WorkerMetadata) -> Holdings:
        """A member's words; of its topics the changelog speaks for all."""
        (changelog,) = self._table_manager.changelog_topics
        return Holdings(
            actives=frozenset(said.assignment.actives.get(changelog, ())),
            standbys=frozenset(said.assignment.standbys.get(changelog, ())),
            copies={int(partition): at for partition, at in said.copies.items()},
        )

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
