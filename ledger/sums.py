"""The numbers of a row as the ledger keeps them: those of `domain.rows.Row`, in its order.

Which of them an event changes, and by how much, the rules say when it is written (`field` and
`amount` of `ledger.schema.event`). So no question knows a rule, and a ledger by any rules is
asked in the same words. In the tables updated_at is in µs, and the checksum is not cut to 64 bits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from domain.rows import CHECKSUM, EVENT_COUNT, ROW_FIELDS, UPDATED_AT, Row

NO_SUMS: Final = (0,) * len(ROW_FIELDS)
#: Those that say how much there is of something, by number.
QUANTITIES: Final[Mapping[int, str]] = {
    number: name
    for number, name in enumerate(ROW_FIELDS)
    if number not in (EVENT_COUNT, CHECKSUM, UPDATED_AT)
}
#: What one of each of these is on hand: 1, -1 or 0.
_SIGNS: Final = {number: Row(**{name: 1}).on_hand for number, name in QUANTITIES.items()}
_MASK: Final = 2**64 - 1

#: SQL over lines of `event`: the number that one changes, and by how much.
FIELD: Final = "coalesce(field, kind)"
AMOUNT: Final = "coalesce(amount, quantity)"


def _of_sign(sign: int) -> str:
    return ", ".join(str(number) for number, its in _SIGNS.items() if its == sign)


#: SQL: what a line that was applied adds to on hand.
CHANGE: Final = (
    f"{AMOUNT} * CASE WHEN {FIELD} IN ({_of_sign(1)}) THEN 1 "
    f"WHEN {FIELD} IN ({_of_sign(-1)}) THEN -1 ELSE 0 END"
)


def _sum_of(number: int) -> str:
    if number in QUANTITIES:
        # By rules 2 kinds are numbers of fields; what came later is no kind. FILTER and this take
        # two thirds of the time of a CASE over a row of 100,000 facts.
        which = FIELD if number < EVENT_COUNT else "field"
        return f"coalesce(sum({AMOUNT}) FILTER (WHERE {which} = {number}), 0)"
    return {EVENT_COUNT: "count(*)", CHECKSUM: "sum(crc)", UPDATED_AT: "max(recorded_at)"}[number]


#: SQL: the sums of lines that were applied, in the order of a row's fields.
LINE_SUMS: Final = tuple(map(_sum_of, range(len(ROW_FIELDS))))


def change_of(kind: int | None, quantity: int | None, field: int | None, amount: int | None) -> int:
    """The same of one line, from its columns; 0 where it says nothing."""
    if kind is None or quantity is None:
        return 0
    return _SIGNS[kind if field is None else field] * (quantity if amount is None else amount)


def row_from(sums: Sequence[Any]) -> Row | None:
    """PostgreSQL gives sums of bigint as decimals, however small; SQLite None of nothing."""
    if not sums[EVENT_COUNT]:
        return None
    numbers = list(map(int, sums))
    numbers[CHECKSUM] &= _MASK
    numbers[UPDATED_AT] //= 1000
    return Row(*numbers)


def together(parts: Iterable[Sequence[Any]]) -> tuple[int, ...]:
    """Several sums in one; None counts nothing."""
    total = list(NO_SUMS)
    for part in parts:
        numbers = [int(number or 0) for number in part]
        latest = max(total[UPDATED_AT], numbers[UPDATED_AT])
        total = [one + more for one, more in zip(total, numbers, strict=True)]
        total[UPDATED_AT] = latest
    return tuple(total)
