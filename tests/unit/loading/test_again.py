"""Of every family of formats: however often, late or in pieces it comes, the stock is the same."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import permutations

import pytest

from app.config import Settings
from app.loading import pieces
from app.loading.checking import FileRefused
from app.loading.decisions import revoking
from app.loading.found.loaded import LoadedFile
from app.loading.given import FileInMemory
from app.loading.opening import GivenParts, opened_by
from app.loading.sending import send_all
from tests.support.inputs.sheets import SALES
from tests.support.topics.memorylog import Died, MemoryLog
from tests.unit.importers.excel.workbooks import a_book
from tests.unit.importers.formats.writing import (
    CLASS,
    DEPOT,
    DEPOT_GLN,
    PIECE,
    SGTIN,
    SSCC,
    STORE,
    STORE_GLN,
    activity,
    despatch,
    edifact,
    epcis_json,
    epcis_xml,
    event,
    quantity,
    sales,
    ship_notice,
    x12,
)

MAP = f'{SALES}[negative]\nsold = "returned"\n'.encode()
PLACES = (
    f"gln,location,zone\n{STORE_GLN},shop,Europe/Berlin\n{DEPOT_GLN},depot,Europe/Berlin\n"
).encode()
#: Lines of a transaction.
SIZE = 3
EAN = PIECE[1:]

#: Equal rows, and one below 0.
MONDAY = [("A", 2), ("A", 2), ("B", -1), ("A", 1), ("B", 3), ("C", 1), ("C", 1)]
TUESDAY = [("A", 1), ("B", -2)]
ROWS = {("A", "shop-7"): -6, ("C", "shop-7"): -2}


def _event(number: int, **fields: object) -> dict[str, object]:
    return event(eventID=f"urn:uuid:{number}", **fields)


def _sold(number: int, count: int, **fields: object) -> dict[str, object]:
    epcs = [f"{SGTIN}{n}" for n in range(count)]
    step = "retail_selling"
    return _event(number, bizStep=step, readPoint={"id": STORE}, epcList=epcs, **fields)


CAME = _event(
    1, bizStep="receiving", readPoint=None, bizLocation={"id": STORE}, epcList=None,
    quantityList=[quantity(CLASS, 10)],
)  # fmt: skip
LEFT = _event(3, readPoint={"id": DEPOT}, epcList=None, quantityList=[quantity(CLASS, 4)])
#: A pallet, which leaves alone.
PACKED = _event(
    6, type="AggregationEvent", action="ADD", bizStep="packing", readPoint=None, epcList=None,
    parentID=SSCC, childEPCs=[f"{SGTIN}90", f"{SGTIN}91"], childQuantityList=[quantity(CLASS, 3)],
)  # fmt: skip
AWAY = _event(7, readPoint={"id": DEPOT}, epcList=[SSCC])
WRONG = {"declarationTime": "2026-02-01T00:00:00Z", "correctiveEventIDs": ["urn:uuid:5"]}
#: The second event is declared wrong, and its correction comes beside that.
EVENTS = [
    [AWAY, CAME, _sold(2, 3), LEFT, _sold(4, 1), PACKED],
    [_sold(2, 3, errorDeclaration=WRONG), _sold(5, 2)],
]
GOODS = {(PIECE, "shop"): 7, (PIECE, "depot"): -9}


def _items(*quantities: int) -> list[str]:
    return [
        segment
        for rank, amount in enumerate(quantities, 3)
        for segment in (f"HL*{rank}*2*I", f"LIN**EN*{EAN}", f"SN1**{amount}*EA")
    ]


def _despatched(*quantities: int) -> list[str]:
    return [part for n in quantities for part in (f"LIN+1++{EAN}:EN", f"QTY+12:{n}")]


#: What was sent is replaced, and beside it something is sold and comes back.
NOTICES = [
    x12(ship_notice(*_items(1, 1, 2, 3, 4, 5, 6))),
    x12(ship_notice(*_items(4, 5), purpose="05"), control="000000018"),
    x12(activity(f"LIN**EN*{EAN}", "ZA*QS*3", "ZA*QU*1", "ZA*QS*3"), control="000000019"),
]
ADVICES = [
    edifact(despatch(*_despatched(1, 1, 2, 3, 4, 5, 6))),
    edifact(despatch(*_despatched(4, 5), function="5"), reference="I18"),
    edifact(
        sales(*(part for n in (3, -1, 3) for part in (f"LIN+1++{EAN}:EN", f"QTY+153:{n}"))),
        reference="I19",
    ),
]
SHIPPED = {(PIECE, "depot"): -9, (PIECE, "shop"): -5}


def _csv(rows: Sequence[tuple[str, int]]) -> bytes:
    return "".join(f"{sku},{count}\n" for sku, count in [("sku", "qty"), *rows]).encode()


def _excel(rows: Sequence[tuple[str, int]]) -> bytes:
    return a_book([("sku", "qty"), *rows])


#: Files of each family, and what lies where when all are loaded.
FAMILIES = {
    "csv": ([_csv(MONDAY), _csv(TUESDAY)], ROWS),
    "excel": ([_excel(MONDAY), _excel(TUESDAY)], ROWS),
    "epcis-json": ([epcis_json(*some) for some in EVENTS], GOODS),
    "epcis-xml": ([epcis_xml(*some) for some in EVENTS], GOODS),
    "epcis-xml-1.2": ([epcis_xml(*some, version="1.2") for some in EVENTS], GOODS),
    "x12": (NOTICES, SHIPPED),
    "edifact": (ADVICES, SHIPPED),
}
TABLES = ("csv", "excel")


class Shop:
    """Loads files of one family into a log, as the command does one after the other."""

    def __init__(self, family: str) -> None:
        self.files, self.expected = FAMILIES[family]
        self.log = MemoryLog(Settings.from_env({}, name="shop"))
        given = GivenParts(map=MAP if family in TABLES else None, places=PLACES)
        self._by = opened_by(given)

    async def load(self, *numbers: int) -> list[LoadedFile]:
        """All files, or these; raises Died."""
        return [
            await self.load_bytes(f"day {n}", self.files[n])
            for n in numbers or range(len(self.files))
        ]

    async def load_bytes(self, name: str, data: bytes) -> LoadedFile:
        checked = self._by.check(FileInMemory(name, data), lambda _: None, lambda _: None)
        if checked.equation.refused:
            raise FileRefused(f"{checked.equation.refused} lines are refused.")
        (loaded,) = await send_all(
            self.log.settings, self._by, [checked], is_named=False, said=lambda _: None
        )
        return loaded

    def others(self, count: int) -> None:
        """A week passes: each partition takes in so many facts of others."""
        for tp, some in self.log.records.items():
            if tp.topic in self.log.settings.source_topics.values():
                last = next(one for one in reversed(some) if one is not None)
                event = json.loads(last.value or b"")
                for n in range(count):
                    other = {**event, "id": f"other {n}", "source": "others"}
                    other["data"] = {**event["data"], "location": "elsewhere"}
                    value = json.dumps(other).encode()
                    self.log.append(tp, [last._replace(value=value)])

    def check(self, window: int = 10_000) -> None:
        """Each fact once in the log, and the stock as it has to be."""
        ids = Counter(json.loads(one.value or b"")["id"] for one in self.log.facts())
        assert {count for id_, count in ids.items() if not id_.startswith("other ")} == {1}
        rows = self.log.oracle(window).rows()
        found = {key: row.on_hand for key, row in rows.items() if key[1] != "elsewhere"}
        assert {key: count for key, count in found.items() if count} == self.expected


@pytest.fixture(params=FAMILIES)
def shop(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": SIZE})
    monkeypatch.setattr(revoking, "CHUNK_LINES", SIZE)
    found = Shop(request.param)
    found.log.stand_in(monkeypatch)
    return found


async def test_twice_changes_nothing_and_says_so(shop: Shop) -> None:
    first = await shop.load()
    again = await shop.load()

    shop.check()
    assert not any(one.refused for one in first)
    assert all("was loaded on " in one.refused for one in again)


async def test_in_any_other_order_the_stock_is_the_same(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for order in permutations(range(len(shop.files))):
        shop.log = MemoryLog(shop.log.settings)
        shop.log.stand_in(monkeypatch)
        await shop.load(*order)
        await shop.load(*reversed(order))
        shop.check()


async def test_later_than_any_window_remembers_it_is_refused_all_the_same(shop: Shop) -> None:
    await shop.load()
    shop.others(20)
    again = await shop.load()

    # The table itself would count each fact again that far behind the first.
    shop.check(window=2)
    assert all("was loaded on " in one.refused for one in again)


async def test_cut_in_the_middle_nothing_of_it_is_sent_and_the_whole_one_counts_after_it(
    shop: Shop,
) -> None:
    for number, data in enumerate(shop.files):
        before = len(shop.log.facts())
        # A table within a row: behind a whole one, nothing tells it from one that is shorter.
        with pytest.raises(FileRefused):
            await shop.load_bytes(f"day {number}", data[: len(data) * 5 // 8])
        assert len(shop.log.facts()) == before
        await shop.load(number)

    shop.check()


async def test_killed_in_any_transaction_or_behind_it_it_goes_on_also_after_a_week(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shop.load()
    count = shop.log.transactions
    assert count > len(shop.files)
    for left in range(count):
        for is_written in (False, True):
            shop.log = MemoryLog(shop.log.settings)
            shop.log.stand_in(monkeypatch)
            shop.log.left, shop.log.is_written = left, is_written
            with pytest.raises(Died):
                await shop.load()
            shop.log.left = None
            shop.others(20)
            await shop.load()
            shop.check(window=2)
