"""Judges what an open loop saw over switches: failed, wrong, back; how long, how slow."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dev.oracle.rows import read_position
from dev.oracle.stock import Oracle
from dev.reads.answers import Answer
from dev.reads.verdicts import back_in_time, fault
from dev.switches.load import Posted

GOOD_READ, GOOD_POST = (200, 304, 404), (202,)
#: An answer that is due for longer counts as failed in a benchmark; a test asserts no times.
LATE_S = 2.0


class Moved(NamedTuple):
    """One switch: its record's epoch, the version it made active, when the broker took it (s)."""

    epoch: int
    version: int
    at_s: float


class Seen(NamedTuple):
    """One switch as the readers saw it.

    Attributes:
        moved: what it was.
        seconds: from the record to the end of the last answer, of a request that was sent after
            it, that still came from the version before.
        p50_ms, p99_ms: of reads that were due in it or in the second after it.
    """

    moved: Moved
    seconds: float
    p50_ms: float
    p99_ms: float


@dataclass
class SwitchVerdict:
    """What the loop saw.

    Attributes:
        reads, facts: asked, and accepted.
        failed: in words, each request without a good answer.
        late: good answers that were due for longer than `LATE_S`.
        wrong: in words, each answer that the log contradicts, by the rules of its version.
        back: in words, each answer older in version or position than one before it, through the
            same worker or in the same session.
        switches: each switch.
        quiet_p50_ms, quiet_p99_ms: of reads that were due in no switch.
    """

    reads: int = 0
    facts: int = 0
    failed: list[str] = field(default_factory=list)
    late: int = 0
    wrong: list[str] = field(default_factory=list)
    back: list[str] = field(default_factory=list)
    switches: list[Seen] = field(default_factory=list)
    quiet_p50_ms: float = 0.0
    quiet_p99_ms: float = 0.0

    @property
    def faults(self) -> dict[str, tuple[int, list[str]]]:
        """What must not be: how many of each kind, and the first three; empty is good."""
        kinds = {"failed": self.failed, "wrong": self.wrong, "back": self.back}
        return {name: (len(found), found[:3]) for name, found in kinds.items() if found}


def judge_switches(
    answers: Sequence[Answer],
    posts: Sequence[Posted],
    oracles: Mapping[int, Oracle],
    moves: Sequence[Moved],
    reborn: Mapping[str, Sequence[float]] | None = None,
) -> SwitchVerdict:
    """Judge everything; the oracles (by version) must have read the log to its end."""
    verdict = SwitchVerdict(len(answers), sum(p.facts for p in posts if p.status in GOOD_POST))
    verdict.failed = [_told(a) for a in answers if a.status not in GOOD_READ]
    verdict.failed += [f"POST: {p}" for p in posts if p.status not in GOOD_POST]
    good = [a for a in answers if a.status in GOOD_READ]
    verdict.late = sum(a.ended - a.due > LATE_S for a in good)
    verdict.late += sum(p.ended - p.due > LATE_S for p in posts)
    for answer in answers:
        oracle = oracles.get(answer.version)
        if oracle is None:
            if answer.status in GOOD_READ:
                verdict.wrong.append(f"of version {answer.version}: {_told(answer)}")
        elif told := fault(answer, oracle):
            verdict.wrong.append(f"version {answer.version}: {told}")
    verdict.back = [
        *back_in_time(good, reborn or {}),
        *back_in_version(good),
        *behind_what_was_asked(good),
    ]
    verdict.switches = list(_seen(good, moves))
    quiet = [a for a in good if not _is_in_a_switch(a, verdict.switches)]
    verdict.quiet_p50_ms, verdict.quiet_p99_ms = _quantiles_ms(quiet)
    return verdict


def back_in_version(answers: Iterable[Answer]) -> Iterator[str]:
    """Answers by an older record than one that the same worker had given before.

    Also one that was started again: it reads the record before anything else.
    """
    by_door: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        by_door[answer.asked].append(answer)
    for door in by_door.values():
        complete, done, epoch = sorted(door, key=lambda a: a.ended), 0, 0
        for answer in sorted(door, key=lambda a: a.began):
            while complete[done].ended < answer.began:
                epoch = max(epoch, complete[done].epoch)
                done += 1
            if answer.epoch < epoch:
                yield f"{_told(answer)}: had answered by epoch {epoch}"


def behind_what_was_asked(answers: Iterable[Answer]) -> Iterator[str]:
    """Answers of sessions that hold less than the position which the request named."""
    for answer in answers:
        if not answer.asked_position:
            continue
        wanted, got = read_position(answer.asked_position), read_position(answer.position)
        behind = any(got.get(place, -1) < offset for place, offset in wanted.items())
        if behind or answer.epoch < epoch_of(answer.asked_position):
            yield f"{_told(answer)}: asked for {answer.asked_position}"


def epoch_of(token: str) -> int:
    """The record that a position names; 0 for none."""
    named = [part.removeprefix("control@") for part in token.split(",")]
    return max((int(one) for one in named if one.isdecimal()), default=0)


def _seen(answers: Sequence[Answer], moves: Sequence[Moved]) -> Iterator[Seen]:
    for moved in moves:
        late = [a.ended for a in answers if a.began > moved.at_s and 0 < a.epoch < moved.epoch]
        seconds = max(late, default=moved.at_s) - moved.at_s
        end = moved.at_s + seconds + 1
        yield Seen(moved, seconds, *_quantiles_ms(a for a in answers if moved.at_s <= a.due <= end))


def _is_in_a_switch(answer: Answer, switches: Iterable[Seen]) -> bool:
    # A command that switches needs a core for some seconds before.
    return any(
        one.moved.at_s - 1 <= answer.due <= one.moved.at_s + one.seconds + 1 for one in switches
    )


def _quantiles_ms(answers: Iterable[Answer]) -> tuple[float, float]:
    """The median and p99 of how long they took from when they were due."""
    took = sorted(a.ended - a.due for a in answers)
    if not took:
        return 0.0, 0.0
    return 1_000 * took[len(took) // 2], 1_000 * took[int(0.99 * len(took))]


def _told(answer: Answer) -> str:
    what = f"{answer.key} through {answer.asked}: {answer.status} {answer.problem}"
    return f"{what} version {answer.version} epoch {answer.epoch} at {answer.position or '?'}"
