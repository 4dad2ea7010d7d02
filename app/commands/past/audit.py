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
    from audit.auditing import AuditConfig, Audited, Auditor
    from audit.comparing import Difference, Held
    from audit.explaining import Explanation

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
    "--repair", "repaired", nargs=2, metavar="SKU LOCATION", help="Let its owner set a row right."
)
@kafka_option
@url_option
@as_json
def audit(
    partitions: tuple[int, ...],
    explained: tuple[str, str] | None,
    repaired: tuple[str, str] | None,
    kafka: str | None,
    url: tuple[str, ...],
    as_json: bool,
) -> None:
    """Count the log again by another fold, and hold every copy's rows against it.

    Each copy (owners' and standbys') is read at one position of its own, while work goes on;
    a row that differs is explained by the facts that are missing from it or are in it twice.
    The exit code is 0 if all agree, 1 if something differs, 2 if something could not be compared.
    """
    from audit.log import AuditFailed

    settings = settings_from(kafka=kafka)
    row = explained or repaired
    numbers = _numbers(settings, partitions, row)
    work = _audit(settings, url, numbers, repaired, as_json)
    found = run(work, AuditFailed)
    if as_json:
        print_json({"partitions": [as_document(one) for one in found]})
    else:
        for one in found:
            for line in lines_of(one, only=row):
                click.echo(line)
        click.echo(summary(found))
    sys.exit(exit_code(found))


async def _audit(
    settings: Settings,
    url: tuple[str, ...],
    numbers: Sequence[int],
    repaired: tuple[str, str] | None,
    as_json: bool,
) -> list[Audited]:
    from audit.auditing import an_auditor
    from domain.rows import row_key

    async with AsyncExitStack() as stack:
        auditor: Auditor = await an_auditor(config_of(settings, url), stack)
        auditor.said = Ticker("records read")
        if repaired is not None:
            await auditor.repair(numbers[0], row_key(*repaired))
            if not as_json:
                click.echo(f"{' at '.join(map(plain, repaired))} was repaired; looking again.")
        return [await auditor.partition(number) for number in numbers]


def config_of(settings: Settings, url: tuple[str, ...]) -> AuditConfig:
    """What an audit must know."""
    from app.commands.running import workers_of
    from audit.auditing import AuditConfig
    from domain.events import RULES

    return AuditConfig(
        kafka=settings.client_kwargs(),
        topics={topic: role for role, topic in settings.source_topics.items()},
        partitions=settings.partitions,
        window=settings.dedup_window,
        rules=RULES,
        version=settings.version,
        workers=workers_of(url),
    )


def _numbers(
    settings: Settings, partitions: tuple[int, ...], row: tuple[str, str] | None
) -> Sequence[int]:
    from core.partitioning import partition_for

    if row is not None:
        return [partition_for(row[0].encode(), settings.partitions)]
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


def lines_of(one: Audited, only: tuple[str, str] | None = None) -> list[str]:
    """What is to be said of a partition; nothing if all is well and no row was asked for."""
    from domain.rows import split_key

    lines = []
    if not one.copies:
        lines.append(_red(f"Partition {one.partition}: nobody has a copy of it now."))
    for held in one.copies:
        where = f"{held.where} ({held.role})"
        if held.unread is not None:
            lines.append(_red(f"Partition {one.partition}: {where} {held.unread}."))
        for topic, (found, right) in held.counts.items():
            lines.append(
                _red(
                    f"Partition {one.partition}: {where} says of {topic} that it applied, repeated "
                    f"and refused {_three(found)}; the log says {_three(right)}."
                )
            )
        wanted = [d for d in held.differences if only in (None, split_key(d.key))]
        for difference in wanted[:_SHOWN]:
            lines += _difference_lines(held, difference, one.explanations)
        if (more := len(wanted) - _SHOWN + held.more) > 0:
            lines.append(f"… and {more:,} rows more there (--json has the first 10,000).")
        if only is not None and not wanted and held.unread is None:
            lines.append(f"{where}: {plain(only[0])} at {plain(only[1])} is as the log says.")
    return lines


def _difference_lines(
    held: Held, difference: Difference, explanations: dict[tuple[str, bytes], Explanation]
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


def _gaps(difference: Difference) -> list[str]:
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
        "differences": [_document(held, each, one.explanations) for each in held.differences],
        "more": held.more,
    }


def _document(
    held: Held, difference: Difference, explanations: dict[tuple[str, bytes], Explanation]
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
                        "quantity": fact.counted.quantity,
                    }
                    for fact in cause.facts
                ],
            }
            for cause in (explanation.causes if explanation else ())
        ],
        "says": list(explanation.rest) if explanation else [],
    }
