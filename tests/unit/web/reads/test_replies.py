"""The mapping of look-ups to HTTP is complete, and says what docs/architecture.md promises."""

import json
from typing import get_args

import pytest
from aiohttp import web

from core.stages import Freshness, Role
from domain.lookup import Found, Lookup, NotCaughtUp, NotFound, NotReady, TooBusy, TooStale
from domain.rows import Row
from web.http.replies import json_reply
from web.http.times import rfc3339
from web.reads.replies import etag, none_match, reply

ROW = Row(received=10, sold=3, returned=1, events=4, checksum=0x1C3A9F2E1, updated_at=1795428000123)
FRESH = Freshness(
    role=Role.ACTIVE,
    worker="http://10.0.0.7:6066",
    partition=3,
    position="sales-3@1234,shipments-3@88",
    lag_events=0,
    as_of_ms=1795428000180,
    epoch=7,
)
FOUND = Found("SKU-000042", "store-007", ROW, FRESH)
OUTCOMES: dict[type[Lookup], tuple[Lookup, int, str | None]] = {
    Found: (FOUND, 200, None),
    NotFound: (NotFound("SKU-000042", "store-007", FRESH), 404, "unknown-key"),
    NotReady: (NotReady("It restores.", 2), 503, "not-ready"),
    NotCaughtUp: (NotCaughtUp("Not yet.", 1), 503, "not-caught-up"),
    TooStale: (TooStale("Too far behind.", 1), 503, "too-stale"),
    TooBusy: (TooBusy("So many wait.", 1), 503, "too-busy"),
}


def body_of(response: web.Response) -> dict[str, object]:
    assert isinstance(response.body, bytes)
    body: dict[str, object] = json.loads(response.body)
    return body


def test_every_outcome_of_a_look_up_has_its_own_answer() -> None:
    assert set(OUTCOMES) == set(get_args(Lookup))


@pytest.mark.parametrize(("outcome", "status", "name"), OUTCOMES.values())
def test_an_outcome_becomes_its_status_and_problem(
    outcome: Lookup, status: int, name: str | None
) -> None:
    response = reply(outcome, version=1)

    assert response.status == status
    if name is not None:
        assert body_of(response)["type"] == f"/problems/{name}"


def test_the_row_is_the_one_in_the_design() -> None:
    assert body_of(reply(FOUND, version=1)) == {
        "sku": "SKU-000042",
        "location": "store-007",
        "on_hand": 8,
        "received": 10,
        "dispatched": 0,
        "sold": 3,
        "returned": 1,
        "adjusted": 0,
        "events": 4,
        "checksum": "00000001c3a9f2e1",
        "updated_at": "2026-11-23T10:00:00.123Z",
        "freshness": {
            "role": "active",
            "worker": "http://10.0.0.7:6066",
            "partition": 3,
            "position": "sales-3@1234,shipments-3@88,control@7",
            "lag_events": 0,
            "as_of": "2026-11-23T10:00:00.180Z",
            "version": 1,
            "epoch": 7,
        },
    }


@pytest.mark.parametrize("outcome", [FOUND, OUTCOMES[NotFound][0]])
def test_who_answers_stands_in_the_headers_too(outcome: Lookup) -> None:
    response = reply(outcome, version=1)

    assert {k: v for k, v in response.headers.items() if k.startswith("Onhand-")} == {
        "Onhand-Role": "active",
        "Onhand-Worker": "http://10.0.0.7:6066",
        "Onhand-Position": "sales-3@1234,shipments-3@88,control@7",
        "Onhand-Lag-Events": "0",
        "Onhand-As-Of": "2026-11-23T10:00:00.180Z",
        "Onhand-Version": "1",
        "Onhand-Epoch": "7",
    }
    assert "freshness" in body_of(response)


def test_an_unknown_key_is_not_a_failure_to_answer() -> None:
    response = reply(OUTCOMES[NotFound][0], version=1)

    assert response.status == 404
    assert "Retry-After" not in response.headers


def test_the_etag_names_version_events_and_checksum_and_is_weak() -> None:
    response = reply(FOUND, version=7)

    assert response.headers["ETag"] == 'W/"v7-4-00000001c3a9f2e1"'


def test_who_holds_the_row_gets_304_with_fresh_headers_and_no_body() -> None:
    response = reply(FOUND, version=1, if_none_match=etag(1, ROW))

    assert response.status == 304
    assert not response.body
    assert response.headers["ETag"] == etag(1, ROW)
    assert response.headers["Onhand-As-Of"] == "2026-11-23T10:00:00.180Z"


@pytest.mark.parametrize(
    ("header", "matches"),
    [
        ('W/"v1-4-00000001c3a9f2e1"', True),
        ('"v1-4-00000001c3a9f2e1"', True),  # weak comparison
        ('"a", W/"v1-4-00000001c3a9f2e1" , "b"', True),
        ("*", True),
        ('W/"v2-4-00000001c3a9f2e1"', False),  # the same events under other rules
        ('W/"v1-5-00000001c3a9f2e1"', False),
        ("v1-4-00000001c3a9f2e1", False),  # no entity tag: quotes are part of it
        ("", False),
        (None, False),
    ],
)
def test_if_none_match_is_compared_weakly(header: str | None, matches: bool) -> None:
    assert none_match(header, etag(1, ROW)) is matches


def test_a_missing_row_never_matches_a_star() -> None:
    assert reply(OUTCOMES[NotFound][0], version=1, if_none_match="*").status == 404


@pytest.mark.parametrize("outcome", [FOUND, OUTCOMES[NotFound][0], OUTCOMES[NotReady][0]])
def test_no_cache_may_answer_for_us_unasked(outcome: Lookup) -> None:
    assert reply(outcome, version=1).headers["Cache-Control"] in ("no-cache", "no-store")


def test_times_are_rfc_3339_with_milliseconds() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(1795428000999) == "2026-11-23T10:00:00.999Z"


@pytest.mark.parametrize("checksum", [0, 2**64 - 1])
def test_a_checksum_has_16_digits_at_both_ends(checksum: int) -> None:
    found = Found("a", "b", Row(checksum=checksum), FRESH)

    assert body_of(reply(found, version=1))["checksum"] == ("0" if not checksum else "f") * 16


def test_names_in_any_script_come_back_as_they_are() -> None:
    found = Found("Süßigkeit/🍬", 'a"b\\c', ROW, FRESH)

    body = body_of(reply(found, version=1))

    assert (body["sku"], body["location"]) == ("Süßigkeit/🍬", 'a"b\\c')


def test_any_json_answer_says_how_long_it_may_be_kept() -> None:
    response = json_reply({"a": 1})

    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("ms", [-1, 2**62])
def test_a_time_that_no_calendar_has_is_no_bug(ms: int) -> None:
    assert rfc3339(ms) in ("1970-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z")
