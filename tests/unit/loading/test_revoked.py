"""Which documents a line takes back, and which came too late."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.loading.checking import CheckedFile
from app.loading.decisions.deciding import StockMove
from app.loading.decisions.revoking import (
    Corrections,
    TakenBack,
    came_too_late,
    forbidden_of,
    names_taken_back,
    taken_back_meanwhile,
    why_not,
)
from app.loading.given import FileOnDisk
from app.loading.pieces import LineRevocation
from app.loading.remembered import DocumentNote, Remembered, RevokedMark
from tests.support.inputs.documents import opened, written
from web.access.callers import Caller, Scope


def check(folder: Path, text: str) -> CheckedFile:
    rows = text.replace("; ", "\n")
    return opened().check(FileOnDisk(written(folder, rows)), lambda told: None, lambda n: None)


def memory(*notes: tuple[str, str], is_whole: bool = True, old: bool = False) -> Remembered:
    found = Remembered({}, {})
    for identity, called in notes:
        sent = None if old else {"sales-0": (0, 1)}
        note = DocumentNote(1, 1, "", f"{identity}.edi", "", is_whole, called, sent)
        found.keep(identity, note, 0)
    return found


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("doc A; sold 1; doc K; revoke A; sold 1", {"A"}),
        # Before it came: by its own identity.
        ("doc K; revoke A; doc A; sold 1", {"A"}),
        # A replacement that comes later is not what it replaces.
        (
            "doc A called C; sold 1; doc R1 called C; revoke C; doc R2 called C; revoke C",
            {"A", "R1"},
        ),
        ("doc R1 called C; revoke C; sold 1; doc A called C; sold 1", {"A"}),
        ("doc K called C; revoke C; doc R called C; revoke C; sold 1", {"K"}),
        ("doc A; sold 1; doc B; revoke X", set()),
    ],
)
def test_of_a_load_that_revokes_itself_it_is_known_what_remains(
    tmp_path: Path, text: str, gone: set[str]
) -> None:
    assert taken_back_meanwhile([check(tmp_path, text)]) == gone


def test_a_line_is_about_the_document_of_that_name_and_all_that_are_called_so(
    tmp_path: Path,
) -> None:
    (line,) = check(tmp_path, "doc K called C; revoke C").revocations

    known = memory(("C", ""), ("R1", "C"), ("R1", "C"), ("K", "C"), ("X", "Y"))
    assert names_taken_back(line, known) == ["C", "R1"]


def test_what_comes_after_its_own_revocation_is_too_late_and_a_replacement_is_not() -> None:
    known = memory(("A", "C"))
    known.marks["C"] = known.marks["E"] = mark = RevokedMark("K", 0, is_whole=True)

    def late(identity: str, called: str, *, revokes: bool) -> bool:
        return came_too_late(identity, called, revokes, known) is mark

    assert not late("A", "C", revokes=False)  # it came before
    assert late("B", "C", revokes=False)
    assert not late("R", "C", revokes=True)
    assert late("E", "", revokes=False)
    assert not late("F", "", revokes=False)


def test_a_document_that_was_broken_off_is_finished_before_it_is_taken_back(
    tmp_path: Path,
) -> None:
    file = check(tmp_path, "doc K; revoke A")

    assert why_not(file, set(), memory()) == ""
    assert why_not(file, set(), memory(("A", ""))) == ""
    told = why_not(file, set(), memory(("A", ""), is_whole=False))
    assert "which was begun, and is not finished: load A.edi to its end first" in told
    assert why_not(file, {"A"}, memory(("A", ""), is_whole=False)) == ""
    told = why_not(file, set(), memory(("A", ""), old=True))
    assert "did not remember where its facts lie" in told


class Sent:
    """Says what earlier documents moved: for each its locations."""

    def __init__(self, **locations: list[str]) -> None:
        self._locations = locations

    async def left_of(
        self, revocation: LineRevocation, name: str
    ) -> tuple[list[StockMove] | None, int]:
        return [StockMove("1", "A", at, -1, None) for at in self._locations[name]], 0


async def test_what_a_token_may_not_write_it_may_not_take_back(tmp_path: Path) -> None:
    mine = Caller("id", "till", frozenset([Scope.WRITE]), locations=["shop-7"])
    known = memory(("A", ""), ("B", ""), ("E", "C"))
    sent = Sent(A=["shop-7"], B=["shop-7", "shop-8"], E=["shop-8"])

    async def told(text: str, caller: Caller = mine) -> list[str]:
        file = check(tmp_path, text)
        found = await forbidden_of(file, caller, known, sent)  # type: ignore[arg-type]  # says what was sent
        return [f"{one.where}: {one.sentence}" for one in found]

    only = "This token may not write facts of location 'shop-8', only of shop-7."
    assert await told("doc K; revoke A") == []
    assert await told("doc K; revoke A; revoke B") == [f"line 3: It takes back B. {only}"]
    assert await told("doc K; revoke C") == [f"line 2: It takes back C. {only}"]
    # What was not loaded may come from anywhere, and would count nothing then.
    (unknown,) = await told("doc K; revoke X")
    assert "It takes back X. This token may write facts of some locations only: shop-7." in unknown
    # Neither is it there because the cancellation is called as what it cancels, nor because more
    # of that name follows.
    assert len(await told("doc K called X; revoke X")) == 1
    assert len(await told("doc R called X; revoke X; sold 1; doc D called X; sold 1")) == 1
    # But for what stands beside it, which was judged by then.
    assert await told("doc D called X; sold 1; doc K called X; revoke X") == []
    assert await told("doc K; revoke D; doc D; sold 1") == []
    of_load = Caller("id", "till", frozenset(), sources=["load"])
    assert await told("doc K; revoke B; revoke X", of_load) == []
    other = Caller("id", "till", frozenset(), sources=["till-*"])
    assert len(await told("doc K; revoke A; revoke X", other)) == 2


@pytest.mark.parametrize(
    ("caller", "marked"),
    [
        (None, {"C", "D"}),
        (Caller("id", "till", frozenset(), sources=["load"]), {"C", "D"}),
        # Of the name other documents may come, of other places; of the identity none.
        (Caller("id", "till", frozenset(), locations=["shop-7"]), {"D"}),
    ],
)
async def test_who_may_not_write_all_keeps_nothing_from_counting_that_comes_later(
    tmp_path: Path, caller: Caller | None, marked: set[str]
) -> None:
    file = check(tmp_path, "doc K called C; revoke C; revoke D; doc D; sold 1")
    nothing: Any = None  # is read or written: nothing was loaded
    known = memory()
    corrections = Corrections(nothing, nothing, known, caller)

    marks: set[str] = set()
    for one in file.revocations:
        taken = TakenBack(one.where, one.target)
        async for group in corrections.groups(one, taken, file.documents):
            assert group.facts == []
            marks |= group.marks.keys()
    assert marks == marked
