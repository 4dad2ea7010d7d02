"""Counts and what is taken back, by whole loads into a log in memory: the log alone decides."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from app.config import Settings
from app.loading import pieces
from app.loading.checking import CheckedFile
from app.loading.decisions import revoking
from app.loading.decisions.asking import BookThen
from app.loading.facts import moment_us
from app.loading.found.loaded import LoadedFile
from app.loading.given import FileInMemory
from app.loading.opening import GivenParts, opened_by
from app.loading.sending import send_all
from core.partitioning import partition_for
from core.positions import parse_position
from importers.documents.levels import StockCount
from tests.support.inputs.documents import opened
from tests.support.topics.memorylog import Died, MemoryLog

SIGNS = {
    "inventory.sale.completed.v1": -1,
    "inventory.stock.adjusted.v1": 1,
}
TEN, LATER = "2026-11-23T10:00:00Z", "2026-11-23T11:00:00Z"
BEGIN = datetime(2026, 11, 23, 10, tzinfo=UTC)
MAP = b"""
time_form = "rfc3339"
[columns]
sku = "sku"
quantity = "qty"
time = "at"
kind = "kind"
[constants]
location = "shop-7"
"""


class Ledger:
    """Answers as a worker does that has counted all of a log by now."""

    def __init__(self, log: MemoryLog) -> None:
        self.log = log
        self.asked: list[tuple[str, str]] = []

    def facts(self) -> Iterator[tuple[str, str, int, str]]:
        for record in self.log.facts():
            event = json.loads(record.value or b"")
            change = SIGNS[event["type"]] * event["data"]["quantity"]
            yield (
                event["id"],
                event["data"]["sku"],
                change,
                event.get("time", "9999-01-01T00:00:00Z"),
            )

    async def changes_by(self, ids: Sequence[str]) -> dict[str, int]:
        return {id_: change for id_, _, change, _ in self.facts() if id_ in ids}

    async def book(self, count: StockCount, time_text: str, after: str) -> BookThen:
        self.asked.append((count.id, after))
        on_hand = sum(
            change
            for _, sku, change, time in self.facts()
            if sku == count.sku and moment_us(time) <= count.at_us
        )
        return BookThen(on_hand, after)

    def stock(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for _, sku, change, _ in self.facts():
            found[sku] += change
        return {sku: count for sku, count in found.items() if count}

    def ids(self) -> Counter[str]:
        return Counter(id_ for id_, *_ in self.facts())


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": 3})
    monkeypatch.setattr(revoking, "CHUNK_LINES", 3)
    found = MemoryLog(Settings.from_env({}, name="shop"))
    found.stand_in(monkeypatch)
    return found


async def send(
    log: MemoryLog, ledger: Ledger, *files: CheckedFile, **how: bool
) -> list[LoadedFile]:
    return await send_all(
        *(log.settings, opened(), files), is_named=False, said=lambda _: None,
        asked=ledger, **how,  # type: ignore[arg-type]  # answers as workers do
    )  # fmt: skip


async def load(log: MemoryLog, *texts: str, **how: bool) -> list[LoadedFile]:
    """Each text is a file of its own."""
    return await send(log, Ledger(log), *map(check, texts), **how)


def check(text: str) -> CheckedFile:
    data = text.replace("; ", "\n").encode()
    return opened().check(FileInMemory(text[:60], data), lambda _: None, lambda _: None)


async def test_what_the_same_load_takes_back_is_not_in_the_book_of_a_count(log: MemoryLog) -> None:
    await load(log, f"doc A; level 7 {TEN}")

    (found,) = await load(log, f"doc K; revoke A; level 10 {LATER}")

    (count,) = found.levels
    assert (count.book, count.change) == (0, 10)
    assert Ledger(log).stock() == {"A": 10}


async def test_what_was_taken_back_before_is_taken_off_no_book_again(log: MemoryLog) -> None:
    await load(log, f"doc A; level 7 {TEN}")
    await load(log, "doc K; revoke A")

    (found,) = await load(log, f"doc L; revoke A; level 10 {LATER}")

    assert [(one.book, one.change) for one in found.levels] == [(0, 10)]
    assert Ledger(log).stock() == {"A": 10}


async def test_a_count_that_was_taken_back_before_it_came_is_not_decided(log: MemoryLog) -> None:
    await load(log, "doc K; revoke A")
    ledger = Ledger(log)

    (found,) = await send(log, ledger, check(f"doc A; level 5 {TEN}; doc B; level 6 {LATER}"))

    assert [id_ for id_, _ in ledger.asked] == ["B#4"]
    assert ledger.stock() == {"A": 6}
    assert found.late == {"A": "K"}


async def test_a_book_has_to_tell_of_all_that_was_in_the_partition_of_its_row(
    log: MemoryLog,
) -> None:
    await load(log, "doc A; sold 1; sold 2; sold 3; sold 4; sold 5", f"doc B; level 7 {TEN}")
    here = partition_for(b"A", log.settings.partitions)
    topics = log.settings.source_topics.values()
    ends = {
        (tp.topic, tp.partition): len(some) - 1
        for tp, some in log.records.items()
        if tp.topic in topics and tp.partition == here
    }
    ledger = Ledger(log)

    await send(log, ledger, check(f"doc C; level 5 {LATER}"))

    ((_, after),) = ledger.asked
    assert (log.settings.source_topics["adjustments"], here) in ends
    assert parse_position(after) == ends


async def test_a_count_that_is_refused_and_left_out_is_a_refused_line(log: MemoryLog) -> None:
    text = f"doc D; level 1 {TEN}; level 2 {TEN}; level 4 {LATER}"

    (found,) = await load(log, text, leave_out_refused=True)

    equation = found.file.equation
    assert (equation.levels, equation.refused, equation.holds()) == (1, 2, True)
    assert Ledger(log).stock() == {"A": 4}


async def test_a_line_is_taken_back_once_also_when_its_whole_document_is(log: MemoryLog) -> None:
    await load(log, "doc A; sold 1; sold 2; sold 3; sold 4; sold 5")

    for name in ("K", "L"):
        (found,) = await load(log, f"doc {name}; revoke A line 3")
        assert [one.facts for one in found.taken] == [int(name == "K")]
    (found,) = await load(log, "doc M; revoke A")

    assert [one.facts for one in found.taken] == [4]
    assert {*Ledger(log).ids().values()} == {1}
    assert Ledger(log).stock() == {}
    (found,) = await load(log, "doc N; revoke A line 4")
    assert [one.facts for one in found.taken] == [0]


async def test_a_line_of_a_document_that_was_not_loaded_cannot_be_taken_back(
    log: MemoryLog,
) -> None:
    (found,) = await load(log, "doc K; revoke A line 3")

    assert "takes back a line of A, which was not loaded: load that first" in found.refused
    assert not log.facts()
    (found,) = await load(log, "doc A; sold 1; doc K; revoke A line 2")
    assert not found.refused
    assert Ledger(log).stock() == {}


async def test_lines_whose_numbers_begin_alike_are_not_each_other(log: MemoryLog) -> None:
    await load(log, "doc A; " + "; ".join("sold 1" for _ in range(30)), "doc A2; sold 5")

    await load(log, "doc K; revoke A line 2")

    assert [id_ for id_ in Ledger(log).ids() if id_.endswith(":revoked")] == ["A#2:revoked"]


def a_day() -> tuple[bytes, dict[str, int]]:
    """A table of three SKUs, lines of all moments mixed; and what lies there in the end."""
    rows: list[str] = []
    stock = {f"SKU-{n}": 100 for n in range(3)}
    for n in range(18):
        at, sku = BEGIN + timedelta(minutes=n), f"SKU-{n % 3}"
        if n % 2:
            stock[sku] -= 1
            rows.append(f"{sku},1,{at:%Y-%m-%dT%H:%M:%SZ},sold")
        else:
            stock[sku] += 10
            rows.append(f"{sku},{stock[sku]},{at:%Y-%m-%dT%H:%M:%SZ},counted")
    mixed = [rows[n * 7 % 18] for n in range(18)]
    return "\n".join(["sku,qty,at,kind", *mixed, ""]).encode(), stock


async def test_a_load_of_counts_that_dies_at_any_transaction_goes_on_and_each_row_is_as_counted(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, stock = a_day()
    by = opened_by(GivenParts(map=MAP))
    for left in range(6):
        for is_written in (False, True):
            fresh = MemoryLog(log.settings)
            fresh.stand_in(monkeypatch)
            ledger = Ledger(fresh)
            file = by.check(FileInMemory("day.csv", data), lambda _: None, lambda _: None)

            async def go(ledger: Ledger = ledger, file: CheckedFile = file) -> list[LoadedFile]:
                return await send_all(
                    *(ledger.log.settings, by, [file]), is_named=False, said=lambda _: None,
                    asked=ledger,  # type: ignore[arg-type]  # answers as workers do
                )  # fmt: skip

            fresh.left, fresh.is_written = left, is_written
            with pytest.raises(Died):
                await go()
            fresh.left = None
            await go()

            assert ledger.stock() == stock
            assert ledger.ids() == Counter(f"file:day.csv#{n}" for n in range(2, 20))
