"""Everything is put together here: settings to Faust, topics to agent, table to web."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import faust
from faust.web.base import BlueprintManager
from msgspec.structs import replace

from agents.counting import counting_agent
from app import __version__, descriptors
from app.access import access_of
from app.config import Settings, SettingsError
from app.counting import CountedTable
from app.descriptors import TooFewDescriptors
from app.group.assignment import ChangelogTable, PartitionManager
from app.group.assignor import OnhandAssignor
from app.group.delivery import ConsumerDelivery
from app.group.process import OnhandWorker
from app.group.transport import MAX_PARTITION_FETCH_BYTES, MAX_POLL_RECORDS
from app.logs import configuration
from app.news import News
from app.service import OnhandApp, refuse_to_start
from core.projection import Projection, imported
from domain.rules.held import Ruling
from domain.stock import Stock, imported_as
from tables.config import TableConfig
from tables.decoder import Decoder
from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from tables.home.store import DataFolderInUse, StoreFailed, Stores
from tables.ports import Fail
from tables.stock import InventoryTable
from web.access.access import Access
from web.access.watched import AccessError
from web.http.connections import ConnectionLimits
from web.server import Limits, Web, WebConfig
from web.versions.view import VersionView

#: Faust's consumer leaves the group after this long without a poll. A worker without
#: partitions never polls (aiokafka #1187), and a stuck agent is found by our own watch.
_NEVER_S = 20 * 24 * 3600.0
#: What the table counts, by the name under which the decoding process finds it too.
IMPORTED_AS = "domain.stock:STOCK"


def build(
    settings: Settings | None = None,
    *,
    projection: str = IMPORTED_AS,
    stores: Stores | None = None,
    limits: Limits | None = None,
    end: Fail | None = None,
) -> OnhandApp:
    """The application; starts nothing and asks nobody. The one place that puts it together.

    Wrong settings and a data folder in use end the process with one sentence each.

    Args:
        settings: None: of the environment.
        projection: what is counted, as `module:NAME`.
        stores: where rows rest on this worker. None: as the settings say.
        limits: of the web. None: as many connections as the process may have.
        end: told when the worker cannot go on. None: the process ends.
    """
    ruling = Ruling()
    is_stock = projection == IMPORTED_AS
    counted: Projection = Stock(ruling) if is_stock else imported(projection)
    try:
        settings = settings or Settings.from_env()
        access = access_of(settings)
        stores = stores or _stores(settings, counted.name)
        limits = limits or _limits(settings)
    except (SettingsError, DataFolderInUse, StoreFailed, TooFewDescriptors, AccessError) as error:
        refuse_to_start(str(error).splitlines())
        raise  # unreachable: refuse ends the process
    app = _faust_app(settings)
    app.settings = settings
    app.end = end

    def owned_elsewhere(partition: int) -> bool:
        owner = app.web_part.members.roster.owner(partition)
        return owner is not None and not owner.leaving

    config = _table_config(settings, counted)
    consumer = ConsumerDelivery(app, config.topics)
    app.table = InventoryTable(config, stores, consumer, consumer, app.fail, owned_elsewhere)
    app.count(
        CountedTable(
            config,
            app.table,
            Decoder(projection, config.topics, config.partitions),
            lambda: imported_as(counted.rules) if is_stock else projection,
        )
    )
    app.stores = stores
    app.web_part = _web_part(app, limits, ruling, access)
    app.news = News(
        app.table.status, app.web_part.members.workers, lambda: app.table.stats.restored
    )
    without_pages(app)
    _join(app, settings, counted.name)
    return app


def _web_part(app: OnhandApp, limits: Limits, ruling: Ruling, access: Access) -> Web:
    settings, table = app.settings, app.table
    return Web(
        _web_config(settings, limits),
        table,
        table.stats,
        VersionView(settings.client_kwargs(), settings.control_topic, settings.version),
        ruling,
        app.fail,
        table.repairs,
        access,
    )


def _join(app: OnhandApp, settings: Settings, name: str) -> None:
    """What Faust must know to place partitions and to hand over what was fetched."""
    app.tables.add(
        ChangelogTable(
            app,
            name=name,
            changelog=settings.changelog_topic,
            partitions=settings.partitions,
            help="Stock by SKU and location.",
        )
    )
    sources = app.topic(
        *app.source_topics, key_type=bytes, value_type=bytes, partitions=settings.partitions
    )
    app.agent(sources, name=name)(counting_agent(app.table, app.fail))


def without_pages(app: faust.App) -> None:
    """Faust's own ("/", "/router", "/table") look on the wrong worker or say OK without a look."""
    app.web.blueprints = BlueprintManager([])


def _stores(settings: Settings, name: str) -> Stores:
    if settings.store == "memory":
        # Faust keeps a folder of its own there, and makes it without its parents.
        (settings.data_dir / settings.group).mkdir(parents=True, exist_ok=True)
        return MemoryStores()
    return RocksStores(Path(settings.data_dir) / settings.group, name)


def _table_config(settings: Settings, counted: Projection) -> TableConfig:
    return TableConfig(
        projection=counted,
        kafka=settings.client_kwargs(),
        topics={topic: role for role, topic in settings.source_topics.items()},
        changelog=settings.changelog_topic,
        dead_letters=settings.dlq_topic,
        transactional_id=settings.transactional_id,
        partitions=settings.partitions,
        window=settings.dedup_window,
        commit_interval_s=settings.commit_interval_ms / 1000,
        session_timeout_s=settings.session_timeout_ms / 1000,
        url=settings.url,
    )


def _web_config(settings: Settings, limits: Limits) -> WebConfig:
    return WebConfig(
        url=settings.url,
        version=settings.version,
        kafka=settings.client_kwargs(),
        topics=dict(settings.source_topics),
        members_topic=settings.members_topic,
        dead_letters=settings.dlq_topic,
        build=__version__,
        limits=limits,
        window=settings.dedup_window,
    )


def _limits(settings: Settings) -> Limits:
    """As many connections as the process may have, and no more than are of use."""
    share = descriptors.shares(descriptors.raised(), settings.partitions)
    limits, plain = Limits(), ConnectionLimits()
    # Those for operations come on top.
    clients = min(plain.connections, share.clients - plain.for_operations)
    return replace(
        limits,
        connections=replace(plain, connections=clients),
        peer_connections=min(limits.peer_connections, share.peers),
    )


def _faust_app(settings: Settings) -> OnhandApp:
    return OnhandApp(
        settings.group,
        TableManager=PartitionManager,
        PartitionAssignor=OnhandAssignor,
        table_standby_replicas=settings.standbys,
        topic_partitions=settings.partitions,
        web_port=settings.web_port,
        canonical_url=settings.url,
        **faust_options(settings, settings.group),
    )


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
        "broker_heartbeat_interval": session_s / 5,
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
    return faust.SASLCredentials(
        mechanism=settings.kafka_sasl_mechanism,
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password,
        ssl_context=kwargs.get("ssl_context"),
    )


logging.captureWarnings(True)
