"""A document that was posted, up to where it would be sent: and what is answered."""

from __future__ import annotations

from typing import Any

import pytest

from app.config import Settings
from app.loading import posted
from app.loading.checking import CheckedFile, Opened
from app.loading.decisions.deciding import LevelBecame, LevelDecision
from app.loading.decisions.revoking import TakenBack
from app.loading.found.loaded import LoadedFile
from app.loading.pieces import Became, NoFact
from app.loading.posted import load_posted
from app.loading.remembered import NotSentBecause
from domain.rules.held import CURRENT
from tests.support.inputs.sheets import COUNTS, SALES
from tests.unit.importers.excel.workbooks import a_book
from web.access.callers import Caller, Scope
from web.writes.loads import LoadAnswer, LoadAsked, LoadEnd

GOOD = b"sku,qty\nA,2\nA,2\n"
#: Nobody listens there.
NOWHERE = Settings(kafka="127.0.0.1:9")


AT = "2026-11-23T10:00:00Z"


async def silent(path: str, body: bytes | None) -> tuple[int, bytes]:
    return 503, b'{"type":"/problems/not-ready","detail":"It restores."}'


async def ledger(path: str, body: bytes | None) -> tuple[int, bytes]:
    """Of which every row holds 3, and nothing was counted before."""
    if body is not None:
        return 200, b'{"items":[]}'
    if "timeline" in path:
        return 200, b'{"facts":[],"next_cursor":null}'
    return 200, b'{"on_hand":3,"history":{"position":"sales-0@9"}}'


def asked(data: bytes = GOOD, **more: Any) -> LoadAsked:
    more.setdefault("map", SALES.encode())
    more.setdefault("file", "sales.csv")
    more.pop("by", None)
    return LoadAsked(data=data, rules=more.pop("rules", CURRENT.number), **more)


async def load(data: bytes = GOOD, **more: Any) -> LoadAnswer:
    return await load_posted(NOWHERE, asked(data, **more), more.pop("by", silent))


def a_caller(**only: list[str]) -> Caller:
    return Caller("id", "till-17", frozenset([Scope.WRITE]), **only)


async def test_a_dry_run_asks_nobody_and_says_what_would_become_of_each_line() -> None:
    data = b"sku,qty\nA,2\nB,x\nC,1\n"

    answer = await load(data, dry_run=True)

    assert answer.end is LoadEnd.CHECKED
    body = answer.body
    assert body is not None
    assert (body.lines, body.facts, body.not_for_stock, body.refused) == (3, 2, 0, 1)
    assert (body.file, body.format, body.documents, body.dry_run) == ("sales.csv", "csv", 1, True)
    assert [(one.where, one.became) for one in body.no_facts] == [("line 3", "refused")]
    assert [event["id"] for event in body.first_facts] == [
        "file:sales.csv#2",
        "file:sales.csv#4",
    ]
    assert (body.sent, body.position) == (0, None)


async def test_a_refused_line_stops_the_load_and_nothing_asks_kafka() -> None:
    answer = await load(b"sku,qty\nA,2\nB,x\n")

    assert (answer.end, answer.body and answer.body.refused) == (LoadEnd.LINES_REFUSED, 1)
    assert "1 of 2 lines" in answer.detail
    left_out = await load(b"sku,qty\nA,2\nB,x\n", leave_out_refused=True)
    assert left_out.end is LoadEnd.UNFINISHED
    assert left_out.detail.startswith("No Kafka answers at 127.0.0.1:9")


async def test_of_many_lines_that_are_no_facts_the_first_of_each_kind_are_named() -> None:
    told = f'{SALES}[not_for_stock]\n"sku" = ["X"]\n'
    data = b"sku,qty\n" + b"X,1\n" * 600 + b"A,x\n" * 600

    body = (await load(data, map=told.encode(), dry_run=True)).body

    assert body is not None
    assert (body.not_for_stock, body.refused) == (600, 600)
    kinds = [one.became for one in body.no_facts]
    assert kinds == ["refused"] * 500 + ["not for stock"] * 500


@pytest.mark.parametrize(
    ("more", "part", "told"),
    [
        ({"map": b'kind = "sold"\n'}, "map", "Line 1: kind is not known"),
        ({"map": b"\xff"}, "map", "is not UTF-8"),
        ({"catalogue": b"a,b\n1,2\n"}, "catalogue", "Line 1 has no column"),
        ({"places": b"a,b\n1,2\n"}, "places", "Line 1 has no column location"),
        ({"map": None, "format": "csv"}, "format", "A table needs a map"),
        ({"format": "x12"}, "format", "--map is of a table, and --format is x12"),
        ({"map": None, "document": "monday"}, "document", "a table needs a map"),
    ],
)
async def test_what_comes_beside_a_document_and_is_wrong_is_named_by_its_part(
    more: dict[str, Any], part: str, told: str
) -> None:
    answer = await load(**more)

    assert answer.end is LoadEnd.BAD_PARTS
    assert {fault.part for fault in answer.faults} == {part}
    assert told in answer.faults[0].detail


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"map": None, "data": b"?"}, "sales.csv: It is of no format that is known"),
        ({"map": None, "data": b"?", "file": ""}, "The document: It is of no format"),
        ({"file": ""}, "The document: A table is known by the name of its file, and it has none"),
        ({"data": b'sku,qty\nA,1\n"B,2\n'}, "sales.csv: Line 3 begins a row that cannot be read"),
        ({"data": b"PK\x03\x04rest"}, "sales.csv: Its archive has no end"),
    ],
)
async def test_a_document_of_which_nothing_can_be_taken_is_unreadable(
    more: dict[str, Any], told: str
) -> None:
    answer = await load(**more)

    assert (answer.end, answer.detail.startswith(told)) == (LoadEnd.UNREADABLE, True), answer


async def test_a_workbook_that_unpacks_to_more_than_a_worker_takes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = a_book([("sku", "qty"), *[("A", 1)] * 2000])
    assert (await load(data, dry_run=True)).end is LoadEnd.CHECKED
    monkeypatch.setattr(posted, "MOST_UNPACKED_BYTES", 20_000)

    answer = await load(data, dry_run=True)

    assert (answer.end, "20,000 bytes when it is unpacked" in answer.detail) == (
        LoadEnd.UNREADABLE,
        True,
    ), answer


async def test_a_token_for_some_locations_or_sources_loads_nothing_beyond_them() -> None:
    table = SALES.replace('location = "shop-7"\n', "").replace(
        "[columns]", '[columns]\nlocation = "at"'
    )
    data = b"sku,qty,at\nA,1,shop-7\nA,1,shop-8\nA,1,till-1\n"

    for more in ({}, {"dry_run": True}):
        answer = await load(
            data, map=table.encode(), caller=a_caller(locations=["shop-7", "till-*"]), **more
        )
        assert answer.end is LoadEnd.FORBIDDEN
        (fault,) = answer.faults
        assert fault.detail.startswith(
            "line 3: This token may not write facts of location 'shop-8'"
        )
        assert answer.body is None
    other = await load(caller=a_caller(sources=["till-17"]))
    assert (other.end, len(other.faults)) == (LoadEnd.FORBIDDEN, 2)
    assert "source 'load'" in other.detail
    allowed = a_caller(sources=["load"], locations=["shop-7"])
    assert (await load(caller=allowed, dry_run=True)).end is LoadEnd.CHECKED


async def test_counts_are_decided_by_what_the_worker_says_and_refused_ones_are_lines() -> None:
    data = f"sku,qty,at\nA,5,{AT}\nB,3,{AT}\nC,1,{AT}\nC,2,{AT}\n".encode()

    answer = await load(data, map=COUNTS.encode(), by=ledger, dry_run=True)

    assert answer.end is LoadEnd.CHECKED
    body = answer.body
    assert body is not None
    assert (body.lines, body.levels, body.refused) == (4, 2, 2)
    assert body.counts.sum == {"adjusted": 1, "confirmed": 1, "refused": 2}
    assert [(one.sku, one.book, one.change) for one in body.counts.first[:2]] == [
        ("A", 3, 2),
        ("B", 3, 0),
    ]
    assert [(one.where, one.became) for one in body.no_facts] == [
        ("line 4", "refused"),
        ("line 5", "refused"),
    ]
    assert "counted twice" in body.no_facts[0].sentence


async def test_where_nobody_can_be_asked_a_count_is_not_guessed_and_may_be_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posted, "_PATIENCE_S", 0.0)

    answer = await load(f"sku,qty,at\nA,5,{AT}\n".encode(), map=COUNTS.encode(), dry_run=True)

    assert answer.end is LoadEnd.UNFINISHED
    assert "none answers at this worker (It restores): nothing was sent; send it again." in (
        answer.detail
    )


async def test_a_count_needs_the_right_to_read_and_to_write_its_location() -> None:
    data = f"sku,qty,at\nA,5,{AT}\n".encode()
    reader = frozenset([Scope.READ, Scope.WRITE])

    answer = await load(data, map=COUNTS.encode(), by=ledger, caller=a_caller(), dry_run=True)
    assert (answer.end, "it needs the scope read, too" in answer.detail) == (
        LoadEnd.FORBIDDEN,
        True,
    )
    other = Caller("id", "till-17", reader, locations=["shop-8"])
    answer = await load(data, map=COUNTS.encode(), by=ledger, caller=other, dry_run=True)
    assert (answer.end, "location 'shop-7'" in answer.detail) == (LoadEnd.FORBIDDEN, True)
    allowed = Caller("id", "till-17", reader, locations=["shop-7"])
    answer = await load(data, map=COUNTS.encode(), by=ledger, caller=allowed, dry_run=True)
    assert answer.end is LoadEnd.CHECKED


async def test_a_document_of_more_counts_than_are_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(posted, "MOST_COUNTS", 1)

    answer = await load(f"sku,qty,at\nA,5,{AT}\nB,5,{AT}\n".encode(), map=COUNTS.encode())

    assert (answer.end, "more than 1 counts: split it" in answer.detail) == (
        LoadEnd.UNREADABLE,
        True,
    )


async def test_what_was_sent_is_told_with_its_position_and_whose_token_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[dict[str, Any]] = []
    outcome: dict[str, Any] = {}

    async def send_all(
        settings: Settings, opened: Opened, files: list[CheckedFile], **more: Any
    ) -> list[LoadedFile]:
        given.append(more)
        return [LoadedFile(files[0], **outcome)]

    monkeypatch.setattr(posted, "send_all", send_all)
    level = LevelDecision(
        "line 2", "D#2", "A", "shop-7", AT, 5, LevelBecame.REFUSED, sentence="No."
    )
    outcome = {"sent": 1, "went_on": 1, "position": "sales-0@3", "late": {"E": "K"}}
    outcome["taken"] = [TakenBack("line 3", "A", 1, 2)]
    till = a_caller()
    answer = await load(caller=till)
    assert answer.end is LoadEnd.LOADED
    assert answer.body is not None
    assert (answer.body.sent, answer.body.lines_sent_before) == (1, 1)
    assert answer.body.position == "sales-0@3"
    assert answer.body.too_late == {"E": "K"}
    assert [(one.target, one.facts) for one in answer.body.taken_back] == [("A", 2)]
    assert (given[0]["caller"], given[0]["is_named"]) == (till, False)

    outcome = {"refused": "It was loaded.", "position": "sales-0@9"}
    outcome["because"] = NotSentBecause.LOADED_BEFORE
    answer = await load(document="monday")
    assert (answer.end, answer.position) == (LoadEnd.LOADED_BEFORE, "sales-0@9")
    assert (given[1]["caller"], given[1]["is_named"]) == (None, True)

    outcome = {"refused": "Another one.", "because": NotSentBecause.CONFLICT}
    assert (await load()).end is LoadEnd.CONFLICT
    outcome = {"refused": "A count.", "because": NotSentBecause.REFUSED, "levels": [level]}
    answer = await load()
    assert (answer.end, answer.detail) == (LoadEnd.LINES_REFUSED, "A count.")
    assert answer.body is not None
    assert [one.sentence for one in answer.body.no_facts] == ["No."]
    forbidden = [NoFact("line 2", Became.REFUSED, "It takes back A. It may not.")]
    outcome = {"refused": "A.", "because": NotSentBecause.FORBIDDEN, "forbidden": forbidden}
    answer = await load()
    assert answer.end is LoadEnd.FORBIDDEN
    assert answer.detail == "Nothing was sent: line 2: It takes back A. It may not."


async def test_a_document_that_takes_too_much_memory_is_no_bug_and_nothing_is_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def check(*_: Any) -> CheckedFile:
        raise MemoryError

    monkeypatch.setattr(Opened, "check", check)

    answer = await load()

    assert (answer.end, answer.body) == (LoadEnd.UNREADABLE, None)
    assert "takes more memory" in answer.detail
    assert answer.detail.endswith("Nothing was sent.")
