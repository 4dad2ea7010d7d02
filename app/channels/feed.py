"""The feed as a channel: what any worker tells over HTTP to whoever follows it.

Made of what the feed itself is made of: its parameters, the Struct of a fact, its events and
forms. A page of it is a call, and stands in `/openapi.json`.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from app.channels.schemas import draft_07
from app.config import Settings
from domain.schemas import Schema
from web.access.callers import Scope
from web.feed.asked import CHANGES_PATH, FOLLOWED, LAST_EVENT_ID, Event, Form, ToldFactBody
from web.feed.rows import ResetBody, ResetReason, ToldRowBody
from web.openapi.calls import ANSWERS, SECURITY_SCHEMES
from web.openapi.describing import REF, ref_to

FOLLOW = "follow"
FEED, FEED_SERVER = "changes", "worker"
#: Of AsyncAPI's binding to HTTP.
_BINDING = "0.3.0"
_FACT, _PROBLEM, _PLACE, _NOTHING = "ToldFact", "ToldProblem", "Place", "Nothing"
_ROW, _RESET = "ToldRow", "Reset"
_TOLD_ROW = {
    **{name: value for name, value in ANSWERS["getRow"].items() if name != "freshness"},
    "partition": 0,
    "position": "adjustments-0@0,sales-0@2,shipments-0@1",
}
#: What an event holds, an example of it, and what it says.
_EVENTS: dict[Event, tuple[str, Any, str]] = {
    Event.FACT: (
        _FACT,
        ANSWERS["followChanges"]["changes"][0]["data"],
        "A record, and what became of it.",
    ),
    Event.ROW: (
        _ROW,
        _TOLD_ROW,
        "A row that changed, as it is now; of many changes at once the last. It has no id: a "
        "position follows. More events are newer.",
    ),
    Event.RESET: (
        _RESET,
        {"partitions": [0], "reason": ResetReason.BEHIND},
        "Changes of rows are missing: list all rows with `min_position=` this id, and go on from "
        "it.",
    ),
    Event.POSITION: (_NOTHING, {}, "You have all up to here; nothing else was to be told."),
    Event.WAITING: (
        _PROBLEM,
        ANSWERS["history-not-running"],
        "No ledger answers now. The stream stays open and goes on by itself.",
    ),
    Event.PROBLEM: (
        _PROBLEM,
        ANSWERS["before-history"],
        "The stream ends here: from this position it cannot go on.",
    ),
}
#: By what the names of its messages and of its operation end, and how it is read.
_FORMS = {
    Form.EVENTS: (
        "Event",
        "Server-sent events, as `EventSource` of browsers reads them: `retry` comes first, and "
        "comments are passed over.",
    ),
    Form.LINES: ("Line", "Each line is JSON by itself."),
}


def feed_messages() -> dict[str, Schema]:
    """All messages of the feed, by name."""
    return {
        f"{event}{ending}": _message(event, form)
        for form, (ending, _) in _FORMS.items()
        for event in Event
    }


def feed_channel(messages: dict[str, Schema]) -> Schema:
    """Without its tag, which is `FOLLOW`."""
    return {
        "address": CHANGES_PATH,
        "title": FEED,
        "summary": "Each fact as it comes, with what became of it, from any position on; or each "
        "row as it changes.",
        "servers": [{"$ref": f"#/servers/{FEED_SERVER}"}],
        "messages": messages,
    }


def feed_operations() -> dict[str, Schema]:
    """One for each form of a stream."""
    query = {
        "type": "object",
        "properties": {n: {**one.schema, "description": one.text} for n, one in FOLLOWED.items()},
        "additionalProperties": False,
    }
    binding = {"method": "GET", "query": query, "bindingVersion": _BINDING}
    channel = f"#/channels/{FEED}"
    return {
        f"tellChangesAs{ending}s": {
            "action": "send",
            "channel": {"$ref": channel},
            "summary": f"Tell who asks with `Accept: {form}`. {text}",
            "description": f"The header `{LAST_EVENT_ID}` counts instead of `after`.",
            "messages": [{"$ref": f"{channel}/messages/{event}{ending}"} for event in Event],
            "bindings": {"http": binding},
        }
        for form, (ending, text) in _FORMS.items()
    }


def feed_schemas() -> dict[str, Schema]:
    """What these messages refer to, by name."""
    bodies = {_FACT: ToldFactBody, _ROW: ToldRowBody, _RESET: ResetBody}
    _, found = msgspec.json.schema_components(tuple(bodies.values()), ref_template=REF)
    told = {name: draft_07(schema) for name, schema in found.items()}
    named = {name: told.pop(body.__name__) | {"title": name} for name, body in bodies.items()}
    return (
        told
        | named
        | {
            _PLACE: {
                "type": "string",
                "description": "Whoever has this has all up to here: go on with `after=` it.",
            },
            _NOTHING: {"type": "object", "maxProperties": 0},
            _PROBLEM: {
                "description": "A problem of RFC 9457; `type` is the path of a page that says "
                "what to do.",
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string", "pattern": "^/problems/"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            },
        }
    )


def feed_server(settings: Settings) -> Schema:
    """This worker; each other tells the same."""
    url = urlsplit(settings.url or settings.local_url(settings.web_port))
    security = [{"$ref": "#/components/securitySchemes/token"}]
    return {
        "host": url.netloc,
        "protocol": url.scheme,
        "description": "The worker that told you this. Any other tells the same.",
        **({"security": security} if settings.tokens else {}),
    }


def feed_security(settings: Settings) -> dict[str, Schema]:
    """How a reader says who it is; nothing where there are no tokens."""
    if not settings.tokens:
        return {}
    text = f"Of `onhand token create`, with the scope `{Scope.READ}`."
    return {"token": SECURITY_SCHEMES["token"] | {"description": text}}


def _message(event: Event, form: Form) -> Schema:
    data, example, text = _EVENTS[event]
    ident = ANSWERS["followChanges"]["changes"][0]["id"]
    place: Schema = {"id": ref_to(_PLACE), "event": {"const": event}}
    said = {"id": ident, "event": event}
    if event is Event.ROW:
        del place["id"], said["id"]
    known = {
        "title": f"{event}, {form}",
        "summary": text,
        "contentType": "application/json",
        "bindings": {
            "http": {
                "headers": {
                    "type": "object",
                    "properties": {"Content-Type": {"const": form}},
                    "required": ["Content-Type"],
                },
                "statusCode": 200,
                "bindingVersion": _BINDING,
            }
        },
    }
    if form is Form.EVENTS:
        fields = {
            "description": "Fields of the event beside `data`, which is the value.",
            "type": "object",
            "required": [*place],
            "properties": place,
            "additionalProperties": False,
        }
        shown = {"headers": said, "payload": example}
        return known | {"headers": fields, "payload": ref_to(data), "examples": [shown]}
    line = {
        "type": "object",
        "required": [*place, "data"],
        "properties": place | {"data": ref_to(data)},
        "additionalProperties": False,
    }
    return known | {"payload": line, "examples": [{"payload": said | {"data": example}}]}
