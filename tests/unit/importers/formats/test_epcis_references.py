"""The business transaction of an EPCIS event is the reference of its facts, whole or not at all."""

from __future__ import annotations

import pytest

from importers.documents.port import AnyLine, MovedLine, RefusedLine
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import EPCIS_WRITERS, event


def the_line(writer: str, papers: str) -> AnyLine:
    """Of an event with these papers, and behind them others."""
    write, name = EPCIS_WRITERS[writer]
    named = [{"type": kind, "bizTransaction": of} for kind, of in (("po", papers), ("inv", "x"))]
    (line,) = writing.lines(writing.read(write(event(bizTransactionList=named)), name))
    return line


@pytest.mark.parametrize("writer", EPCIS_WRITERS)
def test_a_reference_is_kept_whole_however_long_its_uri_is(writer: str) -> None:
    papers = "https://supplier.example/orders/" + "7" * 992
    assert len(papers) == 1024

    line = the_line(writer, papers)

    assert isinstance(line, MovedLine)
    assert line.reference == papers


@pytest.mark.parametrize("writer", EPCIS_WRITERS)
def test_a_line_whose_reference_no_fact_can_keep_is_refused(writer: str) -> None:
    line = the_line(writer, "urn:x:po:" + "7" * 1016)

    assert isinstance(line, RefusedLine)
    assert "has 1,025 characters, and a fact keeps 1,024" in line.sentence
    assert "ask its sender" in line.sentence
