"""Pallets on a real Kafka: packed, unpacked and moved as a whole, whatever happens on the way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings
from app.loading import pieces
from dev.workers import onhand
from tests.integration.loading.test_killed import PLACES, SIGNS, SIZE, Log, killed, load
from tests.unit.importers.formats.writing import (
    CLASS,
    DEPOT,
    SGTIN,
    STORE,
    epcis_json,
    event,
    quantity,
)

_OUTER = "urn:epc:id:sscc:9521234.9123456789"
#: What is at the end: of each pallet what lay in it when it moved, see `happened`.
STOCK = Counter({"depot": -(12 + 2 + 3 + 14 + 15), "shop-7": 12 + 2 + 3 + 14 + 15 - 3})


def _pallet(of: int) -> str:
    return f"urn:epc:id:sscc:9521234.{of}123456789"


def _said(hour: int, number: int, **fields: Any) -> dict[str, Any]:
    usual = {
        "eventID": f"urn:uuid:{hour:02}-{number}", "eventTime": f"2026-01-31T{hour:02}:00:00Z",
        "epcList": None, "readPoint": None,
    }  # fmt: skip
    return event(**usual | fields)


def _packed(
    hour: int, of: int, *things: str, count: int = 0, action: str = "ADD"
) -> dict[str, Any]:
    return _said(
        *(hour, of), type="AggregationEvent", bizStep="packing", action=action,
        parentID=_OUTER if of == 9 else _pallet(of), childEPCs=list(things) or None,
        childQuantityList=[quantity(CLASS, count)] if count else None,
    )  # fmt: skip


def _thing(of: int, number: int) -> str:
    return f"{SGTIN}{of}{number}"


def happened() -> list[dict[str, Any]]:
    """A day of the depot, in the order in which it was.

    0: three things and ten, of which one thing came out before it left. 1: two things, and the
    shop takes it apart later. 2: five, all taken out, then three. 3: two and twelve, in a box
    with 4: three and twelve.
    """
    found = [
        _packed(6, 0, *(_thing(0, n) for n in range(3)), count=10),
        _packed(6, 1, _thing(1, 0), _thing(1, 1)),
        _packed(6, 2, *(_thing(2, n) for n in range(5))),
        _packed(6, 3, _thing(3, 0), _thing(3, 1), count=12),
        _packed(6, 4, *(_thing(4, n) for n in range(3)), count=12),
        _packed(7, 0, _thing(0, 1), action="DELETE"),
        _packed(7, 2, action="DELETE"),
        _packed(8, 2, *(_thing(2, n) for n in range(5, 8))),
        _packed(8, 9, _pallet(3), _pallet(4)),
    ]
    for number, whole in enumerate((_pallet(0), _pallet(1), _pallet(2), _OUTER)):
        left = {"bizStep": "shipping", "readPoint": {"id": DEPOT}}
        came = {"bizStep": "receiving", "bizLocation": {"id": STORE}}
        found.append(_said(10, number, epcList=[whole], **left))
        found.append(_said(12, number, epcList=[whole], **came))
    found.append(_packed(13, 1, action="DELETE"))
    found += [
        _said(14, n, epcList=[_thing(2, 5 + n)], bizStep="retail_selling", readPoint={"id": STORE})
        for n in range(3)
    ]
    return found


def _stock(log: Log) -> Counter[str]:
    """Of each location, and no fact twice: so a window of any size says the same."""
    assert {*log.ids.values()} <= {1}
    found: Counter[str] = Counter()
    for fact in log.facts:
        found[fact["data"]["location"]] += SIGNS[fact["type"]] * fact["data"]["quantity"]
    return found


def _written(folder: Path, file: str, events: Sequence[dict[str, Any]]) -> None:
    (folder / "places.csv").write_text(PLACES)
    (folder / file).write_bytes(epcis_json(*events))


async def test_pallets_of_a_load_that_is_killed_twice_move_what_is_in_them_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = happened()
    # What was said of a pallet comes before it moves, behind it, and in another transaction.
    _written(tmp_path, "day.json", [events[n * 13 % len(events)] for n in range(len(events))])

    await killed(settings, tmp_path, "day.json", "open", "2")
    log = await killed(settings, tmp_path, "day.json", "done", "1")
    assert 0 < len(log.facts) < 11
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": SIZE})
    await load(settings, tmp_path, "day.json")

    assert _stock(await asyncio.to_thread(Log, settings)) == STOCK
    again = await load(settings, tmp_path, "day.json")
    assert "was loaded on" in again.refused
    assert _stock(await asyncio.to_thread(Log, settings)) == STOCK


async def test_pallets_come_to_the_same_by_file_in_another_order_and_by_another_process(
    settings: Settings, tmp_path: Path
) -> None:
    events = happened()
    packs = [one for one in events if one["type"] == "AggregationEvent"]
    moves = [one for one in events if one not in packs]
    files = {"packed.json": packs[::-1], "moved.json": moves[::-1], "again.json": events}
    for name, some in files.items():
        _written(tmp_path, name, some)

    await load(settings, tmp_path, "packed.json")
    assert not (await asyncio.to_thread(Log, settings)).facts
    said = [await _command(settings, tmp_path, name) for name in ("moved.json", "again.json")]

    assert [code for code, _ in said] == [0, 1], said
    assert "11 facts were sent." in said[0][1]
    assert _stock(await asyncio.to_thread(Log, settings)) == STOCK


async def _command(settings: Settings, folder: Path, file: str) -> tuple[int, str]:
    """As a shop does; no window knows what another load has sent."""
    variables = {
        "ONHAND_KAFKA": settings.kafka, "ONHAND_NAME": settings.name,
        "ONHAND_TOPIC_PREFIX": settings.topic_prefix, "ONHAND_DEDUP_WINDOW": "1",
    }  # fmt: skip
    words = ["load", str(folder / file), "--places", str(folder / "places.csv")]
    return await onhand(*words, settings=variables, timeout_s=180)
