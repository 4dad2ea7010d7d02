"""Our assignor in Kafka's own group protocol, as aiokafka's consumer calls it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer
from faust.assignor import PartitionAssignor

from app.config import Settings
from app.group.assignor import OnhandAssignor
from app.group.placement import WARM
from app.wiring import build
from dev.kafka import Kafka, free_port
from dev.workers import until
from tests.support.topics.logs import a_name, make_all

WAIT_S = 120.0
PARTITIONS = 12


class Member:
    """The assignor of a worker that was built and not started, in a consumer of its own.

    copies: what its disk holds; what it is given it holds from then on.
    """

    def __init__(
        self, settings: Settings, copies: Iterable[int], topics: Iterable[str], kind: type
    ) -> None:
        app = build(settings)
        self.copies = dict.fromkeys(copies, 0)
        object.__setattr__(app, "copies", lambda: self.copies)
        self.assignor: Any = kind(app, replicas=1)
        self.topics = sorted(topics) or [*app.source_topics, settings.changelog_topic]
        self.changelog = settings.changelog_topic
        self.consumer = AIOKafkaConsumer(
            *self.topics,
            bootstrap_servers=settings.kafka,
            group_id=settings.group,
            partition_assignment_strategy=[self.assignor],
            enable_auto_commit=False,
            session_timeout_ms=6000,
            heartbeat_interval_ms=200,
        )

    def _of(self, tps: Iterable[Any], topic: str) -> set[int]:
        return {tp.partition for tp in tps if tp.topic == topic}

    @property
    def actives(self) -> set[int]:
        return self._of(self.assignor.assigned_actives(), self.changelog)

    @property
    def standbys(self) -> set[int]:
        return self._of(self.assignor.assigned_standbys(), self.changelog)

    def is_whole(self) -> bool:
        """All topics of a partition are here or none; of standbys the changelog alone."""
        mine = self.consumer.assignment()
        sources = [topic for topic in self.topics if topic != self.changelog]
        return all(self._of(mine, topic) == self.actives for topic in sources) and (
            self._of(mine, self.changelog) == self.actives | self.standbys
        )


class Group:
    """Members of one consumer group over topics of their own."""

    def __init__(self, kafka: str, folder: Path, stack: AsyncExitStack) -> None:
        self._kafka, self._folder, self._stack = kafka, folder, stack
        self._name = a_name()
        self.members: dict[str, Member] = {}
        settings = self._settings("any")
        self.sources = list(settings.source_topics.values())
        self.changelog = settings.changelog_topic
        make_all(
            kafka,
            {t: {} for t in [*self.sources, self.changelog, "other-" + self._name]},
            PARTITIONS,
        )
        self.other = "other-" + self._name

    def _settings(self, name: str) -> Settings:
        return Settings.from_env(
            {}, kafka=self._kafka, name=self._name, topic_prefix=f"{self._name}.", store="memory",
            partitions=PARTITIONS, web_port=free_port(), data_dir=self._folder / name,
            url=f"http://{name}:6066",
        )  # fmt: skip

    async def join(
        self,
        *names: str,
        copies: Iterable[int] = (),
        topics: Iterable[str] = (),
        kind: type = OnhandAssignor,
        reached: int = 100,
    ) -> None:
        """Members that join at once; returns when the group has settled.

        reached: how far all that hold a partition are then.
        """
        new = {name: Member(self._settings(name), copies, topics, kind) for name in names}
        for name, member in new.items():
            await member.consumer.start()
            self.members[name] = member
            self._stack.push_async_callback(member.consumer.stop)
        await self.settled(reached)

    async def leave(self, name: str) -> None:
        await self.members.pop(name).consumer.stop()
        await self.settled()

    async def settled(self, reached: int = 100) -> None:
        """Wait until every partition has one owner, in one generation of all members."""

        async def agreed() -> bool:
            members = self.members.values()
            generations = {m.consumer._coordinator.generation for m in members}
            known = {len(m.assignor.changelog_distribution) for m in members}
            owned = sorted(p for m in members for p in m.actives)
            return (
                owned == [*range(PARTITIONS)]
                and len(generations) == 1
                and known == {len(members)}
                and all(m.is_whole() for m in members)
            )

        await until(agreed, f"settled: {self.owners()}", WAIT_S)
        for member in self.members.values():
            mine = member.actives | member.standbys
            member.copies |= {p: max(reached, member.copies.get(p, 0)) for p in mine}

    def owners(self) -> Mapping[int, str]:
        return {p: name for name, m in self.members.items() for p in sorted(m.actives)}

    def followers(self) -> Mapping[int, str]:
        return {p: name for name, m in self.members.items() for p in sorted(m.standbys)}


@pytest_asyncio.fixture
async def group(kafka: Kafka, tmp_path: Path) -> AsyncIterator[Group]:
    async with AsyncExitStack() as stack:
        yield Group(kafka.bootstrap, tmp_path, stack)


async def test_five_workers_share_twelve_partitions_and_a_leaver_leaves_them_to_copies(
    group: Group,
) -> None:
    await group.join("a", "b", "c", "d", "e")
    before, followers = group.owners(), group.followers()
    assert sorted(len(m.actives) for m in group.members.values()) == [2, 2, 2, 3, 3]
    assert sorted(followers) == [*range(PARTITIONS)]
    assert all(followers[p] != owner for p, owner in before.items())

    copies = {name: set(m.copies) for name, m in group.members.items()}
    await group.leave("b")

    assert {len(m.actives) for m in group.members.values()} == {3}
    for p, owner in group.owners().items():
        assert owner == before[p] or p in copies[owner]


async def test_a_worker_gets_back_what_its_disk_holds(group: Group) -> None:
    await group.join("a")
    mine = {1, 4, 5, 8, 9, 11}
    await group.join("b", copies=mine)
    assert group.members["b"].actives == mine

    await group.join("c")
    lost = mine - group.members["b"].actives
    await group.leave("b")
    await group.join("b", copies=mine - lost)

    assert group.members["b"].actives == mine - lost


async def test_a_newcomer_warms_up_what_it_would_have_to_restore_and_asks_for_it_then(
    group: Group,
) -> None:
    await group.join("a", reached=10 * WARM)
    await group.join("b", reached=WARM)
    a, b = group.members["a"], group.members["b"]
    assert (len(a.actives), len(b.standbys)) == (PARTITIONS, PARTITIONS)
    assert (len(b.assignor.warming()), a.assignor.warming()) == (6, frozenset())
    wanted = b.assignor.warming()

    b.copies |= dict.fromkeys(b.standbys, 10 * WARM)
    b.consumer._coordinator.request_rejoin()  # a member that does not lead the group

    async def moved() -> bool:
        return (b.actives, a.actives) == (wanted, {*range(PARTITIONS)} - wanted)

    await until(moved, f"moved: {group.owners()}", WAIT_S)
    await group.settled()
    assert a.assignor.warming() == b.assignor.warming() == frozenset()


async def test_a_worker_with_other_topics_gets_nothing_and_learns_it(group: Group) -> None:
    await group.join("a", "b")
    before = group.owners()

    await group.join("odd", topics=[*group.sources[:2], group.other, group.changelog])

    odd = group.members["odd"]
    assert group.owners() == before
    assert (odd.actives, odd.consumer.assignment()) == (set(), frozenset())
    assert group.other not in odd.assignor.placed_topics()
    # So too if it led the group.
    told = {name: m.assignor.metadata(set(m.topics)) for name, m in group.members.items()}
    decided = odd.assignor.assign(None, told)
    assert {name: bool(given.assignment) for name, given in decided.items()} == {
        "a": True, "b": True, "odd": False,
    }  # fmt: skip


@pytest.mark.parametrize("first", [OnhandAssignor, PartitionAssignor])
async def test_workers_with_fausts_assignor_can_be_in_the_group_while_a_release_rolls_out(
    group: Group, first: type
) -> None:
    second = PartitionAssignor if first is OnhandAssignor else OnhandAssignor
    await group.join("a", kind=first)  # and leads
    await group.join("b", kind=second)
    before = group.owners()

    assert sorted(len(m.actives) for m in group.members.values()) == [6, 6]

    await group.leave("a")  # now the other one leads
    await group.join("a", kind=second)

    assert sorted(before) == sorted(group.owners())
    assert sorted(len(m.actives) for m in group.members.values()) == [6, 6]
