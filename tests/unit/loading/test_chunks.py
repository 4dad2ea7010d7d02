"""Each line is one of five, whatever comes; and the same is sent however a file is cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.loading.facts import FactMaker, LineFact
from app.loading.pieces import Became, Chunk, Equation, chunks
from importers.documents.catalogue import Catalogue
from importers.documents.places import read_places
from importers.documents.port import ForeignName
from tests.support.inputs.documents import a_line, parts_of

MAKE = FactMaker(Catalogue(None), read_places(b"location,zone\nshop-7,Europe/Berlin\n"))
WORDS = st.sampled_from(["sold 1", "sold 0.5", "sold 1", "level", "revoke", "other", "refused"])
TEXTS = st.lists(st.lists(WORDS, max_size=12), max_size=5).map(
    lambda documents: "\n".join(
        line for n, words in enumerate(documents) for line in (f"doc {n}", *words)
    )
)


def cut(text: str, size: int, *, with_tests: bool = False) -> list[Chunk]:
    return list(chunks(parts_of(text), MAKE, with_tests=with_tests, size=size))


def facts_of(found: list[Chunk]) -> list[LineFact]:
    return [fact for chunk in found for piece in chunk.pieces for fact in piece.facts]


@given(TEXTS, st.integers(1, 9))
def test_the_five_sums_are_the_lines_that_were_read_in_every_chunk_and_in_all(
    text: str, size: int
) -> None:
    found = cut(text, size)
    total = Equation()
    for chunk in found:
        assert chunk.equation.holds()
        assert chunk.equation.lines <= size
        assert chunk.equation.facts == len(facts_of([chunk]))
        total.add(chunk.equation)

    rows = text.splitlines()
    lines, others = sum(not row.startswith("doc") for row in rows), rows.count("other")
    facts, revocations = rows.count("sold 1"), rows.count("revoke")
    refused = lines - facts - revocations - others  # a count is, without its moment
    assert total == Equation(lines, facts, 0, revocations, others, refused)
    told = [one.became for chunk in found for one in chunk.told]
    assert told.count(Became.REFUSED) == total.refused
    assert told.count(Became.NOT_FOR_STOCK) == total.not_for_stock


@given(TEXTS, st.integers(1, 9), st.integers(1, 9))
def test_however_a_file_is_cut_the_same_facts_are_made_and_each_document_ends_once(
    text: str, one: int, another: int
) -> None:
    assert facts_of(cut(text, one)) == facts_of(cut(text, another))
    for size in (one, another):
        ended = [
            piece.document.identity
            for chunk in cut(text, size)
            for piece in chunk.pieces
            if piece.is_last
        ]
        assert len(ended) == len({*ended}) == text.count("doc")


@given(TEXTS)
def test_each_fact_has_an_id_of_its_own(text: str) -> None:
    ids = [json.loads(fact.value)["id"] for fact in facts_of(cut(text, 5))]

    assert len(ids) == len({*ids})


def test_a_test_document_is_refused_line_by_line_unless_it_was_asked_for() -> None:
    text = "test T\nsold 1\nother\ndoc D\nsold 1"

    (chunk,) = cut(text, 9)
    assert chunk.equation == Equation(lines=3, facts=1, refused=2)
    assert all("--test takes it as a real one" in one.sentence for one in chunk.told)
    (chunk,) = cut(text, 9, with_tests=True)
    assert chunk.equation == Equation(lines=3, facts=2, not_for_stock=1)


def test_a_count_without_a_moment_is_refused_with_what_to_do() -> None:
    (chunk,) = cut("doc D\nlevel\nlevel 1 2026-11-23T10:00:00Z", 9)

    assert chunk.equation == Equation(lines=2, levels=1, refused=1)
    assert "nothing says at which moment: give the place a zone" in chunk.told[0].sentence


def test_a_local_time_is_of_the_zone_of_its_place_and_is_left_out_where_none_is_known() -> None:
    def time_of(**other: str | ForeignName) -> str | None:
        line = a_line(1, **other)  # type: ignore[arg-type]
        fact = json.loads(MAKE.fact("D", 1, line).value)
        found: str | None = fact.get("time")
        return found

    assert time_of(day="2026-11-23T10:00:00") == "2026-11-23T09:00:00Z"
    assert time_of(day="2026-11-23") == "2026-11-22T23:00:00Z"
    assert time_of(time="2026-11-23T10:00:00Z", day="2026-01-01") == "2026-11-23T10:00:00Z"
    assert time_of() is None
    with pytest.raises(ValueError, match="never was in Europe/Berlin"):
        time_of(day="2026-03-29T02:30:00")


@pytest.mark.parametrize("quantity", ["1E+30", "1E+999999", "-1E+30"])
def test_a_number_of_a_billion_digits_is_never_worked_out(quantity: str) -> None:
    with pytest.raises(ValueError, match="far too large"):
        MAKE.fact("D", 1, a_line(1, quantity))
