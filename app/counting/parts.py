"""What the processes that Faust runs for us are put together from, each piece once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faust
from faust.auth import OAuthCredentials
from faust.web.base import BlueprintManager

from agents.counting import counting_agent
from app.config import Settings
from app.counting.worker import CountedTable, CountingApp
from app.group.assignment import ChangelogTable, PartitionManager
from app.group.assignor import OnhandAssignor
from app.group.process import OnhandWorker
from app.group.transport import MAX_PARTITION_FETCH_BYTES, MAX_POLL_RECORDS
from app.logs import configuration
from tables.home.disk.folders import make_folder
from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from tables.home.store import Stores
from web.cluster.roster import Roster

#: A member learns from the answer to its heartbeat that the group rebalances. Until the last one
#: has learned it, those that have already wait, and nobody folds what they owned.
_HEARTBEAT_S = 0.25
#: Faust's consumer leaves the group after this long without a poll. A worker without
#: partitions never polls (aiokafka #1187), and a stuck agent is found by our own watch.
_NEVER_S = 20 * 24 * 3600.0


def faust_options(settings: Settings, group: str) -> dict[str, Any]:
    """What every process of ours says to Faust.

    Args:
        settings: of the process.
        group: its consumer group.
    """
    session_s = settings.session_timeout_ms / 1000
    return {
        "broker": [f"kafka://{server}" for server in settings.kafka.split(",")],
        "broker_credentials": _credentials(settings),
        "store": "memory://",
        "datadir": str(Path(settings.data_dir) / group / "faust"),
        "autodiscover": False,
        "origin": "app",
        # Faust creates no topics: a forgotten partition count would be 8, and
        # replication 1 (0.15.3, types/settings).
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "consumer_auto_offset_reset": "none",
        "consumer_max_fetch_size": MAX_PARTITION_FETCH_BYTES,
        "broker_max_poll_records": MAX_POLL_RECORDS,
        "broker_max_poll_interval": _NEVER_S,
        "broker_session_timeout": session_s,
        "broker_rebalance_timeout": max(60.0, 3 * session_s),
        "broker_heartbeat_interval": min(session_s / 5, _HEARTBEAT_S),
        "broker_commit_interval": 5.0,
        "stream_wait_empty": False,
        "web_bind": settings.web_host,
        "web_host": settings.web_host,
        "Worker": OnhandWorker,
        "worker_redirect_stdouts": False,
        "logging_config": configuration(settings.log_level, settings.log_format),
    }


def _credentials(settings: Settings) -> Any:
    """Faust's shape of what `client_kwargs` says to aiokafka."""
    protocol = settings.kafka_security_protocol
    kwargs = settings.client_kwargs()
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(context=kwargs["ssl_context"])
    if (token := kwargs.get("sasl_oauth_token_provider")) is not None:
        return OAuthCredentials(oauth_cb=token, ssl_context=kwargs.get("ssl_context"))
    return faust.SASLCredentials(
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
        ssl_context=kwargs.get("ssl_context"),
    )


def counting_options(settings: Settings) -> dict[str, Any]:
    """The same, and what a worker with tables says besides."""
    return faust_options(settings, settings.group) | {
        "TableManager": PartitionManager,
        "PartitionAssignor": OnhandAssignor,
        "table_standby_replicas": settings.standbys,
        "topic_partitions": settings.partitions,
        "web_port": settings.web_port,
        "canonical_url": settings.url,
    }


def stores_of(settings: Settings, folder: Path, name: str) -> Stores:
    """Where the rows of a table rest, as the settings say.

    Args:
        settings: of the worker.
        folder: of the table's stores, in the data folder.
        name: of the table.

    Raises:
        DataFolderInUse, StoreFailed: the data folder cannot be used.
    """
    # Faust keeps a folder of its own there, and makes it without its parents.
    make_folder(settings.data_dir / settings.group)
    return MemoryStores() if settings.store == "memory" else RocksStores(folder, name)


def owned_elsewhere(roster: Callable[[], Roster]) -> Callable[[int], bool]:
    """Whether another worker says that it owns a partition, and stays."""

    def is_owned(partition: int) -> bool:
        owner = roster().owner(partition)
        return owner is not None and not owner.leaving

    return is_owned


def join(app: CountingApp, one: CountedTable, told: str) -> None:
    """What Faust must know to place partitions and to hand over what was fetched.

    Args:
        app: that counts it.
        one: the table.
        told: what it is, for people.
    """
    config, name = one.config, one.config.projection.name
    app.tables.add(
        ChangelogTable(
            app, name=name, changelog=config.changelog, partitions=config.partitions, help=told
        )
    )
    sources = app.topic(
        *config.topics, key_type=bytes, value_type=bytes, partitions=config.partitions
    )
    app.agent(sources, name=name)(counting_agent(one.table, app.fail))


def without_pages(app: faust.App) -> None:
    """Faust's own ("/", "/router", "/table") look on the wrong worker or say OK without a look."""
    app.web.blueprints = BlueprintManager([])
