"""X12 852: what stands before and below its activities."""

from __future__ import annotations

import pytest

from importers.documents.port import MovedLine, RefusedLine
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import PIECE, activity, x12

LIN = f"LIN*1*EN*{PIECE[1:]}"


@pytest.mark.parametrize("total", ["", "*12*EA"])
def test_more_pairs_than_an_sdq_can_have_are_refused_and_none_is_left_out(total: str) -> None:
    pairs = "*".join(f"{store}*1" for store in range(12))
    segments = activity(LIN, f"ZA*QS{total}", f"SDQ*EA*92*{pairs}", LIN, "ZA*QS*1*EA")

    *found, behind = writing.lines(writing.read(x12(segments), "x12"))

    assert len(found) == 10
    for line in found:
        assert isinstance(line, RefusedLine)
        assert "The SDQ at segment 8 (SDQ) has more than the ten pairs" in line.sentence
    assert isinstance(behind, MovedLine)


def test_an_activity_is_of_the_day_that_was_said_before_it() -> None:
    segments = activity(LIN, "ZA*QS*1*EA", "XQ*H*20260207", LIN, "ZA*QS*2*EA")

    found = writing.lines(writing.read(x12(segments), "x12"))

    days = [line.day for line in found if isinstance(line, MovedLine)]
    assert days == ["2026-01-31", "2026-02-07"]
