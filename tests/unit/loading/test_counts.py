"""A count becomes an adjustment against the book of its moment, once; or is refused with why."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path

import msgspec
import pytest

from app.loading.checking import CheckedFile
from app.loading.decisions.asking import BookThen, NoBook, Unasked
from app.loading.decisions.deciding import (
    Decided,
    LevelBecame,
    StockMove,
    decide,
    move_of,
    undecided,
)
from app.loading.decisions.outcomes import levels_sum
from app.loading.facts import correction_fact, moment_us
from app.loading.given import FileOnDisk
from app.loading.pieces import Equation, NoFact
from domain.events import StockAdjusted
from domain.rules.held import CURRENT
from importers.documents.levels import StockCount
from tests.support.inputs.documents import opened, written

TEN = "2026-11-23T10:00:00Z"
LATER = "2026-11-24T10:00:00Z"
NOW_US = moment_us("2026-11-25T00:00:00Z")


class Books:
    """Answers as workers do, from what was put in."""

    def __init__(self, on_hand: int = 0, known: dict[str, int] | None = None) -> None:
        self.on_hand, self.known = on_hand, known or {}
        self.asked: list[str] = []

    async def changes_by(self, ids: Sequence[str]) -> dict[str, int]:
        return {id_: self.known[id_] for id_ in ids if id_ in self.known}

    async def book(self, count: StockCount, time_text: str, after: str) -> BookThen:
        self.asked.append(count.id)
        if self.on_hand < 0:
            raise NoBook("It cannot be told.")
        return BookThen(self.on_hand, f"{after}!")


def check(folder: Path, text: str) -> CheckedFile:
    return opened().check(FileOnDisk(written(folder, text)), lambda told: None, lambda n: None)


async def decided(
    folder: Path, text: str, books: Books, beside: Sequence[StockMove] = ()
) -> Decided:
    levels = check(folder, text).levels

    def moves(skus: Collection[str]) -> Sequence[StockMove]:
        return [move for move in beside if move.sku in skus]

    return await decide(books, levels, moves, lambda sku: "adjustments-1@7", NOW_US)  # type: ignore[arg-type]  # answers as workers do


async def test_the_adjustment_has_what_was_counted_what_was_booked_and_where_in_the_log(
    tmp_path: Path,
) -> None:
    found = await decided(tmp_path, f"doc D\nlevel 12 {TEN}", Books(10))

    (fact,) = found.facts.values()
    event = json.loads(fact.value)
    assert event == {
        "specversion": "1.0", "id": "D#2", "source": "load",
        "type": "inventory.stock.adjusted.v1", "time": TEN,
        "data": {"sku": "A", "location": "shop-7", "quantity": 2, "reason": "count"},
        "onhandcounted": "12", "onhandbook": "10", "onhandposition": "adjustments-1@7!",
    }  # fmt: skip
    assert (fact.role, fact.key, fact.rank) == ("adjustments", b"A", 1)
    (read,) = CURRENT.decode_batch([fact.value], [()])
    assert isinstance(read, StockAdjusted)
    (one,) = found.decisions.values()
    assert (one.became, one.book, one.change) == (LevelBecame.ADJUSTED, 10, 2)


async def test_a_count_that_confirms_is_recorded_as_an_adjustment_of_nothing(
    tmp_path: Path,
) -> None:
    found = await decided(tmp_path, f"doc D\nlevel 10 {TEN}", Books(10))

    assert json.loads(found.facts["D#2"].value)["data"]["quantity"] == 0
    assert levels_sum(list(found.decisions.values())) == "1 counts = 1 confirmed."


async def test_what_was_decided_before_is_never_worked_out_again(tmp_path: Path) -> None:
    books = Books(10, {"D#2": -4})

    found = await decided(tmp_path, f"doc D\nlevel 12 {TEN}\nlevel 12 {LATER}", books)

    assert books.asked == ["D#3"]
    assert list(found.facts) == ["D#3"]
    first = found.decisions["D#2"]
    assert (first.became, first.change) == (LevelBecame.DECIDED_BEFORE, -4)


async def test_what_the_load_sends_until_then_belongs_to_the_book(tmp_path: Path) -> None:
    beside = [
        StockMove("1", "A", "shop-7", -3, TEN),
        StockMove("2", "A", "shop-7", -5, "2026-11-23T10:00:00.000001Z"),
        StockMove("3", "A", "shop-7", -7, None),
        StockMove("4", "A", "shop-8", -9, TEN),
    ]

    found = await decided(tmp_path, f"doc D\nlevel 10 {TEN}", Books(10), beside)

    assert found.decisions["D#2"].book == 7
    assert found.decisions["D#2"].change == 3


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"level 1 {TEN}\nlevel 2 {TEN}", "counted twice for 2026-11-23T10:00:00Z, with differ"),
        ("level 1 2026-11-25T00:05:01Z", "which is still to come"),
    ],
)
async def test_what_cannot_be_so_is_refused_before_anybody_is_asked(
    tmp_path: Path, text: str, told: str
) -> None:
    books = Books()

    found = await decided(tmp_path, f"doc D\n{text}", books)

    assert not books.asked
    assert not found.facts
    assert {one.became for one in found.decisions.values()} == {LevelBecame.REFUSED}
    assert all(told in one.sentence for one in found.refused())


async def test_a_count_whose_book_nobody_knows_is_refused_and_so_is_one_too_far_off(
    tmp_path: Path,
) -> None:
    found = await decided(tmp_path, f"doc D\nlevel 1 {TEN}", Books(-1))
    assert [one.sentence for one in found.refused()] == ["It cannot be told."]

    found = await decided(tmp_path, f"doc D\nlevel 1 {TEN}", Books(2 * 10**9))
    assert "data.quantity" in found.refused()[0].sentence


async def test_where_nobody_answers_the_load_ends_with_that_sentence(tmp_path: Path) -> None:
    class Nobody(Books):
        async def book(self, count: StockCount, time_text: str, after: str) -> BookThen:
            raise Unasked("Nobody answers.")

    with pytest.raises(Unasked, match="Nobody answers"):
        await decided(tmp_path, "doc D\n" + f"level 1 {TEN}\n" * 20, Nobody())


def test_a_count_without_a_moment_or_below_nothing_is_a_refused_line(tmp_path: Path) -> None:
    told: list[NoFact] = []
    text = f"doc D\nlevel 1\nlevel -1 {TEN}\nlevel 1 {TEN}\nrevoke X"
    checked = opened().check(
        FileOnDisk(written(tmp_path, text)),
        told.append,
        lambda n: None,
    )

    assert checked.equation == Equation(lines=4, levels=1, revocations=1, refused=2)
    assert "nothing says at which moment" in told[0].sentence
    assert "-1 cannot lie anywhere" in told[1].sentence
    assert [one.became for one in undecided(checked.levels).decisions.values()] == ["not decided"]


def test_another_number_counted_or_another_document_revoked_is_another_document(
    tmp_path: Path,
) -> None:
    texts = [
        f"level 1 {TEN}",
        f"level 2 {TEN}",
        f"level 1 {LATER}",
        "revoke A",
        "revoke B",
        "other",
    ]
    digests = [check(tmp_path, f"doc D\n{text}").documents["D"].digest for text in texts]

    assert len({*digests}) == len(texts)


def test_a_correction_names_what_it_takes_back_and_is_the_same_whoever_sends_it() -> None:
    one, other = (
        correction_fact(rank, where, "D#2", "A", "shop-7", -4, TEN)
        for rank, where in ((1, "line 1"), (9, "line 9"))
    )

    assert one.value == other.value
    event = json.loads(one.value)
    assert (event["id"], event["data"]["reference"]) == ("D#2:revoked", "D#2")
    assert event["data"]["reason"] == "correction"
    assert move_of(one.value) == StockMove("D#2:revoked", "A", "shop-7", -4, TEN)
    assert move_of(one.value, "another") is None
    with pytest.raises(msgspec.MsgspecError):
        move_of(b"{}")
