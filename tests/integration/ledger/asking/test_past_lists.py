"""Lists and reports of the past are what the oracle makes of the same prefix of the log."""

import base64
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from dev.oracle.rows import NOTHING, Row
from ledger.history import ListWish
from ledger.lines import TOPICS
from ledger.questions.reporting import REPORTS
from ledger.questions.reports import ReportWish, columns_of, read_report
from ledger.reaches import complete
from ledger.upkeep.compacting import compact
from tests.integration.ledger.asking.test_history import applied, as_row, filled
from tests.ledgers.kept import Kept
from tests.ledgers.logs import LOCATIONS, PARTITIONS, SKUS, WINDOW, a_log
from web.history.answers import Answers

Cuts = dict[tuple[int, int], int]
LIST = "/v1/inventory"
TIMELINE = f"{LIST}/{SKUS[0]}/{LOCATIONS[0]}/timeline"
DAY_S = 86_400


def some_cuts(kept: Kept, random: Random) -> Cuts:
    with kept.history.look() as ledger:
        return {at: random.randrange(end + 1) for at, end in ledger.all_now().items()}


def rows_of(oracle: Any, cuts: Cuts) -> dict[tuple[str, str], Row]:
    position = {(TOPICS[topic], part): end - 1 for (topic, part), end in cuts.items()}
    rows = {key: oracle.row(key, position) for key in oracle.rows()}
    return {key: row for key, row in sorted(rows.items()) if row != NOTHING}


def test_a_list_read_page_by_page_holds_every_row_as_it_was(kept: Kept) -> None:
    _, oracle = filled(kept)
    random = Random(5)
    for below, prefix, location in ((None, "", None), (0, "", None), (None, "SKU-", LOCATIONS[1])):
        cuts = some_cuts(kept, random)
        expected = {
            key: row
            for key, row in rows_of(oracle, cuts).items()
            if (below is None or row.on_hand < below)
            if key[0].startswith(prefix) and location in (None, key[1])
        }
        wish = ListWish(location, prefix, on_hand_below=below, limit=4)
        found: dict[tuple[str, str], Row] = {}
        with kept.history.look() as ledger:
            while True:
                page = ledger.page(wish, cuts, None)
                assert len(page.rows) <= 4
                found |= {(at.sku, at.location): as_row(at) for at in page.rows}
                if page.next is None:
                    break
                wish = wish._replace(after=page.next)

        assert list(found.items()) == list(expected.items())
        assert found


def test_reports_of_rows_are_of_the_moment_that_was_asked_for(kept: Kept) -> None:
    _, oracle = filled(kept)
    cuts = some_cuts(kept, Random(6))
    rows = rows_of(oracle, cuts)
    wish = ReportWish({}, cuts, None, 0, 10_000)
    with kept.history.look() as ledger:
        told = {
            name: columns_of(read_report(ledger, name, wish), report.columns)
            for name, report in REPORTS.items()
            if not report.of_a_time
        }
        here = read_report(ledger, "stock-outs", wish._replace(location=LOCATIONS[0]))

    for name, most in (("stock-outs", 0), ("oversold", -1)):
        found = {(str(line["sku"]), str(line["location"])): line for line in told[name]}
        assert found.keys() == {key for key, row in rows.items() if row.on_hand <= most}
        for key, line in found.items():
            assert [line[field] for field in Row._fields[:5]] == [*rows[key][:5]]
    assert {line[1] for line in here} == {LOCATIONS[0]}
    totals = {line["location"]: line for line in told["location-totals"]}
    for location in LOCATIONS:
        mine = [row for key, row in rows.items() if key[1] == location]
        assert totals[location]["rows"] == len(mine)
        assert totals[location]["on_hand"] == sum(row.on_hand for row in mine)
        assert totals[location]["events"] == sum(row.events for row in mine)


def test_reports_of_facts_hold_those_between_two_positions(kept: Kept) -> None:
    records, oracle = filled(kept)
    random = Random(7)
    ends = some_cuts(kept, random)
    starts = {at: random.randrange(end + 1) // 2 for at, end in ends.items()}
    sold: dict[str, int] = defaultdict(int)
    shrink: dict[str, int] = defaultdict(int)
    for record, event in applied(records, oracle):
        place = TOPICS.index(record.topic), record.partition
        if not starts[place] <= record.offset < ends[place]:
            continue
        data: Any = event["data"]
        kind = str(event["type"])
        if "sale" in kind:
            sold[data["sku"]] += data["quantity"] * (1 if "completed" in kind else -1)
        elif "adjusted" in kind:
            shrink[data["reason"]] += data["quantity"]
    with kept.history.look() as ledger:
        wish = ReportWish(starts, ends, None, 10**6, 10_000)
        movers = read_report(ledger, "movers", wish)
        lost = read_report(ledger, "shrink", wish)
        late = read_report(ledger, "late-facts", wish)

    assert {line[0]: line[1] for line in movers} == sold
    assert [line[1] for line in movers] == sorted(sold.values(), reverse=True)
    assert {line[0]: line[1] for line in lost} == shrink
    seconds = [int(str(line[-1])) for line in late]
    assert seconds == sorted(seconds, reverse=True)
    assert min(seconds) >= 1
    assert json.dumps([movers, lost, late])  # nothing that JSON cannot say
    assert {line[2] for line in late} <= set(SKUS)
    assert PARTITIONS > 1


# ---- as requests


@pytest.fixture
def answers(kept: Kept) -> Iterator[Answers]:
    made = Answers(kept.history, TOPICS, "http://ledger")
    yield made
    made.close()


async def asked(answers: Answers, path: str) -> tuple[int, Any]:
    request = make_mocked_request("GET", path)
    name = path.removeprefix("/v1/reports/").partition("?")[0]
    if path.startswith(LIST):
        response = await answers.answer(request)
    elif path.startswith("/v1/facts"):
        response = await answers.facts(request)
    else:
        request.match_info["name"] = name
        response = await answers.report(request)
    assert isinstance(response.body, bytes)
    return response.status, json.loads(response.body)


@pytest.mark.parametrize(
    ("path", "cuts", "after"),
    [
        (LIST, [[7, 0, 1]], ["", ""]),
        (LIST, [[0, 2**63, 1]], ["", ""]),
        (LIST, [[0, 0, 2**64 - 1]], ["", ""]),
        (LIST, [[0, 0, 1]], ["\x00", ""]),
        (TIMELINE, [[0, 0, 1]], [2**64 - 1, 0, 0]),
    ],
)
async def test_a_cursor_that_no_answer_gave_is_refused(
    kept: Kept, answers: Answers, path: str, cuts: list[Any], after: list[Any]
) -> None:
    kept.feed(a_log(3, 100))
    cursor = msgspec.msgpack.encode([cuts, after, None, {}])
    text = base64.urlsafe_b64encode(cursor).decode().rstrip("=")
    status, body = await asked(answers, f"{path}?as_of=2026-11-23T10:00:00Z&cursor={text}")

    assert (status, body["type"]) == (400, "/problems/invalid-request")
    assert "next_cursor" in body["detail"]


async def test_a_fact_of_a_name_that_no_database_keeps_never_came(
    kept: Kept, answers: Answers
) -> None:
    kept.feed(a_log(3, 100))
    status, body = await asked(answers, "/v1/facts?source=a%00b&id=1")
    assert status == 200
    assert [item["times"] for item in body["items"]] == [[]]


def whole_until(kept: Kept, time_s: float) -> None:
    """Nothing earlier is still to come."""
    with kept.engine.begin() as connection:
        ends = [
            (book.topic, part, book.reach.next_offset, int(time_s * 10**6))
            for part, books in kept.books.items()
            for book in books.values()
        ]
        complete(connection, ends)


@pytest.mark.parametrize("name", ["movers", "shrink", "late-facts"])
async def test_a_report_of_facts_that_are_still_to_come_has_none_unless_the_ledger_is_behind(
    kept: Kept, answers: Answers, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.feed(a_log(3, 100))
    now = time.time()
    tomorrow, later = (
        datetime.fromtimestamp(now + days * DAY_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for days in (2, 20_000)
    )
    whole_until(kept, now - DAY_S)

    status, body = await asked(answers, f"/v1/reports/{name}?from={tomorrow}&wait_ms=0")
    assert (status, body["type"]) == (503, "/problems/not-caught-up")

    monkeypatch.setattr("web.history.answers._FOLLOWS_US", 2 * DAY_S * 10**6)
    for since in (tomorrow, later):
        status, body = await asked(answers, f"/v1/reports/{name}?from={since}&wait_ms=0")
        assert (status, body["rows"]) == (200, [])


async def test_soon_after_retention_a_report_of_facts_begins_where_history_does(
    kept: Kept, answers: Answers
) -> None:
    now = time.time()
    began_ms = int((now - 2 * DAY_S) * 1000)
    records = [
        record._replace(timestamp_ms=began_ms + n * 100) for n, record in enumerate(a_log(3, 400))
    ]
    kept.feed(records)
    whole_until(kept, now - 1)
    assert compact(kept.engine, (began_ms + 20_000) * 1000, WINDOW).lines
    with kept.history.look() as ledger:
        begins = ledger.begins(None)
    assert begins

    status, body = await asked(answers, "/v1/reports/movers")

    assert status == 200, body
    since, known = map(datetime.fromisoformat, (body["from"], body["history"]["begins"]))
    assert since > known
    assert sum(row["facts"] for row in body["rows"]) > 0
