"""`onhand audit`: the log counted again, and held against every copy of every row."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import click

from app.commands.console import Cell, Ticker, coloured, moment, plain, print_json
from app.commands.running import as_json, kafka_option, refuse, run, settings_from, url_option

if TYPE_CHECKING:
    from app.config import Settings
    from audit.auditing import AuditConfig, Audited
    from audit.comparing import Held, LineFault, RowDifference
    from audit.explaining import Explanation
    from ledger.audited import AuditedLedger

_SHOWN = 20
_FIELDS = ("received", "dispatched", "sold", "returned", "adjusted", "events", "checksum")


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
    It is taken on the machine of the owner alone.

    With --chain, the chain of hashes over every record is made again from the log, and held
    against the ledger's heads and those in a file. A head that is kept elsewhere shows later
    that nothing below it was changed, dropped or put in between.

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
    from app.commands.past.chain import ledger_of
    from audit.auditing import an_auditor
    from core.partitioning import partition_for
    from domain.rows import row_key

    async with AsyncExitStack() as stack:
        ledger = None if no_ledger else ledger_of(settings)
        if ledger is not None:
            stack.callback(ledger.close)
        auditor = await an_auditor(await config_of(settings, url, ledger), stack)
        auditor.said = Ticker("records read")
        by_partition: dict[int, list[bytes]] = {}
        for sku, location in repaired:
            number = partition_for(sku.encode(), settings.partitions)
            by_partition.setdefault(number, []).append(row_key(sku, location))
        for number, keys in by_partition.items():
            await auditor.repair(number, keys)
            if ledger is not None:
                await auditor.repair_ledger(number, keys)
        return [await auditor.partition(number) for number in numbers]


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


def exit_code(found: Sequence[Audited]) -> int:
    """As the command's help says."""
    if any(one.drift for one in found):
        return 1
    return 2 if any(one.unread or not one.copies for one in found) else 0


def summary(found: Sequence[Audited]) -> str:
    """One line."""
    records, rows = sum(one.records for one in found), 0
    copies = drift = 0
    for one in found:
        copies += len(one.copies) - len(one.unread)
        rows += sum(held.rows for held in one.copies)
        drift += one.drift
    says = f"{drift:,} differences" if drift else "all agree with the log"
    return (
        f"{records:,} records counted again, {rows:,} rows of {copies:,} copies of "
        f"{len(found):,} partition{'' if len(found) == 1 else 's'} compared: {says}."
    )


def lines_of(one: Audited, only: Sequence[tuple[str, str]] = ()) -> list[str]:
    """What is to be said of a partition; of these rows alone, if there are some."""
    from domain.rows import split_key

    lines = []
    if not one.copies:
        lines.append(_red(f"Partition {one.partition}: nobody has a copy of it now."))
    for held in one.copies:
        where = f"{held.where} ({held.role})" if held.where != held.role else f"the {held.where}"
        if held.unread is not None:
            lines.append(_red(f"Partition {one.partition}: {where} {held.unread}."))
        for topic, (found, right) in held.counts.items():
            lines.append(
                _red(
                    f"Partition {one.partition}: {where} says of {topic} that it applied, repeated "
                    f"and refused {_three(found)}; the log says {_three(right)}."
                )
            )
        wanted = [d for d in held.differences if not only or split_key(d.key) in only]
        for difference in wanted[:_SHOWN]:
            lines += _difference_lines(held, difference, one.explanations)
        if (more := len(wanted) - _SHOWN + held.more) > 0:
            lines.append(f"… and {more:,} rows more there (--json has the first 10,000).")
        faults = [f for f in held.faults if not only or (f.key and split_key(f.key) in only)]
        lines += [_red(_fault_line(fault)) for fault in faults[:_SHOWN]]
        if (more := len(faults) - _SHOWN + held.more_faults) > 0:
            lines.append(f"… and {more:,} lines more there (--json has the first 10,000).")
        if only and not wanted and not faults and held.unread is None:
            lines.append(f"{where}: as the log says.")
    return lines


def _fault_line(fault: LineFault) -> str:
    at = f"offset {fault.offset} of {fault.topic}, partition {fault.partition}"
    who = f" ({fault.id} of {fault.source})" if fault.id is not None else ""
    gaps = "; ".join(
        f"{name} {found}, should be {right}" for name, (found, right) in fault.columns.items()
    )
    says = {
        "missing": "is missing in the ledger",
        "invented": "is in the ledger, and no record made it",
        "changed": f"is changed in the ledger: {gaps}",
    }[fault.what]
    return plain(f"The line of {at}{who} {says}.")


def _difference_lines(
    held: Held, difference: RowDifference, explanations: dict[tuple[str, bytes], Explanation]
) -> list[str]:
    from audit.explaining import told
    from core.positions import format_position
    from domain.rows import split_key

    sku, location = split_key(difference.key)
    at = format_position(
        {(topic, held.partition): end - 1 for topic, end in held.positions.items() if end}
    )
    lines = [
        _red(f"{plain(sku)} at {plain(location)} differs at {held.where} ({held.role}, {at}):"),
        f"  {'; '.join(_gaps(difference))}",
    ]
    explanation = explanations.get((held.where, difference.key))
    if explanation is not None:
        lines += [f"  {plain(line)}" for cause in explanation.causes for line in told(cause)]
        lines += [f"  {plain(sentence)}" for sentence in explanation.rest]
    return lines


def _gaps(difference: RowDifference) -> list[str]:
    if difference.found is None:
        return ["it is not there"]
    if difference.right is None:
        return ["it is there, and no fact names it"]
    right, found = difference.right_row, difference.found_row
    gaps = [
        f"{name} {_shown(name, getattr(found, name))}, should be "
        f"{_shown(name, getattr(right, name))}"
        for name in _FIELDS
        if getattr(found, name) != getattr(right, name)
    ]
    if found.updated_at != right.updated_at:
        gaps.append(f"updated_at {moment(found.updated_at)}, should be {moment(right.updated_at)}")
    return gaps


def _shown(name: str, number: int) -> str:
    return f"{number:016x}" if name == "checksum" else f"{number:,}"


def _three(counts: Sequence[int]) -> str:
    return ", ".join(f"{count:,}" for count in counts)


def _red(text: str) -> str:
    return coloured(Cell(text, "red"))


def as_document(one: Audited) -> dict[str, Any]:
    """For programs."""
    return {
        "partition": one.partition,
        "records": one.records,
        "seconds": round(one.seconds, 3),
        "copies": [_copy_document(one, held) for held in one.copies],
    }


def _copy_document(one: Audited, held: Held) -> dict[str, Any]:
    from core.positions import format_position

    return {
        "where": held.where,
        "role": str(held.role),
        "position": format_position(
            {(topic, held.partition): end - 1 for topic, end in held.positions.items() if end}
        ),
        "rows": held.rows,
        "agrees": held.agrees,
        "unread": held.unread,
        "counts": {
            topic: {"found": found, "right": right} for topic, (found, right) in held.counts.items()
        },
        **({"lines": held.lines, "faults": [_fault(f) for f in held.faults]} if held.lines else {}),
        "differences": [_document(held, each, one.explanations) for each in held.differences],
        "more": held.more,
    }


def _fault(fault: LineFault) -> dict[str, Any]:
    return {
        "what": fault.what,
        "position": f"{fault.topic}-{fault.partition}@{fault.offset}",
        "source": fault.source,
        "id": fault.id,
        "columns": {
            name: {"found": found, "right": right} for name, (found, right) in fault.columns.items()
        },
    }


def _document(
    held: Held, difference: RowDifference, explanations: dict[tuple[str, bytes], Explanation]
) -> dict[str, Any]:
    import msgspec

    from domain.rows import Row, split_key

    sku, location = split_key(difference.key)
    found = difference.found
    explanation = explanations.get((held.where, difference.key))
    return {
        "sku": sku,
        "location": location,
        "right": None if difference.right is None else msgspec.structs.asdict(difference.right),
        "found": msgspec.structs.asdict(found) if isinstance(found, Row) else None,
        "causes": [
            {
                "what": cause.what,
                "facts": [
                    {
                        "source": fact.source,
                        "id": fact.id,
                        "position": f"{fact.counted.topic}-{held.partition}@{fact.counted.offset}",
                        "quantity": fact.counted.amount,
                    }
                    for fact in cause.facts
                ],
            }
            for cause in (explanation.causes if explanation else ())
        ],
        "says": list(explanation.rest) if explanation else [],
    }
