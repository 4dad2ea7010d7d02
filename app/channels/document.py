"""`/asyncapi.json`: the topics of these settings and the feed, as AsyncAPI 3.0 has them.

Tests hold it against the official schema of AsyncAPI, and against records of real topics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from app import topics
from app.channels.alerts import (
    HOOK,
    WEBHOOK,
    WEBHOOK_SERVER,
    alert_schemas,
    told_messages,
    webhook_channel,
    webhook_messages,
    webhook_operation,
    webhook_server,
)
from app.channels.facts import BINDING, fact_messages, fact_schemas, structured_names
from app.channels.feed import (
    FEED,
    FEED_SERVER,
    FOLLOW,
    feed_channel,
    feed_messages,
    feed_operations,
    feed_schemas,
    feed_security,
    feed_server,
)
from app.channels.others import (
    changelog_messages,
    control_messages,
    dead_letter_messages,
    documents_messages,
    members_messages,
    own_schemas,
    replayed_messages,
)
from app.config import Settings
from domain.schemas import Schema

_WRITE, _READ, _INSIDE = "write", "read", "inside"
#: Whom a channel is for.
AUDIENCES = {
    _WRITE: "Facts: whoever has them may write them here, and anybody may read. Kept for ever.",
    _READ: "Onhand writes these, and nobody else. Read them committed "
    "(`isolation.level=read_committed`): what was taken back is no record.",
    _INSIDE: "For Onhand alone. Its forms are kept between builds, but they are no interface: ask "
    "by HTTP.",
    FOLLOW: "No topic: any worker tells it over HTTP, with a ledger behind it. For whoever wants "
    "facts with what became of them, and no client of Kafka. A stream has no end; where it broke, "
    "any worker goes on behind the last `id`.",
}
_TELLS = "No topic: a worker tells it by POST to whoever is to hear of alerts (docs/alerts.md)."
_ABOUT = (
    "The topics of Onhand and its feed, as seen from Onhand: it receives what others write, and "
    "sends what others may read. The calls are in `/openapi.json`. A record of facts has the SKU "
    "as its key, in UTF-8, and lies in the partition murmur2(key), without the sign, modulo the "
    "number of partitions: that is the default of Java's client. It may hold its event in "
    "structured or in binary mode. What is wrong in it stops nothing: it is in the dead letters, "
    "with the reason."
)


class _Told(NamedTuple):
    """A topic beside those of facts. name: of the channel. audience: whom it is for."""

    name: str
    topic: Callable[[Settings], str]
    audience: str
    summary: str
    messages: Callable[[], dict[str, Schema]]


_OTHERS = (
    _Told(
        "deadLetters",
        lambda settings: settings.dlq_topic,
        _READ,
        "What this version could not apply, and why, for 30 days; in the partition in which the "
        "record stood.",
        dead_letter_messages,
    ),
    _Told(
        "rows",
        lambda settings: settings.changelog_topic,
        _READ,
        "The stock as this version counts it: of each key the last record is how it stands. "
        "Compacted, so it is no history. Another version has another topic.",
        changelog_messages,
    ),
    _Told(
        "versions",
        lambda settings: settings.control_topic,
        _READ,
        "Which version is active, and what was done to come to that. Only `onhand upgrade` writes.",
        control_messages,
    ),
    _Told(
        "members",
        lambda settings: settings.members_topic,
        _INSIDE,
        "Heartbeats of workers; `/v1/cluster` tells what they say.",
        members_messages,
    ),
    _Told(
        "replayed",
        lambda settings: settings.replayed_topic,
        _INSIDE,
        "Which dead letters `onhand dlq replay` has sent again, so that none is sent twice.",
        replayed_messages,
    ),
    _Told(
        "documents",
        lambda settings: settings.documents_topic,
        _INSIDE,
        "How far each bridge is, and each document that `onhand load` has loaded.",
        documents_messages,
    ),
)
_ALERTS = _Told(
    "alerts",
    lambda settings: settings.alerts_topic,
    _READ,
    "What was told last of each row, by rule, and what became of that. Compacted; of all versions.",
    told_messages,
)
#: AsyncAPI's word for how a client says who it is. Of OAUTHBEARER it knows none that fits.
_SASL = {"PLAIN": "plain", "SCRAM-SHA-256": "scramSha256", "SCRAM-SHA-512": "scramSha512"}


def topics_document(settings: Settings, build: str) -> Schema:
    """The whole document for these settings.

    Args:
        settings: whose topics, and at which brokers; no secret of theirs is told.
        build: of the code that runs, such as 0.2.0.
    """
    made = {topic.name: topic for topic in topics.desired(settings)}
    brokers, schemes = _servers(settings), feed_security(settings) | _security(settings)
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}
    for role, name in settings.source_topics.items():
        text = f"Facts of the kind {role}, in the order in which they were recorded."
        messages = fact_messages(role)
        channels[role] = _channel(made[name], brokers, _WRITE, text, messages, role)
        operations |= _operations_of_facts(settings, role, messages)
    for told in (*_OTHERS, _ALERTS) if settings.alerts else _OTHERS:
        messages = told.messages()
        topic, text = made[told.topic(settings)], told.summary
        channels[told.name] = _channel(topic, brokers, told.audience, text, messages, told.name)
        if told.audience == _READ:
            name = f"tell{told.name[0].upper()}{told.name[1:]}"
            operations[name] = _operation("send", told.name, messages, text)
    channels[FEED] = feed_channel(feed_messages()) | _for(FOLLOW)
    operations |= feed_operations()
    servers = brokers | {FEED_SERVER: feed_server(settings)}
    audiences, schemas = AUDIENCES, fact_schemas() | own_schemas() | feed_schemas()
    if settings.alerts:
        audiences, schemas = audiences | {HOOK: _TELLS}, schemas | alert_schemas()
        tagged = {"description": _TELLS, "tags": [{"name": HOOK}]}
        channels[WEBHOOK] = webhook_channel(webhook_messages()) | tagged
        operations["tellByWebhook"] = webhook_operation()
        servers |= {WEBHOOK_SERVER: webhook_server(settings)}
    return {
        "asyncapi": "3.0.0",
        "id": f"urn:onhand:{settings.group}",
        "info": {
            "title": "Onhand: topics and feed",
            "version": build,
            "description": _ABOUT,
            "tags": [{"name": name, "description": text} for name, text in audiences.items()],
        },
        "defaultContentType": "application/json",
        "servers": servers,
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": schemas,
            "messages": {
                name: message for channel in channels.values() for name, message in _taken(channel)
            },
            **({"securitySchemes": schemes} if schemes else {}),
        },
    }


def _taken(channel: Schema) -> Iterable[tuple[str, Schema]]:
    """A channel's messages, put where all of them are; references stay in their place."""
    messages: dict[str, Schema] = channel["messages"]
    for name, message in list(messages.items()):
        messages[name] = {"$ref": f"#/components/messages/{name}"}
        yield name, message


def _for(audience: str) -> Schema:
    """What a channel says of whom it is for."""
    return {"description": AUDIENCES[audience], "tags": [{"name": audience}]}


def _channel(
    topic: topics.Topic,
    brokers: Iterable[str],
    audience: str,
    text: str,
    messages: dict[str, Schema],
    name: str,
) -> Schema:
    return _for(audience) | {
        "address": topic.name,
        "title": name,
        "summary": text,
        "servers": [{"$ref": f"#/servers/{broker}"} for broker in brokers],
        "messages": messages,
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    setting: _configured(setting, value) for setting, value in topic.config.items()
                },
                "bindingVersion": BINDING,
            }
        },
    }


def _configured(setting: str, value: str) -> Any:
    """As the binding has it: policies in a list, numbers as numbers."""
    if setting == "cleanup.policy":
        return value.split(",")
    return int(value) if value.removeprefix("-").isdecimal() else value


def _operations_of_facts(
    settings: Settings, role: str, messages: Iterable[str]
) -> dict[str, Schema]:
    title = role.capitalize()
    group = {"groupId": {"const": settings.group}, "bindingVersion": BINDING}
    count = _operation("receive", role, messages, "Count what others have written here.")
    append = _operation(
        "send",
        role,
        structured_names(role),
        "Append what came by POST, `onhand load` or a bridge, always in structured mode.",
    )
    return {
        f"count{title}": count | {"bindings": {"kafka": group}},
        f"append{title}": append,
    }


def _operation(action: str, channel: str, messages: Iterable[str], summary: str) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }


def _servers(settings: Settings) -> dict[str, Schema]:
    """Each broker by which the others are found."""
    is_secured = settings.kafka_security_protocol.endswith("SSL")
    text = f"security.protocol={settings.kafka_security_protocol}"
    if settings.kafka_security_protocol.startswith("SASL_"):
        text += f", sasl.mechanism={settings.kafka_sasl_mechanism}"
    security = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _security(settings)]
    return {
        f"kafka{number}": {
            "host": host,
            "protocol": "kafka-secure" if is_secured else "kafka",
            "description": text,
            **({"security": security} if security else {}),
        }
        for number, host in enumerate(settings.kafka.split(","), 1)
    }


def _security(settings: Settings) -> dict[str, Schema]:
    found: dict[str, Schema] = {}
    kind = _SASL.get(settings.kafka_sasl_mechanism)
    if settings.kafka_security_protocol.startswith("SASL_") and kind is not None:
        found["sasl"] = {"type": kind}
    if settings.kafka_ssl_certfile:
        found["certificate"] = {"type": "X509"}
    return found
