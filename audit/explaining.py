"""Which facts make the difference between a row and what the log makes of it.

A row is sums, so what is wrong with it is a sum, too: of facts that are missing (minus) and of
facts that are in it twice (plus). The two numbers that every fact has of its own, one event and
the CRC-32 of its name, make a fact known by its difference. Looked for, in this order: one fact;
a run of one topic that follow each other (a batch, or all from somewhere on: an old row); two
facts; one missing and another one twice. What is left over then is a fact whose quantity was
counted wrong, or cannot be told from the row alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from msgspec import Struct

from audit.comparing import RowDifference, Unread
from audit.recount import Recounted
from core.records import Record
from core.refusals import Refused
from domain.rows import CHECKSUM, EVENT_COUNT, ROW_FIELDS, UPDATED_AT
from domain.rules.sets import RuleSet
from ledger.lines import APPLIED

_MASK: Final = 2**64 - 1
#: Facts of a row among which pairs are looked for: a second's work.
_MOST_FOR_PAIRS: Final = 200_000
#: Facts that a sentence names; the others are counted.
_NAMED: Final = 5
_SIGNS: Final = {1: "twice", -1: "missing"}
#: The numbers of some facts, the checksum modulo 2^64; no sum, and so always 0, is the time.
_Vector: TypeAlias = tuple[int, ...]
_WIDTH: Final = len(ROW_FIELDS)
_NOT_QUANTITIES: Final = EVENT_COUNT, CHECKSUM, UPDATED_AT


class WatchedFact(NamedTuple):
    """An event of a row that is looked at closely, whatever became of it."""

    counted: Recounted
    source: str
    id: str


class Watch:
    """Keeps the facts of some rows; `see` is given to a `Recount`."""

    def __init__(self, keys: Iterable[bytes], rules: RuleSet) -> None:
        self._rules = rules
        self.facts: dict[bytes, list[WatchedFact]] = {key: [] for key in keys}

    def see(self, counted: Recounted, record: Record) -> None:
        """One more record."""
        if (facts := self.facts.get(counted.key)) is None:
            return
        event = self._rules.decode(record[3], record[4])
        if not isinstance(event, Refused):
            facts.append(WatchedFact(counted, event.source, event.id))


class FactCause(Struct, frozen=True):
    """Some facts, and what is wrong with them: "missing", "twice" or "changed"."""

    what: str
    facts: list[WatchedFact]


class Explanation(Struct, frozen=True):
    """Why a row is wrong. rest: sentences for what no fact explains."""

    causes: list[FactCause]
    rest: list[str]


def explain_row(
    difference: RowDifference, facts: Sequence[WatchedFact], positions: Mapping[str, int]
) -> Explanation:
    """Find facts that make the difference.

    Args:
        difference: of a row.
        facts: all of the row's, also those that were repeated, in the order of each topic.
        positions: next offsets of the copy.
    """
    if isinstance(difference.found, Unread):
        return Explanation([], [f"What is stored is no row: {difference.found.why}."])
    counted = [
        fact
        for fact in facts
        if fact.counted.outcome == APPLIED
        and fact.counted.offset < positions.get(fact.counted.topic, 0)
    ]
    if difference.found is None:
        return Explanation([FactCause("missing", counted)], [])
    gap = _gap(difference)
    ahead = [fact for fact in facts if fact.counted.offset >= positions.get(fact.counted.topic, 0)]
    causes = _causes(gap, counted, ahead)
    for cause in causes:
        sign = -1 if cause.what == "missing" else 1
        gap = _minus(gap, _times(_sum(map(_vector, cause.facts)), sign))
    return Explanation(*_leftover(difference, gap, counted, causes))


def _causes(
    gap: _Vector, counted: Sequence[WatchedFact], ahead: Sequence[WatchedFact]
) -> list[FactCause]:
    if not gap[EVENT_COUNT] and not gap[CHECKSUM]:
        return []
    sign = 1 if gap[EVENT_COUNT] > 0 else -1
    wanted = _times(gap, sign)
    if (one := _single(wanted, counted)) is not None:
        return [FactCause(_SIGNS[sign], [one])]
    if sign > 0 and (early := _single(wanted, ahead)) is not None:
        return [FactCause("too early", [early])]
    if gap[EVENT_COUNT] and (run := _run(wanted, counted)):
        return [FactCause(_SIGNS[sign], run)]
    if abs(gap[EVENT_COUNT]) == 2 and (pair := _pair(wanted, counted, 1)):
        return [FactCause(_SIGNS[sign], list(pair))]
    if gap[EVENT_COUNT] == 0 and (pair := _pair(gap, counted, -1)):
        return [FactCause("twice", [pair[0]]), FactCause("missing", [pair[1]])]
    return []


def _single(wanted: _Vector, facts: Sequence[WatchedFact]) -> WatchedFact | None:
    """One fact of this name; of several the one whose quantity is right as well."""
    named = [
        fact for fact in facts if wanted[EVENT_COUNT] == 1 and fact.counted.crc == wanted[CHECKSUM]
    ]
    whole = [fact for fact in named if _vector(fact) == wanted]
    return next(iter(whole or named), None)


def _run(wanted: _Vector, facts: Sequence[WatchedFact]) -> list[WatchedFact]:
    """Facts of one topic that follow each other."""
    length = wanted[EVENT_COUNT]
    for topic in dict.fromkeys(fact.counted.topic for fact in facts):
        some = [fact for fact in facts if fact.counted.topic == topic]
        checksum = sum(fact.counted.crc for fact in some[:length])
        for start in range(len(some) - length + 1):
            run = some[start : start + length]
            if checksum & _MASK == wanted[CHECKSUM] and _sum(map(_vector, run)) == wanted:
                return run
            if start + length < len(some):
                checksum += some[start + length].counted.crc - some[start].counted.crc
    # The newest of all topics: a row as it was once. All: one that was begun anew.
    newest = sorted(facts, key=lambda fact: fact.counted.time_ms)[-length:]
    return newest if _sum(map(_vector, newest)) == wanted else []


def _pair(
    wanted: _Vector, facts: Sequence[WatchedFact], sign: int
) -> tuple[WatchedFact, WatchedFact] | None:
    """Two facts: the first and `sign` times the second are what is wanted."""
    if len(facts) > _MOST_FOR_PAIRS:
        return None
    by_vector = {_vector(fact): fact for fact in facts}
    for fact in facts:
        # first = wanted - sign * second
        other = by_vector.get(_minus(wanted, _times(_vector(fact), sign)))
        if other is not None and other is not fact:
            return other, fact
    return None


def _leftover(
    difference: RowDifference,
    gap: _Vector,
    counted: Sequence[WatchedFact],
    causes: Sequence[FactCause],
) -> tuple[list[FactCause], list[str]]:
    """What no missing or doubled fact explains: another quantity, or nothing known."""
    causes, rest = list(causes), []
    wrong = [(n, at) for at, n in enumerate(ROW_FIELDS) if gap[at] and at not in _NOT_QUANTITIES]
    if gap[EVENT_COUNT] or gap[CHECKSUM]:
        rest.append(
            f"It counts {gap[EVENT_COUNT]:+,} events, and its checksum differs: no one or two of "
            "its facts, and no run of them, make that up."
        )
        return causes, rest
    for name, field in wrong:
        of_kind = [fact for fact in counted if fact.counted.field == field]
        says = f"{name} is {gap[field]:+,} from what {_count(of_kind)} of this kind say"
        if len(of_kind) == 1:
            causes.append(FactCause("changed", of_kind))
            rest.append(f"{says}: it was counted with another quantity.")
        elif not of_kind:
            rest.append(f"{says}: the number was changed.")
        else:
            rest.append(
                f"{says}: one of them was counted with another quantity, or the number "
                "was changed; the row alone cannot tell which."
            )
    if not causes and not wrong and difference.right_row.updated_at != _updated_at(difference):
        rest.append("Only its time is wrong: it is not that of its newest fact.")
    return causes, rest


def _updated_at(difference: RowDifference) -> int:
    return difference.found_row.updated_at


def _gap(difference: RowDifference) -> _Vector:
    """Found minus right."""
    right, found = difference.right_row, difference.found_row
    gap = [getattr(found, name) - getattr(right, name) for name in ROW_FIELDS]
    gap[UPDATED_AT] = 0
    return _reduced(tuple(gap))


def _vector(fact: WatchedFact) -> _Vector:
    numbers = [0] * _WIDTH
    numbers[fact.counted.field] = fact.counted.amount
    numbers[EVENT_COUNT], numbers[CHECKSUM] = 1, fact.counted.crc
    return tuple(numbers)


def _sum(vectors: Iterator[_Vector]) -> _Vector:
    total: _Vector = (0,) * _WIDTH
    for vector in vectors:
        total = tuple(a + b for a, b in zip(total, vector, strict=True))
    return _reduced(total)


def _minus(one: _Vector, other: _Vector) -> _Vector:
    return _reduced(tuple(a - b for a, b in zip(one, other, strict=True)))


def _times(vector: _Vector, factor: int) -> _Vector:
    return _reduced(tuple(factor * number for number in vector))


def _reduced(vector: _Vector) -> _Vector:
    return (*vector[:CHECKSUM], vector[CHECKSUM] & _MASK, *vector[CHECKSUM + 1 :])


def _count(facts: Sequence[WatchedFact]) -> str:
    return f"{len(facts):,} fact{'' if len(facts) == 1 else 's'}"


def told(cause: FactCause) -> Iterator[str]:
    """Sentences about a cause, for people: the first facts by name, then how many more."""
    says = {
        "missing": "missing",
        "twice": "counted twice",
        "too early": "counted before its turn",
        "changed": "counted with another quantity",
    }[cause.what]
    for fact in cause.facts[:_NAMED]:
        yield f"{says}: {named_fact(fact)}"
    if (more := len(cause.facts) - _NAMED) > 0:
        yield f"{says}: {more:,} more, up to {named_fact(cause.facts[-1])}"


def named_fact(fact: WatchedFact) -> str:
    """A fact in words."""
    at = fact.counted
    return (
        f"{fact.id} of {fact.source} ({ROW_FIELDS[at.field]} {at.amount:,}, offset {at.offset} of "
        f"{at.topic})"
    )
