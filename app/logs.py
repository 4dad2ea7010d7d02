"""How the worker logs: a line for people or a JSON document for programs, and who is quiet."""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Any

LINE = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
#: What aiokafka says at every start and every rebalance as if something were wrong. What is wrong
#: with the group is told by our own sentences (aiokafka 0.14, group_coordinator.py).
_ORDINARY = (
    "Group Coordinator Request failed",
    "Marking the coordinator dead",
    "Heartbeat failed for group %s because it is rebalancing",
    "OffsetCommit failed for group",
)


class JsonLines(logging.Formatter):
    """One JSON document a line: time (UTC), level, logger, message, and `exception` if any."""

    def format(self, record: logging.LogRecord) -> str:
        """Of one record."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        document = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            document["stack"] = record.stack_info
        return json.dumps(document, ensure_ascii=False)


class Ordinary(logging.Filter):
    """Leaves out warnings of things that happen at every rebalance.

    And tracebacks of what aiokafka goes on trying after its caller gave up: the caller has said
    that Kafka did not answer, and asyncio shows what nobody waits for as if it were a bug.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        text = str(record.msg)
        if record.name == "asyncio" and "exception was never retrieved" in text:
            error = record.exc_info[1] if record.exc_info else None
            return not any(kind.__name__ == "KafkaError" for kind in type(error).__mro__)
        return not text.startswith(_ORDINARY)


class Bounded(logging.Filter):
    """Of each cause a few lines at once, then one a minute, which says how many were left out.

    With Kafka away, aiokafka and asyncio say 200 lines a second, in which the one sentence that
    helps is not found, and which fill a disk. On the handler, so that nobody's loggers are left
    out. A cause is a logger, a level, and a text without its numbers and values. What ends the
    worker is always said, and so is news (INFO), of which each line is another.
    """

    WINDOW_S = 60.0
    OURS, THEIRS = 20, 3
    _MOST_CAUSES = 1_000

    def __init__(self) -> None:
        super().__init__()
        #: By cause: when its window began, lines of it that were asked for, and lines allowed.
        self._seen: dict[tuple[str, int, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged; where lines were left out before it, it tells."""
        if not logging.WARNING <= record.levelno < logging.CRITICAL:
            return True
        text = str(record.msg).partition("\n")[0][:200]
        cause = (record.name, record.levelno, _VALUES.sub("#", text))
        window = self._seen.get(cause)
        # A clock that was set back opens a new window: else nothing is said until it is that late.
        if window is None or not 0 <= record.created - window[0] < self.WINDOW_S:
            self._begin(cause, record, window)
            return True
        window[1] += 1
        return window[1] <= window[2]

    def _begin(
        self, cause: tuple[str, int, str], record: logging.LogRecord, before: list[float] | None
    ) -> None:
        allowed = self.OURS if record.name.partition(".")[0] in _OURS else self.THEIRS
        left_out = 0 if before is None else int(before[1] - before[2])
        if left_out > 0:
            record.msg = f"{record.getMessage()} (And {left_out:,} more like it before.)"
            record.args = ()
            allowed = 1
        self._seen.pop(cause, None)
        self._seen[cause] = [record.created, 1, allowed]
        if len(self._seen) > self._MOST_CAUSES:
            del self._seen[next(iter(self._seen))]


#: What tells two lines of one cause apart: quoted texts, and words with a digit.
_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|<[^>]*>|\S*\d\S*")
_OURS = frozenset(
    ("agents", "app", "audit", "core", "domain", "importers", "ledger", "tables", "web", "wire")
)
#: Libraries that say at every start what is no news.
_QUIET = ("faust", "mode", "aiokafka", "rocksdict", "alembic")


def configuration(level: str, kind: str) -> dict[str, Any]:
    """For `logging.config.dictConfig`: our own loggers, and of others only what is wrong.

    Args:
        level: of our own, such as INFO.
        kind: `text` or `json`.
    """
    quiet = {"level": "WARNING"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"text": {"format": LINE}, "json": {"()": JsonLines}},
        "filters": {"ordinary": {"()": Ordinary}, "bounded": {"()": Bounded}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": kind,
                "filters": ["ordinary", "bounded"],
            },
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {name: quiet for name in _QUIET},
    }
