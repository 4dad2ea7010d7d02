"""Alerts: the topic of what was told, and the webhook that tells it, where alerts are on."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from agents.alerts.told import AlertData, AlertMessage, DeliveryState, ToldAlert
from app.channels.facts import kafka_key
from app.channels.schemas import draft_07
from app.config import Settings
from domain.alerts import AlertLevel
from domain.schemas import Schema
from web.openapi.describing import REF, ref_to

HOOK: Final = "hook"
WEBHOOK, WEBHOOK_SERVER = "alertsWebhook", "receiver"
_BINDING: Final = "0.3.0"
_ID: Final = "alert_5f0c9a3fd4e85f6e9a1b2c3d4e5f6071"
_SHOWN = AlertMessage(
    f"inventory.alert.{AlertLevel.RAISED}",
    "2026-11-23T10:00:00.123Z",
    AlertData(
        rule="low", level=AlertLevel.RAISED, seq=9, sku="SKU-000042", location="store-007",
        on_hand=8, below=10, above=14, events=4, checksum="00000001c3a9f2e1", version=1,
    ),
)  # fmt: skip
_TOLD = ToldAlert(
    "low", "SKU-000042", "store-007", AlertLevel.RAISED, 9, DeliveryState.SENT, _ID
)  # fmt: skip


def alert_schemas() -> dict[str, Schema]:
    """What these messages refer to, by name."""
    _, found = msgspec.json.schema_components((ToldAlert, AlertMessage), ref_template=REF)
    return {name: draft_07(schema) for name, schema in found.items()}


def told_messages() -> dict[str, Schema]:
    """Of the topic."""
    key = {
        "type": "string",
        "pattern": "^[^\\u0000]+\\u0000[^\\u0000]+\\u0000[^\\u0000]+$",
        "description": "Rule, NUL, SKU, NUL, location.",
    }
    return {
        "told": {
            "summary": "What was told last of a row by a rule, and what became of that message.",
            "contentType": "application/json",
            "payload": ref_to("ToldAlert"),
            "bindings": kafka_key(key),
            "examples": [{"payload": msgspec.to_builtins(_TOLD)}],
        }
    }


def webhook_messages() -> dict[str, Schema]:
    """Of the webhook."""
    text: Schema = {"type": "string"}
    headers: dict[str, Any] = {
        "webhook-id": text | {"description": "Of the message: the same at each try."},
        "webhook-timestamp": text | {"description": "Of the try, in s since 1970."},
        "webhook-signature": text
        | {
            "description": "`v1,` and the base64 of HMAC-SHA256 over id, time and body, joined by "
            "full stops; several, with spaces between, while secrets change."
        },
    }
    return {
        "alert": {
            "summary": "A row went below a rule's level, or above it again.",
            "contentType": "application/json",
            "headers": {
                "description": "As Standard Webhooks 1.0.0 has them.",
                "type": "object",
                "required": [*headers],
                "properties": headers,
            },
            "payload": ref_to("AlertMessage"),
            "bindings": {"http": {"bindingVersion": _BINDING}},
            "examples": [{"payload": msgspec.to_builtins(_SHOWN)}],
        }
    }


def webhook_channel(messages: dict[str, Schema]) -> Schema:
    """Without its tag, which is `HOOK`. The path is not told: it may be what lets in."""
    return {
        "address": "{path}",
        "parameters": {"path": {"description": "That of ONHAND_ALERTS_URL."}},
        "title": WEBHOOK,
        "summary": "Each level of a row once, by a signed POST. An answer of 2xx takes it.",
        "servers": [{"$ref": f"#/servers/{WEBHOOK_SERVER}"}],
        "messages": messages,
    }


def webhook_operation() -> Schema:
    """One POST for each message, and for each further try."""
    channel = f"#/channels/{WEBHOOK}"
    return {
        "action": "send",
        "channel": {"$ref": channel},
        "summary": "Tell the receiver; again later, under the same id, where it does not take it.",
        "description": "Whatever is not 2xx is no answer, and a redirect is not followed.",
        "messages": [{"$ref": f"{channel}/messages/alert"}],
        "bindings": {
            "http": {
                "method": "POST",
                "query": {"type": "object", "properties": {}},
                "bindingVersion": _BINDING,
            }
        },
    }


def webhook_server(settings: Settings) -> Schema:
    """Who is told."""
    url = urlsplit(settings.alerts_url)
    return {"host": url.netloc, "protocol": url.scheme, "description": "Whoever is told."}
