"""Times in cells and of clocks on walls: one declared form, one zone, nothing guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importers.documents.localtimes import instant_of
from importers.documents.sheets.times import time_reader

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("form", "cell", "meant"),
    [
        ("rfc3339", "2026-11-23T10:00:00Z", ("2026-11-23T10:00:00Z", None)),
        ("rfc3339", "2026-11-23 10:00:00.25+05:30", ("2026-11-23T04:30:00.250000Z", None)),
        ("%Y-%m-%dT%H:%M%z", "2026-11-23T10:00-0500", ("2026-11-23T15:00:00Z", None)),
        ("%d.%m.%Y %H:%M", "1.2.2026 7:05", (None, "2026-02-01T07:05:00")),
        ("%m/%d/%Y", "1/2/2026", (None, "2026-01-02")),
        ("%Y%m%d%H%M", "202602010705", (None, "2026-02-01T07:05:00")),
        ("%m/%d/%Y %I:%M %p", "1/2/2026 12:30 am", (None, "2026-01-02T00:30:00")),
        ("%m/%d/%Y %I:%M %p", "1/2/2026 12:30 p.m.", (None, "2026-01-02T12:30:00")),
    ],
)
def test_a_time_is_read_by_its_form_as_an_instant_or_as_what_the_clock_said(
    form: str, cell: str, meant: tuple[str | None, str | None]
) -> None:
    assert time_reader(form, None)(cell) == meant


@pytest.mark.parametrize(
    ("form", "cell"),
    [("%Y-%m-%d", "2026-02-30"), ("%Y-%m-%d", "23.11.2026"), ("%Y-%m-%d", "2026-11-23 10:00"),
     ("%d.%m.%Y", "1.2.26"), ("%Y%m%d", "202611"), ("%I:%M %p %Y-%m-%d", "13:00 PM 2026-01-01"),
     ("rfc3339", "2026-11-23T10:00:00"), ("rfc3339", "0001-01-01T00:00:00+10:00"),
     ("%Y-%m-%d", "２０２６-11-23")],
)  # fmt: skip
def test_what_is_not_of_the_form_is_refused(form: str, cell: str) -> None:
    with pytest.raises(ValueError, match=r"^(is|has) "):
        time_reader(form, None)(cell)


def test_the_zone_makes_an_instant_of_a_local_time_in_summer_and_in_winter() -> None:
    read = time_reader("%Y-%m-%d %H:%M", BERLIN)

    assert read("2026-07-01 12:00") == ("2026-07-01T10:00:00Z", None)
    assert read("2026-12-01 12:00") == ("2026-12-01T11:00:00Z", None)


ZONES = st.sampled_from(
    ["Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns", "Asia/Beirut"]
).map(ZoneInfo)


@given(st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1)), ZONES, st.booleans())  # noqa: DTZ001
def test_neighbours_of_an_hour_are_read_as_each_is_by_itself(
    moment: datetime, zone: ZoneInfo, is_whole: bool
) -> None:
    moment = moment.replace(microsecond=0) if is_whole else moment
    instant = moment.replace(tzinfo=zone).astimezone(UTC)
    never_was = instant.astimezone(zone).replace(tzinfo=None) != moment

    try:
        found = instant_of(moment.isoformat(), zone)
    except ValueError:
        assert never_was
    else:
        assert datetime.fromisoformat(found) == instant
        assert not never_was


def test_an_hour_that_never_was_is_refused_and_of_one_that_came_twice_the_first_is_taken() -> None:
    with pytest.raises(ValueError, match="never was in Europe/Berlin"):
        instant_of("2026-03-29T02:30:00", BERLIN)

    assert instant_of("2026-10-25T02:30:00", BERLIN) == "2026-10-25T00:30:00Z"


def test_a_day_begins_when_it_does_there_also_where_midnight_is_put_forward() -> None:
    assert instant_of("2026-11-23", BERLIN) == "2026-11-22T23:00:00Z"
    # In Beirut the clock goes from 00:00 to 01:00.
    assert instant_of("2026-03-29", ZoneInfo("Asia/Beirut")) == "2026-03-28T22:00:00Z"
