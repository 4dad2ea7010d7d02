"""When goods of a ship notice left: days, times, and X12's codes of zones."""

from __future__ import annotations

import pytest

from importers.documents.port import AnyLine, MovedLine, RefusedLine
from tests.unit.importers.formats import writing
from tests.unit.importers.formats.writing import DAY, PIECE, ship_notice, x12

ITEM = ["HL*3*2*I", f"LIN*1*EN*{PIECE[1:]}", "SN1**4*EA"]


def shipped(dtm: str) -> AnyLine:
    """The line of a notice whose goods left then."""
    notice = [one.replace(f"DTM*011*{DAY}", f"DTM*011*{dtm}") for one in ship_notice(*ITEM)]
    (line,) = writing.lines(writing.read(x12(notice), "x12"))
    return line


@pytest.mark.parametrize(
    ("dtm", "time", "day"),
    [
        ("20260131", None, "2026-01-31"),
        ("260131", None, "2026-01-31"),
        ("20260131*2300", None, "2026-01-31T23:00:00"),
        ("20260131*2300*LT", None, "2026-01-31T23:00:00"),
        ("20260131*2300*GM", "2026-01-31T23:00:00Z", None),
    ],
)
def test_a_time_without_a_zone_is_that_of_the_places_clock(
    dtm: str, time: str | None, day: str | None
) -> None:
    line = shipped(dtm)

    assert isinstance(line, MovedLine)
    assert (line.time, line.day) == (time, day)


@pytest.mark.parametrize(
    ("dtm", "time"),
    [
        ("20260131*2300*UT", "2026-01-31T23:00:00Z"),
        ("20260131*230015*ES", "2026-02-01T04:00:15Z"),
        ("20260131*2300*ED", "2026-02-01T03:00:00Z"),
        ("20260131*2300*CS", "2026-02-01T05:00:00Z"),
        ("20260131*2300*NS", "2026-02-01T02:30:00Z"),
        ("20260131*2300*01", "2026-01-31T22:00:00Z"),
        ("20260131*2300*12", "2026-01-31T11:00:00Z"),
        ("20260131*2300*13", "2026-02-01T11:00:00Z"),
        ("20260131*2300*24", "2026-02-01T00:00:00Z"),
        ("20260131*2300*27", "2026-01-31T17:30:00Z"),
        ("20260131*2300*ET", "2026-02-01T04:00:00Z"),
        ("20260731*2300*ET", "2026-08-01T03:00:00Z"),
        ("20260731*2300*CT", "2026-08-01T04:00:00Z"),
        ("20260131*2300*HT", "2026-02-01T09:00:00Z"),
    ],
)
def test_a_time_with_a_code_of_a_zone_is_an_instant(dtm: str, time: str) -> None:
    line = shipped(dtm)

    assert isinstance(line, MovedLine)
    assert (line.time, line.day) == (time, None)


@pytest.mark.parametrize(
    ("dtm", "says"),
    [
        ("20260131*2300*XX", "The time code 'XX' in "),
        ("20260131*2300*30", "The time code '30' in "),
        ("20260131*2300*et", "The time code 'et' in "),
        ("20260308*0230*ET", "2026-03-08T02:30:00 never was in America/New_York"),
        ("20260731*2300*HT", "ask its sender for HS or HD."),
    ],
)
def test_a_time_whose_zone_cannot_be_told_is_refused(dtm: str, says: str) -> None:
    line = shipped(dtm)

    assert isinstance(line, RefusedLine)
    assert says in line.sentence
    assert "sk its sender" in line.sentence
