"""Calls that only a ledger answers, as they are described; any worker passes them on."""

from __future__ import annotations

from collections.abc import Mapping

from ledger.questions.reporting import REPORTS
from web.feed.asked import CHANGES_ASKED, CHANGES_PATH, LAST_EVENT_ID, Event
from web.history.asking import LEAF, PAST, REPORT, REPORTS_PATH
from web.history.passing import OF_A_VERSION
from web.http.parameters import Parameter
from web.http.problems import Problem
from web.openapi.describing import EVERY, JsonObject, as_json_content, call_of, query_of

#: Parameters of reads that make them questions about the past.
PAST_ALONE: Mapping[str, Parameter] = {
    name: one._replace(text=f"{one.text} A ledger answers; parameters of now do not go with it.")
    for name, one in PAST.items()
}
_EVENT = (
    'id: sales-3@1234,shipments-3@88,log@77\nevent: fact\ndata: {"position":"sales-3@1234"}\n\n'
)
#: Each line, or each event's `id`, `event` and `data`, is a Change or a RowChange, or says where
#: the reader is.
_STREAMS = {
    "text/event-stream": {"schema": {"type": "string"}, "example": _EVENT},
    "application/x-ndjson": {
        "schema": {
            "type": "object",
            "required": ["event", "data"],
            "properties": {
                "id": {"type": "string"},
                "event": {"enum": [*Event]},
                "data": {"type": "object"},
            },
            "description": "One line. fact: `data` is a ToldFact. row: a ToldRow, without an `id`. "
            "reset: a Reset: list rows with `min_position=` its `id`. position: all up to `id` was "
            "told. waiting: `data` is a problem, and it goes on. problem: the same, and it ends.",
        },
        "example": {"id": "sales-3@1234,log@77", "event": "position", "data": {}},
    },
}
_LAST_ID = {
    "name": LAST_EVENT_ID,
    "in": "header",
    "schema": {"type": "string"},
    "description": "Counts instead of `after`: browsers send it when they come back.",
}
_SAYS_NO = (*EVERY, Problem.TOO_BUSY, Problem.NOT_READY, Problem.NOT_CAUGHT_UP)


def calls_of_the_past(sku: JsonObject, location: JsonObject) -> dict[str, JsonObject]:
    """GETs, by path. sku, location: the parameters of a row's path."""
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "enum": [*REPORTS]},
        "description": " ".join(f"{name}: {report.text}" for name, report in REPORTS.items()),
    }
    as_csv = {"text/csv": {"schema": {"type": "string"}}}
    return {
        "/v1/inventory/{sku}/{location}/timeline": call_of(
            "Facts of a row with the balance after each, and the row at the same position",
            200,
            as_json_content("Timeline"),
            (*_SAYS_NO, Problem.UNKNOWN_KEY),
            parameters=[sku, location, *query_of({**LEAF, **OF_A_VERSION})],
            past=True,
        ),
        REPORTS_PATH + "{name}": call_of(
            "A report over all rows or facts, as of any time, in JSON or CSV",
            200,
            as_json_content("Report") | as_csv,
            (*_SAYS_NO, Problem.UNKNOWN_PATH),
            parameters=[name, *query_of({**REPORT, **OF_A_VERSION})],
            past=True,
        ),
        CHANGES_PATH: call_of(
            "Facts as they come, with what became of each, or rows as they change: one page; or, "
            "by Accept, a stream that has no end, of server-sent events or of lines of JSON",
            200,
            as_json_content("Changes", "RowChanges") | _STREAMS,
            (*_SAYS_NO, Problem.PARTITIONS_UNAVAILABLE),
            parameters=[*query_of(CHANGES_ASKED), _LAST_ID],
            past=True,
        ),
    }
