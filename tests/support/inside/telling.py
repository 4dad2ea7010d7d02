"""Alerts under test without Kafka and HTTP: rows, a topic of what was told, a receiver, a clock."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiokafka.errors import ProducerFenced

from agents.alerts.ports import NotOurs
from agents.alerts.teller import Teller, Telling
from agents.alerts.told import ToldAlert
from agents.alerts.webhook import TryOutcome, Waits
from domain.alerts import AlertRule, AlertRules
from domain.rows import Row, row_key

Key = tuple[str, str]
LOW = AlertRule("low", below=10, above=14)
TAKEN, REFUSED = TryOutcome(204), TryOutcome(500, "500 down")


class Killed(BaseException):
    """The process ends here; no handler of the code under test sees it as an error."""


@dataclass
class Topic:
    """What was told, of one partition: fenced and committed as Kafka does it.

    Attributes:
        committed: every record, oldest first.
        end_at: called before and after each commit; a test ends the process there.
    """

    committed: list[ToldAlert] = field(default_factory=list)
    made: str = "topic-1"
    epoch: int = 0
    end_at: Callable[[str], None] = lambda step: None

    async def fence(self, partition: int) -> Right:
        self.epoch += 1
        return Right(self, self.epoch)

    async def read(self, partition: int) -> Mapping[bytes, ToldAlert]:
        return {told.key: told for told in self.committed}

    async def incarnation(self) -> str:
        return self.made

    @property
    def now(self) -> ToldAlert:
        """The newest record."""
        return self.committed[-1]


@dataclass
class Right:
    """Of whoever fenced last; everybody before is refused."""

    topic: Topic
    epoch: int

    async def write(self, told: Sequence[ToldAlert]) -> None:
        self.topic.end_at("before a commit")
        if self.epoch != self.topic.epoch:
            raise ProducerFenced
        self.topic.committed += told
        self.topic.end_at("after a commit")


@dataclass
class Rows:
    """Rows of one partition, and whether they are ours; `confirms` is what Kafka says of that."""

    on_hand: dict[Key, int] = field(default_factory=dict)
    ours: bool = True
    confirms: bool = True
    tellers: list[Teller] = field(default_factory=list)

    def is_ours(self) -> bool:
        return self.ours

    async def caught_up(self) -> None:
        pass

    async def confirm(self) -> None:
        if not self.confirms:
            raise NotOurs

    def get_many(self, keys: Sequence[Key]) -> Sequence[Row | None]:
        return [self._row(key) for key in keys]

    def scan(self, after: Key | None, limit: int) -> Sequence[tuple[str, str, Row]]:
        behind = sorted(key for key in self.on_hand if after is None or key > after)
        return [(*key, self._a_row(key)) for key in itertools.islice(behind, limit)]

    def set(self, on_hand: int, key: Key = ("A", "shop")) -> None:
        """As a commit does."""
        self.on_hand[key] = on_hand
        for teller in self.tellers:
            teller.rows_changed([row_key(*key)])

    def _row(self, key: Key) -> Row | None:
        return self._a_row(key) if key in self.on_hand else None

    def _a_row(self, key: Key) -> Row:
        return Row(adjusted=self.on_hand[key], events=1, updated_at=1_764_000_000_000)


@dataclass
class Desk:
    """A receiver, and a clock that moves when a test says so.

    Attributes:
        posts: id, body and time (s) of every POST.
        answers: of the next ones; then all are taken.
        end_at: called when a POST has arrived; a test ends the process there.
    """

    posts: list[tuple[str, bytes, int]] = field(default_factory=list)
    answers: list[TryOutcome] = field(default_factory=list)
    now_ms: int = 1_764_000_100_000
    end_at: Callable[[str], None] = lambda step: None

    async def post(self, message_id: str, body: bytes, at_s: int) -> TryOutcome:
        self.posts.append((message_id, body, at_s))
        self.end_at("after a post")
        return self.answers.pop(0) if self.answers else TAKEN

    @property
    def ids(self) -> list[str]:
        return [one for one, _, _ in self.posts]


@dataclass
class Office:
    """One receiver, one topic and rows that outlive the tellers which a test begins."""

    rules: tuple[AlertRule, ...] = (LOW,)
    topic: Topic = field(default_factory=Topic)
    desk: Desk = field(default_factory=Desk)
    rows: Rows = field(default_factory=Rows)
    waits: Waits = field(default_factory=lambda: Waits([5, 300]))

    async def begun(self, version: int = 1, rows: Rows | None = None) -> Teller:
        """A teller that has taken over, over the usual rows or those of another version."""
        rows = rows or self.rows
        telling = Telling(
            AlertRules(self.rules), self.desk, self.topic, version, self.waits,
            lambda: self.desk.now_ms,
        )  # fmt: skip
        teller = Teller(0, rows, telling)
        rows.tellers.append(teller)
        await teller.take_over()
        return teller

    async def settled(self, teller: Teller) -> None:
        """Step until nothing is left to do at this time of the clock."""
        while await teller.step() or await _posted(teller):
            pass


async def _posted(teller: Teller) -> bool:
    """Whether posts were under way; they have ended now."""
    posting = list(teller._posting.values())
    for task in posting:
        await task
    return bool(posting)
