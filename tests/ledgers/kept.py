"""A ledger in a database, fed without Kafka."""

from collections import defaultdict
from collections.abc import Sequence

from core.records import Record as Came
from dev.oracle.stock import Record
from domain.rules.sets import RuleSet
from domain.rules.two import TWO
from ledger.books import Book, Posting
from ledger.engine import open_reader, open_writer, url_of
from ledger.history import History
from ledger.lines import TOPICS
from ledger.reaches import books_of
from ledger.upgrade import to_this_schema
from ledger.writing import LedgerWriter
from tests.ledgers.comparing import came
from tests.ledgers.logs import PARTITIONS, WINDOW

NAME = "onhand-test-v1-ledger"
ROLES = {topic: topic for topic in TOPICS}


class Kept:
    """A writer and a reader.

    Args:
        url: of a database that may be new.
        rules: by which it is kept.
    """

    def __init__(
        self, url: str, partitions: int = PARTITIONS, window: int = WINDOW, rules: RuleSet = TWO
    ) -> None:
        self.url, self.partitions, self.window, self.rules = url_of(url), partitions, window, rules
        self.engine = open_writer(self.url, NAME)
        to_this_schema(self.engine)
        self.reads = open_reader(self.url, NAME)
        self.writer = LedgerWriter(self.engine)
        self.history = History(self.reads, TOPICS, partitions)
        self.restart()

    def restart(self) -> None:
        """Forget all that is in memory."""
        self.books: dict[int, dict[str, Book]] = {}
        with self.engine.begin() as connection:
            for part in range(self.partitions):
                of_log = self.partitions, ROLES, self.window
                self.books[part] = books_of(connection, part, *of_log, self.rules)

    def feed(self, records: Sequence[Record], slice_size: int = 7) -> None:
        """Commit them in one transaction."""
        self.writer.commit(self.postings(records, slice_size))

    def postings(self, records: Sequence[Record], slice_size: int = 7) -> list[Posting]:
        """Enter them."""
        by_place = defaultdict(list)
        for record in records:
            by_place[record.topic, record.partition].append(came(record))
        return [
            self.books[part][topic].enter(sliced(each, slice_size), each[-1][0] + 1)
            for (topic, part), each in by_place.items()
        ]

    def topic(self, number: int) -> str:
        """Its name."""
        return TOPICS[number]

    def close(self) -> None:
        self.engine.dispose()
        self.reads.dispose()


def sliced(records: list[Came], size: int) -> list[list[Came]]:
    return [records[at : at + size] for at in range(0, len(records), size)]


def in_batches(records: Sequence[Record], size: int) -> list[list[Record]]:
    return [list(records[at : at + size]) for at in range(0, len(records), size)]
