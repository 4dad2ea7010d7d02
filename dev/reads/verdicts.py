"""Holds recorded answers against the log: which were wrong, older than before, failed, late."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dev.oracle.rows import NOTHING, read_position
from dev.oracle.stock import Oracle
from dev.reads.answers import Answer

Position = Mapping[tuple[str, int], int]
ROLES = ("active", "former", "standby")


def fault(answer: Answer, oracle: Oracle) -> str:
    """What is wrong with an answer, in words; empty if nothing is.

    A 200 has to be the key's row at exactly the position that it claims, a 404
    is right only if the log held nothing for the key up to there. The oracle
    must have read that far.
    """
    if answer.problem.startswith("unreadable"):
        return _told(answer, answer.problem)
    if answer.status not in (200, 404):
        return ""
    if answer.role not in ROLES or not answer.worker:
        return _told(answer, f"role {answer.role!r} of worker {answer.worker!r}")
    if answer.as_of.startswith("1970"):
        return _told(answer, "no broker has ever told how far behind it is")
    position = read_position(answer.position)
    expected = oracle.row(answer.key, position)
    if answer.row == expected and (answer.status == 200) == (expected != NOTHING):
        return ""
    return _told(answer, f"says {answer.row}, the log {expected}")


def judgeable(answer: Answer, oracle: Oracle) -> bool:
    """Whether the oracle has read as far as this answer claims to hold."""
    claims = read_position(answer.position).items()
    return all(offset < oracle.next.get(place, 0) for place, offset in claims)


def _told(answer: Answer, what: str) -> str:
    key = f"{answer.key[0]} at {answer.key[1]}"
    return f"{answer.status} for {key} through {answer.asked} at {answer.position or '?'}: {what}"


def back_in_time(answers: Iterable[Answer], reborn: Mapping[str, Sequence[float]]) -> list[str]:
    """Answers that hold less than one that the same worker had given before.

    Args:
        answers: all of one reader.
        reborn: when workers were started again, by URL: a new process knows
            nothing of what the old one had answered.
    """
    # A partition that has handled nothing yet names none: `control@7` alone.
    kept = [a for a in answers if a.status in (200, 404) and read_position(a.position)]
    complete = sorted(kept, key=lambda answer: answer.ended)
    highest: dict[str, dict[tuple[str, int], int]] = defaultdict(dict)
    lives: Counter[str] = Counter()
    faults, done = [], 0
    for answer in sorted(kept, key=lambda answer: answer.began):
        while complete[done].ended < answer.began:
            earlier = complete[done]
            done += 1
            life = _life(earlier.began, reborn.get(earlier.asked, ()))
            if life > lives[earlier.asked]:
                lives[earlier.asked] = life
                highest[earlier.asked].clear()
            if life == lives[earlier.asked]:
                _raise(highest[earlier.asked], read_position(earlier.position))
        if _life(answer.began, reborn.get(answer.asked, ())) != lives[answer.asked]:
            continue
        position = read_position(answer.position)
        home = _partition(position)
        for place, offset in highest[answer.asked].items():
            if place[1] == home and position.get(place, -1) < offset:
                faults.append(_told(answer, f"had been at {place[0]}-{place[1]}@{offset}"))
                break
    return faults


def _life(at: float, starts: Sequence[float]) -> int:
    return sum(start <= at for start in starts)


def _raise(highest: dict[tuple[str, int], int], position: Position) -> None:
    for place, offset in position.items():
        highest[place] = max(offset, highest.get(place, -1))


def _partition(position: Position) -> int:
    return next(iter(position))[1]


@dataclass
class Verdict:
    """What a reader saw, judged.

    Attributes:
        asked: requests.
        roles: who answered, by role.
        failed: requests without a row or an honest 404.
        wrong: in words, each answer that the log contradicts.
        back: in words, each answer older than one given before by the same worker.
        slowest_ms: the longest time from request to a good answer.
        oldest_s: the greatest age of a good answer: since a broker had last confirmed it.
        not_owner_s: seconds in which at least one answer came from a standby or former owner.
    """

    asked: int = 0
    roles: Counter[str] = field(default_factory=Counter)
    failed: list[Answer] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    back: list[str] = field(default_factory=list)
    slowest_ms: float = 0.0
    oldest_s: float = 0.0
    not_owner_s: int = 0


def judge(
    answers: Sequence[Answer], oracle: Oracle, reborn: Mapping[str, Sequence[float]] | None = None
) -> Verdict:
    """Judge a reader's answers; the oracle must have read the log to its end after the last."""
    verdict = Verdict(asked=len(answers), back=back_in_time(answers, reborn or {}))
    seconds = set()
    for answer in answers:
        if answer.status not in (200, 404):
            verdict.failed.append(answer)
        else:
            verdict.roles[answer.role] += 1
            verdict.slowest_ms = max(verdict.slowest_ms, (answer.ended - answer.began) * 1000)
            verdict.oldest_s = max(verdict.oldest_s, age_s(answer))
            if answer.role != "active":
                seconds.add(int(answer.began))
        if told := fault(answer, oracle):
            verdict.wrong.append(told)
    verdict.not_owner_s = len(seconds)
    return verdict


def age_s(answer: Answer) -> float:
    """How long before its end a broker had last confirmed an answer's position."""
    confirmed = datetime.fromisoformat(answer.as_of.replace("Z", "+00:00"))
    return answer.ended - confirmed.timestamp()
