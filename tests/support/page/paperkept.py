"""What topics remember, on paper: alerts that were told, documents that were loaded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]
AT = "2026-11-23T10:00:00.123Z"
RULES = [{"name": "low", "below": 10, "above": 14}, {"name": "oversold", "below": 0, "above": -1}]


class PaperKept:
    """Both answers.

    Attributes:
        rules: of the worker; without any it tells nobody.
        alerts, loads: the newest first.
        since: before it nothing was looked at.
    """

    def __init__(self) -> None:
        self.rules = RULES
        self.alerts: list[Json] = []
        self.loads: list[Json] = []
        self.since: str | None = None

    def answer(self, name: str, query: Mapping[str, str]) -> Json:
        """Of `alerts` or of `loads`."""
        kept = self.alerts if name == "alerts" else self.loads
        wanted = {field: query[field] for field in ("state", "told") if field in query}
        items = [one for one in kept if wanted.items() <= one.items()]
        more = {"rules": self.rules} if name == "alerts" else {}
        return {"items": items, "since": self.since, "as_of": _now(), **more}


def an_alert(sku: str, state: str = "sent", **more: Any) -> Json:
    """One message."""
    return {
        "rule": "low", "sku": sku, "location": "store-003", "told": "raised", "state": state,
        "at": AT, "seq": 1, "id": f"alert_{sku}", "on_hand": None, "attempts": 0, "next_try": None,
        "failed": "", **more,
    }  # fmt: skip


def a_load(document: str, state: str = "loaded", **more: Any) -> Json:
    """One document of five lines."""
    sums = {
        "lines": 5, "facts": 3, "levels": 0, "revocations": 0, "not_for_stock": 1, "refused": 1
    }  # fmt: skip
    return {
        "document": document, "file": f"{document}.csv", "sha256": "5" * 64, "state": state,
        "at": AT, "lines": 5, "facts": 3, "sent": 3, "sums": sums, "taken_back_by": None, **more,
    }  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
