"""A file is read to its end before anything is sent, and read again it must be the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.loading import pieces
from app.loading.checking import CheckedFile, FileRefused, Opened, refuse_twice
from app.loading.given import FileOnDisk
from app.loading.pieces import NoFact
from tests.support.inputs.documents import opened, written

GOOD = "doc A\nsold 1\nsold 2\nother\ndoc B\nsold 3\nend 4\n"


def check(path: Path, by: Opened | None = None) -> tuple[CheckedFile, list[NoFact]]:
    told: list[NoFact] = []
    return (by or opened()).check(FileOnDisk(path), told.append, lambda count: None), told


def refusal(path: Path) -> str:
    with pytest.raises(FileRefused) as why:
        check(path)
    return str(why.value)


def test_what_is_kept_of_a_file_is_its_documents_and_not_its_lines(tmp_path: Path) -> None:
    checked, told = check(written(tmp_path, GOOD))

    assert {id_: (one.lines, one.facts) for id_, one in checked.documents.items()} == {
        "A": (3, 2),
        "B": (1, 1),
    }
    assert [one.where for one in told] == ["line 4"]
    assert checked.documents["A"].digest != checked.documents["B"].digest


def test_a_trailer_that_does_not_agree_refuses_the_whole_file(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("end 4", "end 5"))

    assert refusal(path) == f"{path}: Line 7 says 5 lines, and there are 4."


def test_one_document_number_twice_in_a_file_is_refused_with_both_places(tmp_path: Path) -> None:
    told = refusal(written(tmp_path, GOOD.replace("doc B", "doc A")))

    assert "The documents at line 1 and line 5 have one number, 'A'" in told


@pytest.mark.parametrize("identity", ["", "x" * 513])
def test_a_document_number_that_cannot_be_remembered_is_refused(
    tmp_path: Path, identity: str
) -> None:
    assert "1 to 512 can be remembered" in refusal(written(tmp_path, f"doc {identity}\nsold 1\n"))


def test_what_the_rules_refuse_is_a_refused_line_both_times(tmp_path: Path) -> None:
    by = opened()
    checked, told = check(written(tmp_path, "doc A\nsold 1000000001\nsold 1\n"), by)

    assert (checked.equation.facts, checked.equation.refused) == (1, 1)
    assert told[0].where == "line 2"
    assert "data.quantity is not a whole number from 1 to 1000000000" in told[0].sentence
    (chunk,) = by.chunks(checked)
    assert [fact.rank for piece in chunk.pieces for fact in piece.facts] == [2]


@pytest.mark.parametrize(
    "changed", [GOOD.replace("sold 2", "sold 7"), GOOD + "sold 1\n", "doc A\nsold 1\n", None]
)
def test_a_file_that_was_changed_meanwhile_gives_nothing_that_was_not_checked(
    tmp_path: Path, changed: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces.chunks, "__kwdefaults__", {"size": 1})
    by, path = opened(), written(tmp_path, GOOD)
    checked, _ = check(path, by)
    good = [fact.value for chunk in by.chunks(checked) for p in chunk.pieces for fact in p.facts]
    assert len(good) == 3
    path.unlink()
    if changed is not None:
        path.write_text(changed)

    given: list[bytes] = []

    def read_again() -> None:
        for chunk in by.chunks(checked):
            given.extend(fact.value for piece in chunk.pieces for fact in piece.facts)

    with pytest.raises(FileRefused, match="was changed while it was loaded"):
        read_again()
    assert given == good[: len(given)]


def test_a_test_that_is_left_out_is_no_document_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "test T\nsold 1\ndoc D\nsold 1\n")

    assert list(check(path)[0].documents) == ["D"]
    assert list(check(path, opened(with_tests=True))[0].documents) == ["T", "D"]


def test_one_document_in_two_files_is_refused_with_both_names(tmp_path: Path) -> None:
    one, two = (check(written(tmp_path, text, name))[0] for text, name in (
        (GOOD, "1.toy"), (f"{GOOD}doc C\n", "2.toy")
    ))  # fmt: skip

    with pytest.raises(FileRefused) as why:
        refuse_twice([one, two])

    assert str(why.value).startswith(
        f"{two.file}: The document 'A' came in {one.file}, too: leave one out"
    )
    same, _ = check(written(tmp_path, GOOD, "3.toy"))
    with pytest.raises(FileRefused, match="came in"):
        refuse_twice([one, same])
    refuse_twice([one])
