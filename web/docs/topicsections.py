"""The channels of an AsyncAPI document, each with the messages in it, as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from web.docs.shapes import Shapes, example, paragraphs
from web.http.problems import prose

TOPIC_SHAPES = "record-"


def topic_sections(document: Mapping[str, Any]) -> Iterator[str]:
    """A section for each audience: whoever may write, whoever may read, Onhand alone."""
    shapes = Shapes(document["components"]["schemas"], TOPIC_SHAPES)
    for tag in document["info"]["tags"]:
        channels = "".join(
            _channel(name, channel, document, shapes)
            for name, channel in document["channels"].items()
            if {"name": tag["name"]} in channel["tags"]
        )
        text = f"<p>{prose(tag['description'])}</p>"
        anchor, title = audience_anchor(tag["name"]), html.escape(audience_title(tag["name"]))
        yield f'<section id="{anchor}"><h2>{title}</h2>{text}{channels}</section>'


def audience_anchor(tag: str) -> str:
    """Where the channels of an audience begin."""
    return f"topics-{tag}"


def audience_title(tag: str) -> str:
    """What is read above them."""
    return f"Channels: {tag}"


def _channel(
    name: str, channel: Mapping[str, Any], document: Mapping[str, Any], shapes: Shapes
) -> str:
    kinds = document["components"]["messages"]
    messages = "".join(_message(kind, kinds[kind], shapes) for kind in channel["messages"])
    operations = [
        operation
        for operation in document["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{name}"
    ]
    does = "".join(
        f"<li>Onhand {html.escape(operation['action'])}s: {prose(operation['summary'])}</li>"
        for operation in operations
    )
    address = html.escape(channel["address"])
    where = _topic(channel["bindings"]) if "bindings" in channel else _call(operations, shapes)
    return (
        f'<article id="topic-{html.escape(name)}"><h3><code>{address}</code></h3>'
        f"<p>{prose(channel['summary'])}</p>{f'<ul>{does}</ul>' if does else ''}"
        f"{where}{messages}</article>"
    )


def _topic(bindings: Mapping[str, Any]) -> str:
    """How a channel lies in Kafka."""
    binding = bindings["kafka"]
    settings = ", ".join(
        f"{setting}={','.join(value) if isinstance(value, list) else value}"
        for setting, value in binding["topicConfiguration"].items()
    )
    count = binding["partitions"]
    parts = "1 partition" if count == 1 else f"{count} partitions"
    return f'<p class="dim">{parts}; <code>{html.escape(settings)}</code></p>'


def _call(operations: Sequence[Mapping[str, Any]], shapes: Shapes) -> str:
    """How a channel is asked for over HTTP: each of its operations takes the same."""
    binding = operations[0]["bindings"]["http"]
    table = shapes.table(binding["query"]).replace(">Field<", ">Parameter<", 1)
    return f'<p class="dim">{binding["method"]}. {prose(operations[0]["description"])}</p>{table}'


def _record(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Headers, if there are any, and the value."""
    return {part: shown[part] for part in ("headers", "payload") if part in shown}


def _message(name: str, message: Mapping[str, Any], shapes: Shapes) -> str:
    value = message["payload"].get("description", "")
    fields = shapes.table(message.get("headers", {}))
    shown = [
        f"<h4>{prose(message.get('title', name))}</h4>",
        f"<p>{prose(message['summary'])}</p>",
        _key(message["bindings"], shapes),
        f"<p>Value, <code>{html.escape(message['contentType'])}</code>: "
        f"{shapes.kind(message['payload'])}. {prose(value)}</p>",
        shapes.table(message["payload"]),
        paragraphs(message.get("headers", {}).get("description", "")),
        fields.replace(">Field<", ">Header<", 1) if "kafka" in message["bindings"] else fields,
        *(example("Example", _record(each)) for each in message.get("examples", ())),
    ]
    return f'<div class="message" id="message-{html.escape(name)}">{"".join(shown)}</div>'


def _key(bindings: Mapping[str, Any], shapes: Shapes) -> str:
    """The key of a record; "" for what is none."""
    if "kafka" not in bindings:
        return ""
    key = bindings["kafka"]["key"]
    said = f" {prose(key['description'])}" if "description" in key else ""
    return f"<p>Key: {shapes.kind(key)}.{said}</p>"
