"""A program is put together here: steps to tables, tables to agents, the last table to the web."""

from __future__ import annotations

from collections.abc import Callable

from app import __version__, descriptors
from app.access import access_of
from app.config import Settings
from app.counting.parts import counting_options, join, owned_elsewhere, stores_of, without_pages
from app.counting.worker import CountedTable
from app.group.delivery import ConsumerDelivery
from app.news import News
from app.programs.program import Names, Program, Step, step_names, table_config
from app.programs.service import ProgramApp, ProgramWorker
from tables.decoder import Decoder
from tables.home.kafka import KafkaHome
from tables.home.store import Stores
from tables.ports import Fail
from tables.table import Table
from web.program import ProgramWeb, ProgramWebConfig


def build_program(
    program: Program,
    settings: Settings,
    *,
    stores: Callable[[Names], Stores] | None = None,
    home: Callable[..., KafkaHome] = KafkaHome,
    end: Fail | None = None,
) -> ProgramApp:
    """The application; starts nothing and asks nobody.

    Args:
        program: what is counted.
        settings: of this worker.
        stores: where the rows of a step rest on this worker. None: as the settings say.
        home: makes what keeps the rows of a step for all workers.
        end: told when the worker cannot go on. None: the process ends.

    Raises:
        DataFolderInUse, StoreFailed: the data folder cannot be used.
        AccessError: a file of tokens or secrets cannot be used.
    """
    app = ProgramApp(settings.group, **counting_options(settings) | {"Worker": ProgramWorker})
    app.settings, app.program, app.end = settings, program, end
    rest = stores or (lambda names: stores_of(settings, names.folder, names.table))
    with_stores = [(step, rest(step_names(step, settings))) for step in program.steps]
    app.count(*(_counted(app, step, its, home) for step, its in with_stores))
    for one in app.counted:
        join(app, one, "A table of the program.")
    read = app.counted[-1]
    config = ProgramWebConfig(
        url=settings.url,
        version=settings.version,
        rules=read.config.projection.rules,
        kafka=settings.client_kwargs(),
        topics=list(read.config.topics),
        members_topic=settings.members_topic,
        build=__version__,
        connections=descriptors.of_others(
            settings.partitions * len(program.steps), is_secured=bool(settings.tls_cert)
        ),
    )
    app.web_part = ProgramWeb(
        config, read.table, read.table.stats, program.routes, app.fail, access_of(settings)
    )
    app.news = News(
        read.table.status,
        app.web_part.members.workers,
        lambda: sum(one.table.stats.restored for one in app.counted),
    )
    without_pages(app)
    return app


def _counted(
    app: ProgramApp, step: Step, stores: Stores, home: Callable[..., KafkaHome]
) -> CountedTable:
    config = table_config(app.program, step, app.settings)

    consumer = ConsumerDelivery(app, config.topics)
    elsewhere = owned_elsewhere(lambda: app.web_part.members.roster)
    table = Table(config, stores, consumer, consumer, app.fail, elsewhere, home)
    return CountedTable(config, table, Decoder(step.projection, config.topics, config.partitions))
