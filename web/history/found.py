"""What became of facts, of all time: the ledger's side of `/v1/facts`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from aiohttp import web
from msgspec.structs import replace

from core.positions import format_position
from domain.fates import Ending
from domain.naming import SourceAndId
from ledger.history import Entry, Ledger
from ledger.lines import OUTCOMES, TYPES
from web.http.replies import PRIVATE, json_reply
from web.http.times import rfc3339
from web.records.factfinding import FactBody, FactsBody, LookedBody, TimeBody


def found_facts(ledger: Ledger, names: Sequence[SourceAndId], url: str) -> web.Response:
    """Each time that each of them came; in a thread. `url`: of this ledger."""
    items = [
        FactBody(*name, [_time(ledger, entry) for entry in ledger.facts(*name)]) for name in names
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


def _time(ledger: Ledger, entry: Entry) -> TimeBody:
    topic, part = ledger.topics[entry.topic], entry.part
    body = TimeBody(
        format_position({(topic, part): entry.offset}),
        rfc3339(entry.recorded_at // 1000),
        Ending(OUTCOMES[entry.outcome]),
    )
    fields: dict[str, Any] = {}
    if entry.repeat_of is not None:
        fields["of"] = format_position({(topic, part): entry.repeat_of})
    if entry.refused is not None:
        fields["reason"], fields["detail"] = entry.refused
    if entry.kind is not None:
        fields |= {
            "type": TYPES[entry.kind],
            "sku": entry.sku,
            "location": entry.location,
            "quantity": entry.quantity,
        }
    return replace(body, **fields)
