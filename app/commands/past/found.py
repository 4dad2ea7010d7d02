"""What an audit found, in words and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from app.commands.console import Cell, coloured, moment, plain

if TYPE_CHECKING:
    from audit.auditing import Audited
    from audit.comparing import Held, LineFault, RowDifference
    from audit.explaining import Explanation

_SHOWN = 20
_FIELDS = (
    "received",
    "dispatched",
    "sold",
    "returned",
    "adjusted",
    "damaged",
    "events",
    "checksum",
)


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
