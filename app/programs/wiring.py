"""A program is put together here: steps to tables, tables to agents, the last table to the web."""

from __future__ import annotations

from collections.abc import Callable

from agents.counting import counting_agent
from app import __version__
from app.access import access_of
from app.config import Settings
from app.counting import CountedTable
from app.group.assignment import ChangelogTable, PartitionManager
from app.group.assignor import OnhandAssignor
from app.group.delivery import ConsumerDelivery
from app.news import News
from app.programs.program import Names, Program, Step, step_names, table_config
from app.programs.service import ProgramApp, ProgramWorker
from app.wiring import faust_options, without_pages
from tables.decoder import Decoder
from tables.home.memory import MemoryStores
from tables.home.rocks import RocksStores
from tables.home.store import Stores
from tables.ports import Fail
from tables.table import Table
from web.program import ProgramWeb, ProgramWebConfig


def build_program(
    program: Program,
    settings: Settings,
    *,
    stores: Callable[[Names], Stores] | None = None,
    end: Fail | None = None,
) -> ProgramApp:
    """The application; starts nothing and asks nobody.

    Args:
        program: what is counted.
        settings: of this worker.
        stores: where the rows of a step rest on this worker. None: as the settings say.
        end: told when the worker cannot go on. None: the process ends.

    Raises:
        DataFolderInUse, StoreFailed: the data folder cannot be used.
        AccessError: a file of tokens or secrets cannot be used.
    """
    app = ProgramApp(
        settings.group,
        TableManager=PartitionManager,
        PartitionAssignor=OnhandAssignor,
        table_standby_replicas=settings.standbys,
        topic_partitions=settings.partitions,
        web_port=settings.web_port,
        canonical_url=settings.url,
        **faust_options(settings, settings.group) | {"Worker": ProgramWorker},
    )
    app.settings, app.program, app.end = settings, program, end
    # Faust keeps a folder of its own there, and makes it without its parents.
    (settings.data_dir / settings.group).mkdir(parents=True, exist_ok=True)
    rest = stores or (lambda names: _stores(settings, names))
    app.count(*(_counted(app, step, rest(step_names(step, settings))) for step in program.steps))
    for one in app.counted:
        _join(app, one)
    read = app.counted[-1]
    config = ProgramWebConfig(
        url=settings.url,
        version=settings.version,
        rules=read.config.projection.rules,
        kafka=settings.client_kwargs(),
        topics=list(read.config.topics),
        members_topic=settings.members_topic,
        build=__version__,
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


def _stores(settings: Settings, names: Names) -> Stores:
    if settings.store == "memory":
        return MemoryStores()
    return RocksStores(names.folder, names.table)


def _counted(app: ProgramApp, step: Step, stores: Stores) -> CountedTable:
    config = table_config(app.program, step, app.settings)

    def owned_elsewhere(partition: int) -> bool:
        owner = app.web_part.members.roster.owner(partition)
        return owner is not None and not owner.leaving

    consumer = ConsumerDelivery(app, config.topics)
    table = Table(config, stores, consumer, consumer, app.fail, owned_elsewhere)
    return CountedTable(config, table, Decoder(step.projection, config.topics, config.partitions))


def _join(app: ProgramApp, one: CountedTable) -> None:
    """What Faust must know to place partitions and to hand over what was fetched."""
    config, name = one.config, one.config.projection.name
    app.tables.add(
        ChangelogTable(
            app,
            name=name,
            changelog=config.changelog,
            partitions=config.partitions,
            help="A table of the program.",
        )
    )
    sources = app.topic(
        *config.topics, key_type=bytes, value_type=bytes, partitions=config.partitions
    )
    app.agent(sources, name=name)(counting_agent(one.table, app.fail))
