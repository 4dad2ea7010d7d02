"""What became of facts, of all time: the ledger's side of `/v1/facts`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from core.positions import format_position
from domain.fates import Ending
from domain.naming import SourceAndId
from ledger.history import Entry, Ledger
from web.history.telling import entry_body
from web.http.replies import PRIVATE, json_reply
from web.http.times import rfc3339
from web.records.factfinding import FactBody, FactsBody, LookedBody, TimeBody


def found_facts(ledger: Ledger, names: Sequence[SourceAndId], url: str) -> web.Response:
    """Each time that each of them came; in a thread. `url`: of this ledger."""
    items = [
        FactBody(*name, [told_time(entry, ledger.topics) for entry in ledger.facts(*name)])
        for name in names
    ]
    handled = {at: end - 1 for at, end in ledger.ends().items()}
    begins = {at: place.history_from for at, place in ledger.places(None).items()}
    looked = LookedBody(
        accepted_from=_token(ledger, begins),
        accepted_to=_token(ledger, handled),
        repeats_complete=True,
        refused_since=None,
        ledger=url,
    )
    body = FactsBody(items, [], looked, rfc3339(int(time.time() * 1000)))
    return json_reply(body, headers=PRIVATE)


def _token(ledger: Ledger, offsets: dict[tuple[int, int], int]) -> str:
    return format_position(
        {(ledger.topics[topic], part): at for (topic, part), at in offsets.items() if at >= 0}
    )


def told_time(entry: Entry, topics: Mapping[int, str]) -> TimeBody:
    """A line of the ledger, as workers tell of a record."""
    line = entry_body(entry, topics)
    said: dict[str, Any] = {
        "of": line.of,
        "reason": line.refused,  # that of the fact itself is not told here
        "detail": line.detail,
        "type": line.type,
        "sku": entry.sku,
        "location": entry.location,
        "quantity": line.quantity,
    }
    known = {name: value for name, value in said.items() if value is not None}
    return TimeBody(line.position, line.recorded_at, Ending(line.outcome), **known)
