"""How the worker logs: a line for people or a JSON document for programs, and who is quiet."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

LINE = "%(asctime)s %(levelname)-8s %(name)s: %(message)s"
#: What aiokafka says at every start and every rebalance as if something were wrong. What is wrong
#: with the group is told by our own sentences (aiokafka 0.14, group_coordinator.py).
_ORDINARY = (
    "Group Coordinator Request failed",
    "Marking the coordinator dead",
    "Heartbeat failed for group %s because it is rebalancing",
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
    """Leaves out warnings of things that happen at every rebalance."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether it is logged."""
        return not str(record.msg).startswith(_ORDINARY)


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
        "filters": {"ordinary": {"()": Ordinary}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": kind,
                "filters": ["ordinary"],
            },
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": {name: quiet for name in ("faust", "mode", "aiokafka", "rocksdict")},
    }
