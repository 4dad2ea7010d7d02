"""The topics of an AsyncAPI document, each with the messages in it, as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

from web.docs.shapes import Shapes, example, paragraphs
from web.http.problems import prose

TOPIC_SHAPES = "record-"


def topic_sections(document: Mapping[str, Any]) -> Iterator[str]:
    """A section for each audience: whoever may write, whoever may read, Onhand alone."""
    shapes = Shapes(document["components"]["schemas"], TOPIC_SHAPES)
    for tag in document["info"]["tags"]:
        topics = "".join(
            _topic(name, channel, document, shapes)
            for name, channel in document["channels"].items()
            if {"name": tag["name"]} in channel["tags"]
        )
        text = f"<p>{prose(tag['description'])}</p>"
        anchor, name = audience_anchor(tag["name"]), html.escape(tag["name"])
        yield f'<section id="{anchor}"><h2>Topics: {name}</h2>{text}{topics}</section>'


def audience_anchor(tag: str) -> str:
    """Where the topics of an audience begin."""
    return f"topics-{tag}"


def _topic(
    name: str, channel: Mapping[str, Any], document: Mapping[str, Any], shapes: Shapes
) -> str:
    binding = channel["bindings"]["kafka"]
    settings = ", ".join(
        f"{setting}={','.join(value) if isinstance(value, list) else value}"
        for setting, value in binding["topicConfiguration"].items()
    )
    count = binding["partitions"]
    parts = "1 partition" if count == 1 else f"{count} partitions"
    kinds = document["components"]["messages"]
    messages = "".join(_message(kind, kinds[kind], shapes) for kind in channel["messages"])
    does = "".join(
        f"<li>Onhand {html.escape(operation['action'])}s: {prose(operation['summary'])}</li>"
        for operation in document["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{name}"
    )
    address = html.escape(channel["address"])
    return (
        f'<article id="topic-{html.escape(name)}"><h3><code>{address}</code></h3>'
        f"<p>{prose(channel['summary'])}</p>{f'<ul>{does}</ul>' if does else ''}"
        f'<p class="dim">{parts}; <code>{html.escape(settings)}</code></p>{messages}</article>'
    )


def _record(shown: Mapping[str, Any]) -> dict[str, Any]:
    """Headers, if there are any, and the value."""
    return {part: shown[part] for part in ("headers", "payload") if part in shown}


def _message(name: str, message: Mapping[str, Any], shapes: Shapes) -> str:
    key = message["bindings"]["kafka"]["key"]
    said = f" {prose(key['description'])}" if "description" in key else ""
    value = message["payload"].get("description", "")
    shown = [
        f"<h4>{prose(message.get('title', name))}</h4>",
        f"<p>{prose(message['summary'])}</p>",
        f"<p>Key: {shapes.kind(key)}.{said}</p>",
        f"<p>Value, <code>{html.escape(message['contentType'])}</code>: "
        f"{shapes.kind(message['payload'])}. {prose(value)}</p>",
        paragraphs(message.get("headers", {}).get("description", "")),
        shapes.table(message.get("headers", {})).replace(">Field<", ">Header<", 1),
        *(example("Example", _record(each)) for each in message.get("examples", ())),
    ]
    return f'<div class="message" id="message-{html.escape(name)}">{"".join(shown)}</div>'
