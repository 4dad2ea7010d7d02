"""`onhand audit`: the log counted again, and held against every copy of every row."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import click

from app.commands.console import Ticker, plain, print_json
from app.commands.past.found import as_document, exit_code, lines_of, summary
from app.commands.running import (
    as_json,
    authorities_of_command,
    kafka_option,
    refuse,
    run,
    settings_from,
    token_of_command,
    url_option,
)

if TYPE_CHECKING:
    from app.config import Settings
    from audit.auditing import AuditConfig, Audited, Auditor
    from ledger.audited import AuditedLedger


@click.command(short_help="Count the log again, and compare every row of every copy.")
@click.option(
    "--partition", "partitions", multiple=True, type=click.IntRange(0), help="Only this one."
)
@click.option(
    "--explain", "explained", nargs=2, metavar="SKU LOCATION", help="One row in every copy."
)
@click.option(
    "--repair",
    "repaired",
    nargs=2,
    multiple=True,
    metavar="SKU LOCATION",
    help="Set a row right, then look again. May be given several times.",
)
@click.option("--watch", "is_watch", is_flag=True, help="Do so for ever; see --port.")
@click.option(
    "--port",
    default=6366,
    show_default=True,
    type=click.IntRange(1, 65_535),
    help="With --watch: where /v1/audit and /metrics are, on ONHAND_WEB_HOST.",
)
@click.option("--chain", "is_chain", is_flag=True, help="Make the chain of hashes again instead.")
@click.option(
    "--against",
    type=click.Path(exists=True, dir_okay=False),
    help="With --chain: heads that were kept, as its --json wrote them.",
)
@click.option("--no-ledger", is_flag=True, help="Leave the ledger out.")
@kafka_option
@url_option
@as_json
def audit(
    partitions: tuple[int, ...],
    explained: tuple[str, str] | None,
    repaired: tuple[tuple[str, str], ...],
    is_watch: bool,
    port: int,
    is_chain: bool,
    against: str | None,
    no_ledger: bool,
    kafka: str | None,
    url: tuple[str, ...],
    as_json: bool,
) -> None:
    """Count the log again by another fold, and hold every copy's rows against it.

    Each copy (owners' and standbys', and the ledger where one is kept) is read at one position
    of its own, while work goes on; a row that differs is explained by the facts that are missing
    from it or are in it twice.

    A repair adds what is missing through the row's owner, which writes it anew for all copies.
    It is taken on the machine of the owner alone, or by a token of the scope operate.

    With --chain, the chain of hashes over every record is made again from the log, and held
    against the ledger's heads and those in a file. A head that is kept elsewhere shows later
    that nothing below it was changed, dropped or put in between.

    With --watch it goes on, partition after partition, one in memory at a time, and tells what it
    found last as JSON and as metrics.

    The exit code is 0 if all agree, 1 if something differs, 2 if something could not be compared.
    """
    from audit.log import AuditFailed
    from ledger.engine import LedgerUnavailable

    settings = settings_from(kafka=kafka)
    if against is not None and not is_chain:
        refuse("--against needs --chain.")
    if is_chain:
        from app.commands.past.chain import chain

        chain(settings, _numbers(settings, partitions, ()), against, no_ledger, as_json)
    rows = [*repaired, *([explained] if explained else [])]
    numbers = _numbers(settings, partitions, rows)
    if is_watch:
        run(
            _watch(settings, url, numbers, no_ledger, port), AuditFailed, LedgerUnavailable, OSError
        )
    work = _audit(settings, url, numbers, repaired, no_ledger)
    found = run(work, AuditFailed, LedgerUnavailable)
    if as_json:
        print_json({"partitions": [as_document(one) for one in found]})
    else:
        for row in repaired:
            click.echo(f"{plain(row[0])} at {plain(row[1])} was repaired.")
        for one in found:
            for line in lines_of(one, rows):
                click.echo(line)
        click.echo(summary(found))
    sys.exit(exit_code(found))


async def _audit(
    settings: Settings,
    url: tuple[str, ...],
    numbers: Sequence[int],
    repaired: Sequence[tuple[str, str]],
    no_ledger: bool,
) -> list[Audited]:
    from core.partitioning import partition_for
    from domain.rows import row_key

    said = Ticker("records read")  # from now on: Kafka may take a while to answer at all
    async with AsyncExitStack() as stack:
        auditor, ledger = await _begin(settings, url, no_ledger, stack)
        auditor.said = said
        by_partition: dict[int, list[bytes]] = {}
        for sku, location in repaired:
            number = partition_for(sku.encode(), settings.partitions)
            by_partition.setdefault(number, []).append(row_key(sku, location))
        for number, keys in by_partition.items():
            await auditor.repair(number, keys)
            if ledger is not None:
                await auditor.repair_ledger(number, keys)
        return [await auditor.partition(number) for number in numbers]


async def _begin(
    settings: Settings, url: tuple[str, ...], no_ledger: bool, stack: AsyncExitStack
) -> tuple[Auditor, AuditedLedger | None]:
    from app.commands.past.chain import ledger_of
    from audit.auditing import an_auditor

    ledger = None if no_ledger else ledger_of(settings)
    if ledger is not None:
        stack.callback(ledger.close)
    config = await config_of(settings, url, ledger)
    auditor = await an_auditor(config, stack, token_of_command(), authorities_of_command())
    return auditor, ledger


async def _watch(
    settings: Settings,
    url: tuple[str, ...],
    numbers: Sequence[int],
    no_ledger: bool,
    port: int,
) -> None:
    from msgspec.structs import replace

    from app.access import access_of
    from app.commands.past.watch import Watched, telling_of, url_at, watch
    from app.settings.listening import port_problems
    from web.access.watched import AccessError

    for problem in port_problems(settings.web_host, port, "--port"):
        refuse(problem)
    settings = replace(settings, url=url_at(settings, port))
    try:
        access = access_of(settings)
    except AccessError as error:
        refuse(str(error))

    def say(found: Audited) -> None:
        for line in lines_of(found):
            click.echo(line)

    async with AsyncExitStack() as stack:
        auditor, _ = await _begin(settings, url, no_ledger, stack)
        click.echo(f"Watching: {settings.local_url(port)}/v1/audit")
        at = (settings.web_host, port)
        members = telling_of(settings, auditor.config.rules.number, access)
        await watch(auditor, numbers, Watched(as_document), say, at, access, members)


async def config_of(
    settings: Settings, url: tuple[str, ...], ledger: AuditedLedger | None
) -> AuditConfig:
    """What an audit must know.

    Raises:
        AuditFailed: by which rules the version counts cannot be told, or not by this build.
    """
    from aiokafka.errors import KafkaError

    from app.commands.running import workers_of
    from app.upgrades.record import recorded
    from audit.auditing import AuditConfig
    from audit.log import AuditFailed
    from domain.rules.held import CURRENT, HELD
    from wire.batches import Unreadable

    try:
        last = (await recorded(settings)).last
    except (KafkaError, OSError, TimeoutError, Unreadable) as error:
        raise AuditFailed(f"Kafka does not answer at {settings.kafka}: is it there?") from error
    begun = None if last is None else last.versions.get(str(settings.version))
    number = CURRENT.number if begun is None else begun.rules
    if number not in HELD:
        raise AuditFailed(
            f"Version {settings.version} counts by rules {number}, which this build does not "
            "hold: audit it with its own build."
        )
    return AuditConfig(
        kafka=settings.client_kwargs(),
        topics={topic: role for role, topic in settings.source_topics.items()},
        partitions=settings.partitions,
        window=settings.dedup_window,
        rules=HELD[number],
        version=settings.version,
        workers=workers_of(url),
        ledger=ledger,
    )


def _numbers(
    settings: Settings, partitions: tuple[int, ...], rows: Sequence[tuple[str, str]]
) -> Sequence[int]:
    from core.partitioning import partition_for

    if rows:
        return sorted({partition_for(sku.encode(), settings.partitions) for sku, _ in rows})
    if beyond := [number for number in partitions if number >= settings.partitions]:
        refuse(f"There is no partition {beyond[0]}: ONHAND_PARTITIONS is {settings.partitions}.")
    return partitions or range(settings.partitions)
