"""What is taken back, and what was counted, on a real Kafka: once, whatever happens on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from app.config import Settings
from app.loading import pieces
from app.loading.decisions import revoking
from app.loading.decisions.asking import BookThen
from app.loading.decisions.deciding import LevelBecame
from app.loading.found.loaded import LoadedFile
from app.loading.given import FileOnDisk
from app.loading.sending import send_all
from app.resending import OnlySender
from dev.oracle.log import read_topics
from importers.documents.levels import StockCount
from tests.support.inputs.documents import opened, written
from wire.transactions import RecordBatch

SIGNS = {
    "inventory.sale.completed.v1": -1,
    "inventory.stock.adjusted.v1": 1,
}


class Books:
    """Answers as a worker does whose every row holds so much."""

    def __init__(self, on_hand: int) -> None:
        self.on_hand = on_hand

    async def changes_by(self, ids: Sequence[str]) -> dict[str, int]:
        return {}

    async def book(self, count: StockCount, time_text: str, after: str) -> BookThen:
        return BookThen(self.on_hand, after)


async def load(
    settings: Settings, folder: Path, *texts: str, on_hand: int = 0, leave_out: bool = False
) -> list[LoadedFile]:
    """Each text is a file of its own."""
    by = opened()
    paths = [written(folder, text.replace("; ", "\n"), f"{n}.toy") for n, text in enumerate(texts)]
    files = [by.check(FileOnDisk(path), lambda told: None, lambda count: None) for path in paths]
    asked = Books(on_hand)
    return await send_all(
        *(settings, by, files),
        is_named=False,
        said=lambda count: None,
        asked=asked,  # type: ignore[arg-type]  # answers as workers do
        leave_out_refused=leave_out,
    )


def stock(settings: Settings) -> tuple[Counter[str], dict[str, int]]:
    """How often each id is in the log, and what its facts make of each SKU."""
    ids: Counter[str] = Counter()
    found: dict[str, int] = {}
    for record in read_topics(settings.kafka, settings.source_topics.values()):
        event = json.loads(record.value or b"")
        ids[event["id"]] += 1
        change = SIGNS[event["type"]] * event["data"]["quantity"]
        found[event["data"]["sku"]] = found.get(event["data"]["sku"], 0) + change
    return ids, {sku: change for sku, change in found.items() if change}


async def test_what_is_cancelled_is_made_up_for_once_by_whoever_cancels_it(
    settings: Settings, tmp_path: Path
) -> None:
    await load(settings, tmp_path, "doc A; sold 1; sold 2; other; doc A#9; sold 5")

    for _ in range(2):
        await load(settings, tmp_path, "doc K; revoke A; other")
    (again,) = await load(settings, tmp_path, "doc K2; revoke A")

    ids, left = stock(settings)
    assert ids == Counter(["A#2", "A#3", "A#9#6", "A#2:revoked", "A#3:revoked"])
    assert left == {"SKU-6": -5}
    assert [(one.documents, one.facts) for one in again.taken] == [(0, 0)]


async def test_in_whatever_order_they_come_a_cancelled_document_counts_nothing(
    settings: Settings, tmp_path: Path
) -> None:
    (cancel,) = await load(settings, tmp_path, "doc K called C; revoke C; other")
    (late,) = await load(settings, tmp_path, "doc C called C; sold 1; doc B; sold 2")

    assert cancel.taken[0].documents == 0
    assert late.late == {"C": "K"}
    assert stock(settings)[0] == Counter(["B#4"])
    (again,) = await load(settings, tmp_path, "doc C called C; sold 1; doc B; sold 2")
    assert "was loaded on" in again.refused


async def test_of_documents_that_replace_each_other_the_last_one_counts(
    settings: Settings, tmp_path: Path
) -> None:
    one = "doc C called C; sold 1"
    first = "doc R1 called C; revoke C; sold 2"
    second = "doc R2 called C; revoke C; sold 3; sold 4"

    await load(settings, tmp_path, f"{one}; {first}", second)
    assert stock(settings)[1] == {"SKU-3": -3, "SKU-4": -4}

    (found,) = await load(settings, tmp_path, "doc K called C; revoke C")
    assert [(one.documents, one.facts) for one in found.taken] == [(1, 2)]
    assert stock(settings)[1] == {}


async def test_a_load_that_dies_while_it_takes_back_goes_on_and_no_fact_is_taken_back_twice(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "doc A; " + "; ".join(f"sold {n}" for n in range(1, 11))
    await load(settings, tmp_path, text)
    monkeypatch.setattr(revoking, "CHUNK_LINES", 3)
    commit = OnlySender.commit
    before_death = 2

    async def dying(self: OnlySender, batches: Sequence[RecordBatch]) -> list[int]:
        nonlocal before_death
        if before_death == 0:
            raise RuntimeError("dead")
        before_death -= 1
        return await commit(self, batches)

    with monkeypatch.context() as here:
        here.setattr(OnlySender, "commit", dying)
        with pytest.raises(RuntimeError, match="dead"):
            await load(settings, tmp_path, "doc K; revoke A; sold 7")
    ids, _ = stock(settings)
    assert sum(id_.endswith(":revoked") for id_ in ids) == 6

    (found,) = await load(settings, tmp_path, "doc K; revoke A; sold 7")

    ids, left = stock(settings)
    assert {*ids.values()} == {1}
    assert len(ids) == 21
    assert left == {"SKU-3": -7}
    assert [(one.documents, one.facts) for one in found.taken] == [(1, 4)]


async def test_counts_of_a_load_that_dies_are_decided_once_and_none_is_lost(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": 1})
    text = "doc D; " + "; ".join(f"level 5 2026-11-23T10:00:0{n}Z" for n in range(4))
    commit = OnlySender.commit

    async def dying(self: OnlySender, batches: Sequence[RecordBatch]) -> list[int]:
        if stock(settings)[0]:
            raise RuntimeError("dead")
        return await commit(self, batches)

    with monkeypatch.context() as here:
        here.setattr(OnlySender, "commit", dying)
        with pytest.raises(RuntimeError, match="dead"):
            await load(settings, tmp_path, text, on_hand=3)
    assert stock(settings) == (Counter(["D#2"]), {"A": 2})

    # What was decided is in the log by now, and in the book of the others.
    (found,) = await load(settings, tmp_path, text, on_hand=5)

    ids, left = stock(settings)
    assert ids == Counter([f"D#{n}" for n in range(2, 6)])
    assert left == {"A": 2}
    assert [one.became for one in found.levels] == [LevelBecame.CONFIRMED] * 3


async def test_nothing_is_sent_where_a_count_is_refused_unless_it_is_left_out(
    settings: Settings, tmp_path: Path
) -> None:
    moment = "2026-11-23T10:00:00Z"
    text = f"doc D; sold 1; level 1 {moment}; level 2 {moment}; level 4 2026-11-23T11:00:00Z"

    found, _ = await load(settings, tmp_path, text, "doc E; sold 1")
    assert "Nothing was sent, because of counts that are refused (2)" in found.refused
    assert not stock(settings)[0]

    (found,) = await load(settings, tmp_path, text, on_hand=4, leave_out=True)
    assert stock(settings)[0] == Counter(["D#2", "D#5"])
    equation = found.file.equation
    assert (equation.levels, equation.refused, equation.holds()) == (1, 2, True)


async def test_a_document_whose_count_is_declared_wrong_leaves_the_stock_as_it_was(
    settings: Settings, tmp_path: Path
) -> None:
    text = (
        "doc D; level 9 2026-11-23T10:00:00Z; doc K; revoke D; doc E; level 6 2026-11-23T10:00:01Z"
    )

    await load(settings, tmp_path, text, on_hand=2)

    ids, left = stock(settings)
    assert ids == Counter(["D#2", "D#2:revoked", "E#6"])
    assert left == {"A": 4}
