"""Everything is put together here: settings to Faust, topics to agent, table to web."""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec.structs import replace

from app import __version__, descriptors
from app.access import access_of
from app.alerts.kept import kept_alerts
from app.alerts.wiring import build_alerts
from app.channels.document import topics_document
from app.config import Settings, SettingsError
from app.counting.parts import counting_options, join, owned_elsewhere, stores_of, without_pages
from app.counting.worker import CountedTable
from app.descriptors import TooFewDescriptors
from app.group.delivery import ConsumerDelivery
from app.loading.kept import kept_loads
from app.loading.process import LoadingProcess
from app.news import News
from app.service import OnhandApp, refuse_to_start
from core.projection import Projection, imported
from core.versions import VersionState
from domain.rules.held import Ruling
from domain.stock import Stock, imported_as
from tables.config import TableConfig
from tables.decoder import Decoder
from tables.home.kafka import KafkaHome
from tables.home.store import DataFolderInUse, StoreFailed, Stores
from tables.ports import Fail, Membership
from tables.stock import InventoryTable
from web.access.access import Access
from web.access.watched import AccessError
from web.config import Limits, WebConfig
from web.operations.alerting import AlertMetrics
from web.server import Web
from web.versions.view import VersionView

#: What the table counts, by the name under which the decoding process finds it too.
IMPORTED_AS = "domain.stock:STOCK"


def build(
    settings: Settings | None = None,
    *,
    projection: str = IMPORTED_AS,
    stores: Stores | None = None,
    home: Callable[..., KafkaHome] = KafkaHome,
    limits: Limits | None = None,
    end: Fail | None = None,
) -> OnhandApp:
    """The application; starts nothing and asks nobody. The one place that puts it together.

    Wrong settings and a data folder in use end the process with one sentence each.

    Args:
        settings: None: of the environment.
        projection: what is counted, as `module:NAME`.
        stores: where rows rest on this worker. None: as the settings say.
        home: makes what keeps the rows for all workers.
        limits: of the web. None: as many connections as the process may have.
        end: told when the worker cannot go on. None: the process ends.
    """
    ruling = Ruling()
    is_stock = projection == IMPORTED_AS
    counted: Projection = Stock(ruling) if is_stock else imported(projection)
    try:
        settings = settings or Settings.from_env()
        access = access_of(settings)
        stores = stores or stores_of(settings, settings.data_dir / settings.group, counted.name)
        limits = limits or _limits(settings)
    except (SettingsError, DataFolderInUse, StoreFailed, TooFewDescriptors, AccessError) as error:
        refuse_to_start(str(error).splitlines())
        raise  # unreachable: refuse ends the process
    app = OnhandApp(settings.group, **counting_options(settings))
    app.settings = settings
    app.end = end

    config = _table_config(settings, counted)
    consumer = ConsumerDelivery(app, config.topics)
    elsewhere = owned_elsewhere(lambda: app.web_part.members.roster)
    app.table = InventoryTable(config, stores, consumer, consumer, app.fail, elsewhere, home)
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
    _add_alerts(app, consumer)
    without_pages(app)
    join(app, app.counted[0], "Stock by SKU and location.")
    return app


def _add_alerts(app: OnhandApp, membership: Membership) -> None:
    versions = app.web_part.versions
    try:
        app.alerts = build_alerts(
            app.settings, app.table, membership, lambda: versions.state is VersionState.ACTIVE
        )
    except (SettingsError, AccessError) as error:
        refuse_to_start(str(error).splitlines())
    if app.alerts is not None:
        versions.listeners.append(app.alerts.changed)
        app.web_part.measure(AlertMetrics(app.alerts.counts, app.alerts.states))
        app.web_part.kept.told = kept_alerts(app.settings, app.alerts.rules)


def _web_part(app: OnhandApp, limits: Limits, ruling: Ruling, access: Access) -> Web:
    settings, table = app.settings, app.table
    return Web(
        _web_config(settings, limits),
        table,
        table.stats,
        VersionView(settings.client_kwargs(), settings.control_topic, settings.version),
        ruling,
        LoadingProcess(settings),
        app.fail,
        table.repairs,
        access,
    )


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
        loads=kept_loads(settings),
        build=__version__,
        limits=limits,
        window=settings.dedup_window,
        origins=tuple(filter(None, settings.cors_origins.split(","))),
        asyncapi=topics_document(settings, __version__),
    )


def _limits(settings: Settings) -> Limits:
    """As many connections as the process may have, and no more than are of use."""
    share = descriptors.shares(descriptors.raised(), settings.partitions)
    limits, is_secured = Limits(), bool(settings.tls_cert)
    return replace(
        limits,
        connections=descriptors.of_clients(share.clients, is_secured=is_secured),
        peer_connections=min(limits.peer_connections, share.peers),
    )


logging.captureWarnings(True)
