"""What a ledger says to a request: to one that nobody honest sends, and soon after retention."""

import base64
import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request

from ledger.lines import TOPICS
from ledger.reaches import complete
from ledger.upkeep.compacting import compact
from tests.ledgers.kept import Kept
from tests.ledgers.logs import LOCATIONS, SKUS, WINDOW, a_log
from web.history.answers import Answers

LIST = "/v1/inventory"
TIMELINE = f"{LIST}/{SKUS[0]}/{LOCATIONS[0]}/timeline"
DAY_S = 86_400


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


async def test_soon_after_retention_a_report_of_facts_begins_where_history_does(
    kept: Kept, answers: Answers
) -> None:
    now = time.time()
    began_ms = int((now - 2 * DAY_S) * 1000)
    records = [
        record._replace(timestamp_ms=began_ms + n * 100) for n, record in enumerate(a_log(3, 400))
    ]
    kept.feed(records)
    with kept.engine.begin() as connection:
        ends = [
            (book.topic, part, book.reach.next_offset, int((now - 1) * 10**6))
            for part, books in kept.books.items()
            for book in books.values()
        ]
        complete(connection, ends)
    assert compact(kept.engine, (began_ms + 20_000) * 1000, WINDOW).lines
    with kept.history.look() as ledger:
        begins = ledger.begins(None)
    assert begins

    status, body = await asked(answers, "/v1/reports/movers")

    assert status == 200, body
    since, known = map(datetime.fromisoformat, (body["from"], body["history"]["begins"]))
    assert since > known
    assert sum(row["facts"] for row in body["rows"]) > 0
