"""The ledger's process. `faust -A app.ledger worker` finds `app` here, built on first use.

Faust gives it its life cycle, its command line and its web server. Its own Kafka it does not
start: positions are in SQL, so the ledger reads as a plain group (`ledger/keeping.py`), and
Faust's tables, agents and acknowledgements would have nothing to do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import Any

import click
import faust
from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.web.base import BlueprintManager

from app import __version__, descriptors, topics
from app.access import access_of
from app.admin import kafka_failed
from app.config import Settings, SettingsError
from app.counting.worker import settle_memory
from app.group.options import option_problems
from app.group.process import OnhandWorker
from app.group.transport import FAUST_LOG
from app.logs import configuration
from app.service import refuse_to_start
from app.settings.listening import port_problems
from app.upgrades.record import recorded
from core.words import spans
from domain.rules.held import RulesNotHeld, Ruling
from ledger.engine import LedgerUnavailable, as_told, url_of
from ledger.history import History
from ledger.keeping import Keeper, LedgerConfig
from tables.home.disk.folders import make_folder
from tables.home.store import StoreFailed
from tables.tasks import Tasks
from web.access.watched import AccessError
from web.ledger import LedgerWeb, LedgerWebConfig
from wire.batches import Unreadable

log = logging.getLogger(__name__)

_FAILED = 70
_LOOK_EVERY_S = 0.2


class _NoKafka(BootStrategy):
    """Faust's services but those of Kafka."""

    enable_kafka = False


class LedgerWorker(OnhandWorker):
    """The process, with its own first words."""

    def say_what_starts(self) -> None:
        """Say what starts, and with what."""
        app: Any = self.app
        settings, database = self.app.settings, app.config.database
        log.info(
            "Onhand %s keeps a ledger: version %d, group %s, process %d.",
            __version__,
            settings.version,
            settings.ledger_group,
            os.getpid(),
        )
        log.info(
            "Kafka: %s (%s). Database: %s. Address: %s.",
            settings.kafka,
            settings.kafka_security_protocol,
            as_told(database),
            settings.url,
        )


class LedgerApp(faust.App):
    """Start: check, bring the schema up, read. Stop: say goodbye, end requests, stop reading."""

    logger = FAUST_LOG
    BootStrategy = _NoKafka
    settings: Settings
    config: LedgerConfig
    keeper: Keeper
    web_part: LedgerWeb
    #: Asked by the process at its end; a ledger has no reason to.
    starts_anew = False
    _telling: Tasks | None = None
    _failing = False
    _stopping = False

    def on_webserver_init(self, web: Any) -> None:
        """Our handlers live on the server that Faust starts."""
        self.web_part.attach(web.web_app)

    async def on_start(self) -> None:
        """Refuse to start on what would fail later; all problems at once."""
        problems = option_problems(self.settings, click.get_current_context(silent=True))
        if problems:
            refuse_to_start(problems)
        problems = [str(problem) for problem in await topics.check(self.settings)]
        problems = problems or await self._choose_rules()
        problems += port_problems(self.settings.web_host, self.settings.web_port)
        if not problems:
            try:
                await self.keeper.prepare()
            except LedgerUnavailable as error:
                problems.append(str(error))
        if problems:
            refuse_to_start(problems)
        await super().on_start()
        settle_memory()
        self.keeper.start()
        await self.web_part.start()
        self._telling = Tasks(self.fail)
        self._telling.start(self._say_ready(), "the ledger is ready")

    async def _say_ready(self) -> None:
        """One line, as a worker has it, once this ledger answers."""
        began, keeper = time.monotonic(), self.keeper
        while True:
            if keeper.joined and not keeper.is_waiting and not keeper.is_building:
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        log.info(
            "This ledger answers, %.1f s after its start. It keeps partitions: %s.",
            time.monotonic() - began,
            spans(keeper.partitions),
        )

    async def _choose_rules(self) -> list[str]:
        """Judge by what the record has for this version; why that cannot be."""
        version = self.settings.version
        try:
            last = (await recorded(self.settings)).last
        except (KafkaError, OSError, TimeoutError, Unreadable) as error:
            return [kafka_failed(self.settings, error)]
        begun = None if last is None else last.versions.get(str(version))
        if begun is None:
            return []
        try:
            self.config.ruling.choose(version, begun.rules)
        except RulesNotHeld as error:
            return [str(error)]
        self.web_part.judge_by(begun.rules)
        return []

    async def stop(self) -> None:
        """Leave in order; also called by Faust on SIGTERM."""
        if not self._stopping:
            self._stopping = True
            log.info("Stopping: finishing requests, leaving the group.")
            if self._telling is not None:
                await self._telling.cancel()
            await asyncio.gather(self.web_part.stop(), self.keeper.stop())
        await super().stop()

    async def fail(self, sentence: str, error: BaseException | None) -> None:
        """End the process now, with one sentence."""
        if not self._failing:
            self._failing = True
            log.critical("%s The ledger ends; what is committed is safe.", sentence, exc_info=error)
            logging.shutdown()
            sys.stdout.flush()
            os._exit(_FAILED)


def build_ledger(settings: Settings | None = None) -> LedgerApp:
    """The application; starts nothing and asks nobody.

    Wrong settings end the process with one sentence each.
    """
    try:
        settings = settings or Settings.of_ledger()
        config = _config(settings)
        access = access_of(settings)
        make_folder(settings.data_dir / settings.ledger_group)  # Faust's own lies in it
    except (SettingsError, LedgerUnavailable, AccessError, StoreFailed) as error:
        refuse_to_start(str(error).splitlines())
        raise  # unreachable: refuse ends the process
    session_s = settings.session_timeout_ms / 1000
    app = LedgerApp(
        settings.ledger_group,
        broker=[f"kafka://{server}" for server in settings.kafka.split(",")],
        store="memory://",
        datadir=str(settings.data_dir / settings.ledger_group / "faust"),
        autodiscover=False,
        origin="app",
        broker_session_timeout=session_s,
        broker_heartbeat_interval=session_s / 5,
        web_bind=settings.web_host,
        web_host=settings.web_host,
        web_port=settings.web_port,
        canonical_url=settings.url,
        Worker=LedgerWorker,
        worker_redirect_stdouts=False,
        logging_config=configuration(settings.log_level, settings.log_format),
    )
    app.settings, app.config = settings, config
    app.keeper = Keeper(config, app.fail)
    app.web_part = LedgerWeb(
        LedgerWebConfig(
            url=settings.url,
            version=settings.version,
            rules=config.ruling.now.number,
            kafka=settings.client_kwargs(),
            topics=list(settings.source_topics.values()),
            members_topic=settings.members_topic,
            build=__version__,
            window=settings.dedup_window,
            connections=descriptors.of_others(0, is_secured=bool(settings.tls_cert)),
        ),
        History.opened(
            config.database,
            config.group,
            list(settings.source_topics.values()),
            settings.partitions,
        ),
        app.keeper,
        app.fail,
        access,
    )
    app.web.blueprints = BlueprintManager([])
    return app


def _config(settings: Settings) -> LedgerConfig:
    return LedgerConfig(
        kafka=settings.client_kwargs(),
        group=settings.ledger_group,
        topics={topic: role for role, topic in settings.source_topics.items()},
        partitions=settings.partitions,
        window=settings.dedup_window,
        session_timeout_ms=settings.session_timeout_ms,
        database=url_of(settings.ledger_database),
        ruling=Ruling(),
        agreed={
            "window": str(settings.dedup_window),
            "partitions": str(settings.partitions),
            "version": settings.group,
            "topics": ",".join(settings.source_topics.values()),
        },
    )


def __getattr__(name: str) -> Any:
    if name == "app":
        app = globals()["app"] = build_ledger()
        return app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


logging.captureWarnings(True)
