"""The names of Faust and aiokafka that app/group/ overrides or touches are there, as they were.

That a whole worker does with them what we rely on: test_delivery.py and test_group.py.
"""

import inspect
from typing import Any

import aiokafka
import faust
import faust.cli.base
import faust.cli.worker
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.consumer import fetcher, group_coordinator
from faust.app.base import App
from faust.assignor import PartitionAssignor
from faust.streams import Stream
from faust.tables.manager import TableManager
from faust.tables.table import Table
from faust.transport.conductor import Conductor
from faust.transport.consumer import Fetcher
from faust.transport.drivers import aiokafka as driver
from faust.types import ConsumerMessage

from app.group.assignment import ChangelogTable, PartitionManager
from app.group.assignor import OnhandAssignor
from app.group.messages import BatchConductor
from app.group.process import say_nothing
from app.group.transport import (
    BatchConsumer,
    BatchConsumerThread,
    BatchTransport,
)
from app.service import OnhandApp

VERSIONS = f"faust-streaming {faust.__version__}, aiokafka {aiokafka.__version__}"
THREAD = "app/group/transport.py, BatchConsumerThread"
CONSUMER = "app/group/transport.py, BatchConsumer"
MANAGER = "app/group/assignment.py, PartitionManager"


OVERRIDDEN: list[tuple[type, str, str]] = [
    (driver.AIOKafkaConsumerThread, "__post_init__", "self"),
    (driver.AIOKafkaConsumerThread, "_create_worker_consumer", "self, transport"),
    (driver.AIOKafkaConsumerThread, "on_start", "self"),
    (driver.AIOKafkaConsumerThread, "on_partitions_assigned", "self, assigned, generation_id"),
    (driver.AIOKafkaConsumerThread, "_commit", "self, offsets"),
    (driver.AIOKafkaConsumerThread, "verify_event_path", "self, now, tp"),
    (driver.Consumer, "on_start", "self"),
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
    (PartitionAssignor, "on_assignment", "self, assignment"),
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
    (group_coordinator.GroupCoordinator, "request_rejoin", "self"),
    (PartitionAssignor, "_update_member_urls", "self, clients_metadata"),
    (PartitionAssignor, "_get_changelog_distribution", "self, assignments"),
    (PartitionAssignor, "_get_external_topic_distribution", "self, assignments"),
    (PartitionAssignor, "_compress", "raw"),
    (PartitionAssignor, "_decompress", "compressed"),
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
        "app/group/ports.py, Worker": (
            App,
            "conf assignor consumer topics flow_control on_rebalance_complete _fetcher "
            "should_stop consumer_generation_id",
        ),
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
