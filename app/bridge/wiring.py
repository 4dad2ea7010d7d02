"""A bridge is put together here: settings and map to Faust, the topic to its agent."""

from __future__ import annotations

import os
import socket

from msgspec.structs import replace

from agents.bridge import bridge_agent
from agents.carried import BridgeConfig
from agents.carrying import Bridge
from app.access import access_of
from app.bridge.mapping import learning_of, map_of
from app.bridge.service import BridgeApp, BridgeWorker, TopicManager
from app.config import Settings, SettingsError
from app.counting.parts import faust_options, without_pages
from app.group.delivery import ConsumerDelivery
from app.service import refuse_to_start
from tables.home.disk.folders import make_folder
from tables.home.store import StoreFailed
from web.access.watched import AccessError


def build_bridge(settings: Settings | None = None) -> BridgeApp:
    """The application; starts nothing and asks nobody.

    Wrong settings and a map that cannot be used end the process with a sentence each.
    """
    try:
        settings = settings or Settings.from_env()
        by = map_of(settings)
        access = access_of(settings)
        group = settings.bridge_group(by.name)
        make_folder(settings.data_dir / group)  # Faust's own lies in it
    except (SettingsError, AccessError, StoreFailed) as error:
        refuse_to_start(str(error).splitlines())
        raise  # unreachable: refuse ends the process
    port = settings.bridge_port
    settings = replace(settings, web_port=port, url=settings.local_url(port))
    options = faust_options(settings, group) | {"Worker": BridgeWorker}
    app = BridgeApp(
        group,
        TableManager=TopicManager,
        web_port=settings.web_port,
        canonical_url=_name_in_group(settings),
        **options,
    )
    app.settings, app.access = settings, access
    without_pages(app)
    consumer = ConsumerDelivery(app, [settings.bridge_topic])  # type: ignore[arg-type]  # without tables
    config = BridgeConfig(
        kafka=settings.client_kwargs(),
        topic=settings.bridge_topic,
        sources=settings.source_topics,
        dead_letters=settings.dlq_topic,
        documents=settings.documents_topic,
        partitions=settings.partitions,
        transactional_id=lambda p: settings.bridge_transactional_id(by.name, p),
        commit_interval_s=settings.commit_interval_ms / 1000,
        session_timeout_s=settings.session_timeout_ms / 1000,
    )
    learning = learning_of(settings, by, settings.data_dir / group)
    app.bridge = Bridge(config, by, consumer, consumer, app.fail, learning)
    foreign = app.topic(settings.bridge_topic, key_type=bytes, value_type=bytes)
    app.agent(foreign, name="bridge")(bridge_agent(app.bridge, app.fail))
    return app


def _name_in_group(settings: Settings) -> str:
    """Faust wants another address of each member; nobody calls a bridge by it."""
    return f"http://{socket.gethostname()}-{os.getpid()}:{settings.bridge_port}"
