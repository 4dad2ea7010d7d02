"""What the rooms of app/group/ rely on in Faust and aiokafka.

Two kinds of tests: the names that we override or touch are there, as they were; and a whole
worker, inside the test, does with them what we rely on.
"""

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import aiokafka
import faust
import faust.cli.base
import faust.cli.worker
import msgspec
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer import fetcher, group_coordinator
from aiokafka.errors import KafkaError
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as Place
from faust.app.base import App
from faust.assignor import PartitionAssignor
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.tables.table import Table
from faust.transport.conductor import Conductor
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

import app.group.messages
import app.group.transport
from app import topics
from app.config import Settings
from app.group.assignment import ChangelogTable, PartitionManager
from app.group.assignor import OnhandAssignor
from app.group.messages import BatchConductor, BatchMessage, Undone
from app.group.process import say_nothing
from app.group.transport import (
    BatchConsumer,
    BatchConsumerThread,
    BatchTransport,
    by_partition,
)
from app.service import OnhandApp
from app.wiring import build
from core.stages import Stage
from dev.broker import free_port
from dev.kafka import Kafka
from dev.workers import until
from tables.takeover import NotAMember
from tests.builders import a_receipt
from tests.fetching import as_sent
from tests.logs import Put, Writer, a_name
from wire.fetch import Fetched

WAIT_S = 30.0
VERSIONS = f"faust-streaming {faust.__version__}, aiokafka {aiokafka.__version__}"
THREAD = "app/group/transport.py, BatchConsumerThread"
CONSUMER = "app/group/transport.py, BatchConsumer"
MANAGER = "app/group/assignment.py, PartitionManager"


# ---- names

OVERRIDDEN: list[tuple[type, str, str]] = [
    (driver.AIOKafkaConsumerThread, "__post_init__", "self"),
    (driver.AIOKafkaConsumerThread, "_create_worker_consumer", "self, transport"),
    (driver.AIOKafkaConsumerThread, "on_start", "self"),
    (driver.AIOKafkaConsumerThread, "on_partitions_assigned", "self, assigned, generation_id"),
    (driver.AIOKafkaConsumerThread, "_commit", "self, offsets"),
    (driver.AIOKafkaConsumerThread, "verify_event_path", "self, now, tp"),
    (driver.Consumer, "_new_consumer_thread", "self"),
    (driver.Consumer, "_drain_messages", "self, fetcher"),
    (driver.Consumer, "ack", "self, message"),
    (driver.Consumer, "_filter_tps_with_pending_acks", "self, topics"),
    (driver.Consumer, "_new_offset", "self, tp"),
    (driver.Consumer, "_commit_offsets", "self, offsets, start_new_transaction"),
    (driver.Consumer, "on_partitions_revoked", "self, revoked"),
    (driver.Consumer, "perform_seek", "self"),
    (driver.Consumer, "on_started", "self"),
    (driver.Consumer, "on_stop", "self"),
    (Table, "_new_store", "self"),
    (Table, "on_start", "self"),
    (Table, "on_rebalance", "self, assigned, revoked, newly_assigned, generation_id"),
    (TableManager, "on_start", "self"),
    (TableManager, "_update_channels", "self"),
    (TableManager, "on_partitions_revoked", "self, revoked"),
    (TableManager, "on_rebalance", "self, assigned, revoked, newly_assigned, generation_id"),
    (PartitionAssignor, "metadata", "self, topics"),
    (PartitionAssignor, "_get_client_metadata", "metadata"),
    (PartitionAssignor, "_perform_assignment", "self, cluster, member_metadata"),
    (App, "_new_transport", "self"),
    (App, "_new_producer_transport", "self"),
    (App, "on_webserver_init", "self, web"),
    (App, "on_start", "self"),
    (App, "stop", "self"),
    # Not overridden, but called or wrapped.
    (group_coordinator.GroupCoordinator, "_do_heartbeat", "self"),
    (group_coordinator.GroupCoordinator, "check_errors", "self"),
    (PartitionAssignor, "_update_member_urls", "self, clients_metadata"),
    (PartitionAssignor, "_get_changelog_distribution", "self, assignments"),
    (PartitionAssignor, "_get_external_topic_distribution", "self, assignments"),
    (
        PartitionAssignor,
        "_protocol_assignments",
        "self, assignments, cl_distribution, tp_distribution, topic_groups",
    ),
    (App, "create_event", "self, key, value, headers, message"),
    (App, "on_rebalance_end", "self"),
    (TableManager, "on_actives_ready", "self"),
    (TableManager, "on_standbys_ready", "self"),
    (ConsumerMessage, "incref", "self, n"),
    (ConsumerMessage, "on_final_ack", "self, consumer"),
    (Stream, "noack", "self"),
    (Stream, "events", "self"),
]


@pytest.mark.parametrize(("owner", "name", "parameters"), OVERRIDDEN)
def test_what_we_override_or_call_is_there_with_the_same_parameters(
    owner: type, name: str, parameters: str
) -> None:
    method = getattr(owner, name, None)
    assert method is not None, (
        f"{VERSIONS}: {owner.__name__}.{name} is gone. Ours would never be called again; "
        "see who takes its place."
    )
    assert ", ".join(inspect.signature(method).parameters) == parameters, (
        f"{VERSIONS}: {owner.__name__}.{name} takes other parameters: "
        "read it again, then ours in app/."
    )


OURS: list[tuple[type, type]] = [
    (BatchConsumerThread, driver.AIOKafkaConsumerThread),
    (BatchConsumer, driver.Consumer),
    (ChangelogTable, Table),
    (PartitionManager, TableManager),
    (OnhandAssignor, PartitionAssignor),
    (OnhandApp, App),
]
NEW = {
    "app", "logger", "settings", "table", "web_part", "source_topics", "confirmed_at",
    "__init__", "__module__", "__doc__", "__annotations__", "__parameters__", "__orig_bases__",
    "__abstractmethods__", "__hash__", "__qualname__", "__firstlineno__", "__static_attributes__",
}  # fmt: skip


@pytest.mark.parametrize(("ours", "base"), OURS)
def test_every_override_is_in_the_list_above(ours: type, base: type) -> None:
    listed = {name for owner, name, _ in OVERRIDDEN if owner is base}
    overridden = {name for name in vars(ours) if hasattr(base, name)} - NEW
    assert {name for name in overridden if not name.startswith("_abc")} <= listed


def test_the_hook_that_says_nothing_is_the_one_that_the_command_calls_with_its_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Faust's own prints a banner there."""
    command = faust.cli.worker.worker
    assert command.on_worker_created is say_nothing
    base = inspect.signature(faust.cli.base.Command.on_worker_created)
    assert base.parameters.keys() == inspect.signature(say_nothing).parameters.keys()
    calls: list[Any] = []

    class TheWorker:
        def execute_from_commandline(self) -> SystemExit:
            calls.append("executed")
            return SystemExit(0)

    it = TheWorker()
    monkeypatch.setattr(command, "as_service", lambda *_, **__: None)
    monkeypatch.setattr(command, "worker_for_service", lambda *_, **__: it)
    monkeypatch.setattr(command, "on_worker_created", lambda _, worker: calls.append(worker))
    started = object.__new__(command)
    started.args, started.kwargs = (), {}

    with pytest.raises(SystemExit):
        started.run_using_worker()

    assert calls == [it, "executed"]


async def test_the_private_attributes_are_where_they_were() -> None:
    consumer = AIOKafkaConsumer()
    settings_of_fetches = inspect.signature(fetcher.Fetcher).parameters
    wanted: dict[str, tuple[object, str]] = {
        f"{THREAD} sets them before start()": (consumer, "_fetch_max_bytes _isolation_level"),
        f"{THREAD}": (consumer, "_coordinator _fetcher _subscription"),
        f"{CONSUMER}": (driver.Consumer, "consumer_stopped_errors flow_active RebalanceListener"),
        "app/group/transport.py, BatchTransport": (driver.Transport, "Consumer Conductor Fetcher"),
        f"{MANAGER}": (TableManager, "changelog_queue"),
        "app/group/assignor.py": (
            PartitionAssignor(App("any")),
            "app replicas _metadata _table_manager _topic_groups",
        ),
        "app/service.py": (App, "on_rebalance_complete _fetcher flow_control"),
    }
    missing = [
        f"{name} ({where})"
        for where, (owner, names) in wanted.items()
        for name in names.split()
        if not hasattr(owner, name)
    ]
    await consumer.stop()
    assert not missing, f"{VERSIONS} has no {', '.join(missing)}"
    assert {"fetch_min_bytes", "fetch_max_wait_ms", "fetch_max_bytes", "isolation_level"} <= set(
        settings_of_fetches
    )
    assert driver.Transport.Fetcher is Fetcher
    assert issubclass(BatchTransport.Consumer, driver.Consumer)
    assert issubclass(BatchConductor, Conductor)


# ---- a worker


class Deployment:
    """One worker in this process, with two partitions."""

    def __init__(self, settings: Settings, failed: list[str]) -> None:
        self.settings, self.failed = settings, failed
        self.app = build(settings)
        self.writer = Writer(settings.kafka)
        self.sent = 0
        # A topic's own list of calls, newest last.
        self.calls: list[str] = []

    @property
    def consumer(self) -> BatchConsumer:
        found: Any = self.app.consumer
        assert isinstance(found, BatchConsumer)
        return found

    @property
    def thread(self) -> BatchConsumerThread:
        return self.consumer._thread

    @property
    def kafka_consumer(self) -> Any:
        """aiokafka's own."""
        return self.thread._ensure_consumer()

    @property
    def shipments(self) -> str:
        return self.settings.source_topics["shipments"]

    def sources(self) -> set[TopicPartition]:
        return {TopicPartition(t, p) for t in self.app.source_topics for p in (0, 1)}

    async def active(self) -> None:
        """Wait until both partitions are delivered."""

        async def there() -> bool:
            states = [p.state for p in self.app.table.held.values()]
            return states == [Stage.ACTIVE] * 2 and set(self.thread.epochs) == (self.sources())

        await until(there, f"active {self.failed}", WAIT_S)

    async def send(self, count: int) -> None:
        """Append to partition 0 by a key that may not live there, and wait until it is handled."""
        sku = next(f"SKU-{n}" for n in range(100) if self.app.table.partition_of(f"SKU-{n}") == 0)
        events = [a_receipt(id=f"{n}", sku=sku) for n in range(self.sent, self.sent + count)]
        puts = [Put(sku.encode(), msgspec.json.encode(event)) for event in events]
        self.writer.write(self.shipments, puts)
        self.sent += count
        assert await self.app.table.reached(0, {self.shipments: self.sent - 1}, WAIT_S), self.failed

    async def in_thread(self, call: Any) -> Any:
        """Run it where aiokafka's consumer runs."""

        async def run() -> Any:
            return call()

        return await self.thread._in_thread(run())

    async def rebalance(self) -> None:
        """As when another worker joins or leaves."""
        before = self.app.consumer_generation_id
        await self.in_thread(self.kafka_consumer._coordinator.request_rejoin)

        async def again() -> bool:
            return bool(self.app.consumer_generation_id > before and not self.app.rebalancing)

        await until(again, "rebalanced", WAIT_S)
        await self.active()


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def worker(
    kafka: Kafka, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Deployment]:
    failed: list[str] = []

    async def fail(self: OnhandApp, sentence: str, error: BaseException | None) -> None:
        failed.append(sentence)

    folder: Path = tmp_path_factory.mktemp("worker")
    name = a_name()
    settings = Settings.from_env(
        {}, kafka=kafka.bootstrap, name=name, topic_prefix=f"{name}.", partitions=2, standbys=0,
        web_port=free_port(), data_dir=folder, session_timeout_ms=6000, log_level="WARNING",
    )  # fmt: skip
    await topics.create(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnhandApp, "fail", fail)
        thresholds = gc.get_threshold()
        deployment = Deployment(settings, failed)
        await deployment.app.start()
        try:
            await deployment.active()
            yield deployment
        finally:
            await deployment.app.stop()
            gc.unfreeze()
            gc.set_threshold(*thresholds)
    assert failed == []


in_worker = pytest.mark.asyncio(loop_scope="module")


@in_worker
async def test_faust_builds_our_parts(worker: Deployment) -> None:
    assert type(worker.app.consumer) is BatchConsumer
    assert type(worker.thread) is BatchConsumerThread
    assert type(worker.app.topics) is BatchConductor
    assert type(worker.app.tables) is PartitionManager
    assert type(worker.app.assignor) is OnhandAssignor
    assert worker.kafka_consumer._coordinator._assignors == [worker.app.assignor]


@in_worker
async def test_the_fetcher_has_the_settings_that_were_set_before_it_was_made(
    worker: Deployment,
) -> None:
    made = worker.kafka_consumer._fetcher
    assert made._isolation_level == fetcher.READ_COMMITTED
    assert made._fetch_max_bytes == app.group.transport.MAX_FETCH_BYTES
    assert made._fetch_max_wait_ms <= 150  # Faust's own is 1,500: Pace has set it
    assert made._default_reset_strategy == fetcher.OffsetResetStrategy.NONE


@in_worker
async def test_only_sources_are_fetched_and_only_once_taken_over(worker: Deployment) -> None:
    consumer = worker.kafka_consumer
    changelog = {TopicPartition(worker.settings.changelog_topic, p) for p in (0, 1)}

    assert consumer.assignment() == worker.sources() | changelog
    assert consumer.paused() == changelog


@in_worker
async def test_a_record_passes_from_fetch_to_commit_and_the_budget_is_given_back(
    worker: Deployment,
) -> None:
    applied = worker.app.table.stats.applied[worker.shipments]

    await worker.send(700)

    assert worker.app.table.stats.applied[worker.shipments] == applied + 700

    async def free() -> bool:
        return worker.consumer._budget.used == 0

    await until(free, "given back", WAIT_S)
    assert not worker.failed


@in_worker
async def test_one_message_is_one_batch_undecoded_on_the_agents_queue(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[TP, BatchMessage]] = []
    deliver = BatchConductor.deliver

    def look(conductor: BatchConductor, tp: TP, message: BatchMessage) -> None:
        seen.append((tp, message))
        deliver(conductor, tp, message)

    monkeypatch.setattr(BatchConductor, "deliver", look)
    first = worker.sent
    await worker.send(50)

    records: list[Any] = [r for _, message in seen for r in message.value.originals()]  # type: ignore[union-attr]  # a Batch
    assert [record[0] for record in records] == list(range(first, first + 50))
    assert len(seen) < 10
    assert all(message.refcount == 0 and message.acked for _, message in seen)
    # One agent reads all three topics; the changelog's records go nowhere.
    conductor: Any = worker.app.topics
    index = conductor._tp_index
    assert {len(index[TP(*tp)]) for tp in worker.sources()} == {1}


@in_worker
async def test_what_is_delivered_between_two_assignments_is_not_charged_to_the_next(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust clears it from the queue, or skips it, and does not acknowledge it."""
    assign = worker.app.on_assigned

    async def deliver_late(actives: set[int], standbys: set[int]) -> None:
        tp = TP(worker.shipments, 0)
        part = Fetched(as_sent([(0, 0, b"k", b"v" * 100, ())]), 0, 1)
        await worker.consumer._deliver(tp, part, 1, more=False)
        await assign(actives, standbys)

    monkeypatch.setattr(worker.app, "on_assigned", deliver_late)
    await worker.rebalance()

    async def free() -> bool:
        return worker.consumer._budget.used == 0

    await until(free, "given back", 5)


@in_worker
async def test_heartbeats_confirm_membership_by_themselves(worker: Deployment) -> None:
    before = worker.consumer.confirmed_at()

    async def confirmed() -> bool:
        return worker.consumer.confirmed_at() > before

    await until(confirmed, "confirmed", WAIT_S)
    assert monotonic() - worker.consumer.confirmed_at() < 3


@in_worker
async def test_confirm_asks_the_coordinator_now(worker: Deployment) -> None:
    began = monotonic()
    await worker.consumer.confirm()

    assert began <= worker.consumer.confirmed_at() <= monotonic()


@in_worker
async def test_the_groups_offsets_are_the_positions_of_the_meta_record(worker: Deployment) -> None:
    await worker.send(5)
    await worker.consumer.commit()

    reader = Consumer(
        {"bootstrap.servers": worker.settings.kafka, "group.id": worker.settings.group}
    )
    (place,) = reader.committed([Place(worker.shipments, 0)], timeout=20)
    reader.close()
    assert place.offset == worker.sent


@in_worker
async def test_offsets_that_cannot_be_committed_end_nobody_and_do_not_count(
    worker: Deployment,
) -> None:
    tp = TP(worker.shipments, 0)
    known = worker.consumer._committed_offset[tp]

    unassigned = await worker.thread.commit({TP("no-such-topic", 0): 1})
    given_away = await worker.consumer._commit_offsets({TP("no-such-topic", 0): 1})

    assert (unassigned, given_away) == (False, False)
    assert worker.consumer._committed_offset[tp] == known
    assert not worker.app.should_stop


@in_worker
async def test_a_rebalance_gives_back_before_and_takes_over_anew_after(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    await worker.send(3)
    calls: list[tuple[str, int, bool, int]] = []
    revoke, assign = worker.app.on_revoked, worker.app.on_assigned

    def note(what: str) -> None:
        generation = worker.app.consumer_generation_id
        calls.append((what, generation, worker.consumer.flow_active, len(worker.thread.epochs)))

    async def revoked() -> None:
        note("revoked")
        await revoke()

    async def assigned(actives: set[int], standbys: set[int]) -> None:
        note(f"assigned {sorted(actives)}")
        await assign(actives, standbys)

    monkeypatch.setattr(worker.app, "on_revoked", revoked)
    monkeypatch.setattr(worker.app, "on_assigned", assigned)
    old = worker.app.consumer_generation_id
    epochs = dict(worker.thread.epochs)
    budget = worker.consumer._budget

    await worker.rebalance()

    # Revoked in the old generation while it still flows; assigned in the new one with nothing
    # to fetch and the flow held.
    assert [call[:3] for call in calls] == [
        ("revoked", old, True),
        ("assigned [0, 1]", worker.app.consumer_generation_id, False),
    ]
    assert calls[1][3] == 0
    assert worker.consumer._budget is not budget
    assert all(worker.thread.epochs[tp] > epoch for tp, epoch in epochs.items())
    await worker.send(3)


@in_worker
async def test_what_is_fetched_carries_the_number_of_the_seek_before_it(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the fetch began, and waited, under the earlier one."""
    tp = TopicPartition(worker.shipments, 1)
    seen: list[tuple[int, int]] = []

    async def look(consumer: BatchConsumer, tp_: TP, part: Any, epoch: int, more: bool) -> None:
        if tp_ == TP(*tp):
            seen.append((part.start, epoch))

    # A fetch waits in the thread all the time; nothing comes on this partition.
    monkeypatch.setattr(BatchConsumer, "_deliver", look)
    epoch = worker.thread.epochs[tp]
    position = await worker.kafka_consumer.position(tp)
    for number in range(epoch + 1, epoch + 20):
        worker.writer.write(worker.shipments, [Put(b"no", b"{}")], 1)
        await worker.consumer.stop_delivery(1)
        await worker.thread.seek_and_resume({tp: position}, number)

        async def came(number: int = number) -> bool:
            return (position, number) in seen

        await until(came, f"delivered from {position} as {number}: {seen}", WAIT_S, 0.002)

    # From the position again under each number, and never from behind it first.
    firsts = {number: next(s for s, n in seen if n == number) for _, number in seen}
    assert {start for number, start in firsts.items() if number > epoch} == {position}
    monkeypatch.undo()
    await worker.rebalance()


@in_worker
async def test_the_end_of_a_fetched_partition_is_known_in_the_other_thread(
    worker: Deployment,
) -> None:
    await worker.send(2)

    async def known() -> bool:
        return worker.consumer.end(worker.shipments, 0).offset == worker.sent

    await until(known, "known", WAIT_S)


@in_worker
async def test_a_coordination_that_has_died_is_noticed_by_the_next_fetch(
    worker: Deployment,
) -> None:
    coordinator = worker.kafka_consumer._coordinator
    coordinator._pending_exception = KafkaError("the coordination ended")
    try:

        async def told() -> bool:
            return any("the coordination ended" in sentence for sentence in worker.failed)

        await until(told, "told", WAIT_S)
    finally:
        worker.failed.clear()
    assert coordinator._pending_exception is None
    # Our fail() ends the process; here it did not, so the fetching must be started again.
    await restart_fetching(worker)
    await worker.send(1)


async def restart_fetching(worker: Deployment) -> None:
    fetching: Any = worker.app._fetcher
    await fetching.stop()
    fetching.service_reset()
    await fetching.maybe_start()


@in_worker
async def test_partitions_that_cannot_be_given_back_end_the_worker(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken() -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(worker.app, "on_revoked", broken)
        await worker.rebalance()

    assert len(worker.failed) == 1
    assert "could not be given back" in worker.failed[0]
    worker.failed.clear()


@in_worker
async def test_a_worker_that_the_coordinator_has_forgotten_is_not_confirmed(
    worker: Deployment,
) -> None:
    coordinator = worker.kafka_consumer._coordinator
    before = worker.consumer.confirmed_at()
    generation = worker.app.consumer_generation_id
    coordinator.member_id = "nobody"

    with pytest.raises(NotAMember):
        await worker.consumer.confirm()
    unconfirmed = worker.consumer.confirmed_at()

    # It joins again by itself.
    async def again() -> bool:
        return bool(worker.app.consumer_generation_id > generation)

    await until(again, "a member again", WAIT_S)
    await worker.active()
    await worker.send(1)
    assert unconfirmed == before


@in_worker
async def test_a_worker_whose_topics_the_group_does_not_read_ends_with_a_sentence(
    worker: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no partitions of any topic: that alone would look like a worker too many."""
    coordinator = worker.kafka_consumer._coordinator
    with monkeypatch.context() as patch:
        patch.setattr(OnhandAssignor, "placed_topics", lambda _: frozenset([worker.shipments]))
        await worker.in_thread(coordinator.request_rejoin)

        async def told() -> bool:
            return bool(worker.failed)

        await until(told, "told", WAIT_S)
    unread = sorted(
        {*worker.app.source_topics, worker.settings.changelog_topic} - {worker.shipments}
    )
    assert f"do not read {', '.join(unread)}. Workers of one" in worker.failed[0]
    worker.failed.clear()
    await worker.rebalance()


# ---- the order of delivery


def test_the_topics_of_a_partition_come_one_after_the_other_and_the_last_says_so() -> None:
    sales, shipments = ([TopicPartition(topic, p) for p in range(3)] for topic in ("sa", "sh"))

    assert list(by_partition([*sales[:2], shipments[2], shipments[0]])) == [
        (sales[0], True),
        (shipments[0], False),
        (sales[1], False),
        (shipments[2], False),
    ]
    assert list(by_partition([])) == []


# ---- the budget


async def test_the_budget_holds_and_gives_back() -> None:
    budget = Undone()
    budget.take(app.group.messages.BUDGET_BYTES - 1)
    assert budget.room.is_set()
    budget.take(1)
    assert not budget.room.is_set()
    budget.free(1)
    assert budget.room.is_set()


class _Stuck(BatchConsumer):
    """Only what waiting for room needs."""

    def __init__(self, confirmed_at: float) -> None:
        self._budget, self.flow_active = Undone(), True
        self._budget.take(app.group.messages.BUDGET_BYTES)
        self._confirmed_at = confirmed_at
        self.app = self
        self.failed: list[str] = []

    def confirmed_at(self) -> float:
        return self._confirmed_at or monotonic()

    async def fail(self, sentence: str, error: BaseException | None) -> None:
        self.failed.append(sentence)


async def test_an_agent_that_stands_still_while_kafka_answers_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app.group.transport, "_STUCK_S", 1.5)
    stuck = _Stuck(confirmed_at=0)

    await asyncio.wait_for(stuck._await_room(), WAIT_S)

    assert "has not finished a batch" in stuck.failed[0]


async def test_an_outage_is_not_held_against_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.group.transport, "_STUCK_S", 1.5)
    waiting = _Stuck(confirmed_at=monotonic() - 1000)
    room = asyncio.create_task(waiting._await_room())
    await asyncio.wait([room], timeout=2.5)
    waiting._confirmed_at = 0  # Kafka is back; the commit needs a moment still
    await asyncio.wait([room], timeout=1.2)
    waiting._budget.free(1)
    await asyncio.wait_for(room, WAIT_S)

    assert waiting.failed == []
