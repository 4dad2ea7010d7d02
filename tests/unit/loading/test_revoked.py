"""Which documents a line takes back, and which came too late."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.loading.checking import CheckedFile
from app.loading.decisions.revoking import (
    came_too_late,
    names_taken_back,
    taken_back_meanwhile,
    why_not,
)
from app.loading.given import FileOnDisk
from app.loading.remembered import DocumentNote, Remembered, RevokedMark
from tests.support.documents import opened, written


def check(folder: Path, text: str) -> CheckedFile:
    rows = text.replace("; ", "\n")
    return opened(decides=True).check(
        FileOnDisk(written(folder, rows)), lambda told: None, lambda n: None
    )


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
