"""The messages of the topics that Onhand alone writes: their forms are kept between builds.

Schemas are made of the very Structs that are written, so that they cannot say anything else.
"""

from __future__ import annotations

from typing import Any

import msgspec

from agents.marks import Mark
from app.channels.facts import kafka_key
from app.channels.schemas import draft_07
from app.loading.remembered import DocumentNote, RevokedMark
from core.versions import Versions
from domain.checks import Refusal
from domain.rows import Row
from domain.schemas import Schema
from importers.documents.containers import Packing
from web.access.beats import BEAT_PROOF
from web.cluster.heartbeats import Heartbeat
from web.openapi.describing import REF, ref_to

_JSON = "application/json"
_BYTES = "application/octet-stream"
_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "string", "pattern": "^[0-9]+$"}
_STRUCTS = (Row, Versions, Heartbeat, Mark, DocumentNote, RevokedMark, Packing)
_REPLAYED: Schema = {
    "description": "A dead letter that was sent again.",
    "type": "object",
    "required": ["to", "version"],
    "properties": {
        "to": _TEXT | {"description": "Topic and partition, or `bridge`: read by its map again."},
        "reason": {"enum": list(Refusal)},
        "version": {"type": "integer", "minimum": 1},
    },
}


def own_schemas() -> dict[str, Schema]:
    """What these messages refer to, by name."""
    _, found = msgspec.json.schema_components(_STRUCTS, ref_template=REF)
    return {name: draft_07(schema) for name, schema in found.items()} | {"Replayed": _REPLAYED}


def _message(summary: str, key: Schema, schema: str, **more: Any) -> Schema:
    known = {"summary": summary, "contentType": _JSON, "payload": ref_to(schema)}
    return known | {"bindings": kafka_key(key)} | more


def dead_letter_messages() -> dict[str, Schema]:
    """Whatever was refused."""
    known = {
        "onhand-reason": {"enum": list(Refusal), "description": "Newer builds may have more."},
        "onhand-detail": _TEXT | {"description": "One sentence for people."},
        "onhand-topic": _TEXT | {"description": "Where the record stood first."},
        "onhand-partition": _NUMBER,
        "onhand-offset": _NUMBER,
        "onhand-timestamp": _NUMBER | {"description": "When it was recorded there, ms since 1970."},
    }
    too_large = {
        "onhand-size": _NUMBER | {"description": "Bytes, where it was too large to be kept."},
        "onhand-sha256": {
            "type": "string",
            "pattern": "^[0-9a-f]{64}$",
            "description": "Of key and value, in hexadecimal digits.",
        },
    }
    return {
        "deadLetter": {
            "summary": "A refused record exactly as it came (key, value, headers), and why.",
            "contentType": _BYTES,
            "headers": {
                "description": "The record's own come first, Onhand's are the last.",
                "type": "object",
                "required": [*known],
                "properties": known | too_large,
                "dependencies": {one: [*too_large] for one in too_large},
            },
            "payload": {"description": "Any bytes, or none."},
            "bindings": kafka_key({"description": "Any bytes, or none."}),
        }
    }


def changelog_messages() -> dict[str, Schema]:
    """Rows, and what is among them."""
    row_key = {
        "type": "string",
        "pattern": "^[^\\u0000]+\\u0000[^\\u0000]+$",
        "description": "SKU, NUL, location.",
    }
    own_key = {"type": "string", "pattern": "^\\u0000", "description": "Begins with NUL."}
    return {
        "row": _message(
            "The stock of a SKU at a location; fields that are 0 are left out.",
            row_key,
            "Row",
            examples=[{"payload": {"received": 24, "sold": 2, "events": 2, "checksum": 7}}],
        ),
        "own": {
            "summary": "How far the table has come, and its window of ids: pass over these.",
            "contentType": _BYTES,
            "payload": {"description": "For Onhand alone. None: it is no longer needed."},
            "bindings": kafka_key(own_key),
        },
    }


def control_messages() -> dict[str, Schema]:
    """Which version is active."""
    text = "How all versions stand: the last record whose `epoch` follows the one before counts."
    key = {"const": "version"}
    return {"versions": _message(text, key, "Versions")}


def members_messages() -> dict[str, Schema]:
    """Heartbeats."""
    proof = {BEAT_PROOF: _TEXT | {"description": "Where workers prove to be workers."}}
    headers = {"type": "object", "properties": proof}
    text = "Twice a second: what a worker holds, and how far it is."
    return {"heartbeat": _message(text, {"type": "null"}, "Heartbeat", headers=headers)}


def replayed_messages() -> dict[str, Schema]:
    """What was ever sent again."""
    key = {"type": "string", "description": "Position, and SHA-256 of the record that it became."}
    return {"replayed": _message("By its original position.", key, "Replayed")}


def documents_messages() -> dict[str, Schema]:
    """How far bridges and documents are, and what these say of containers."""
    bridge = {"type": "string", "pattern": "^bridge/[^/]+/[0-9]+$"}
    document = {"type": "string", "pattern": "^document/"}
    revoked = {"type": "string", "pattern": "^revoked/"}
    packed = {"type": "string", "pattern": "^packed/[0-9]{18}/"}
    return {
        "bridgeMark": _message("Where a bridge goes on in one partition.", bridge, "Mark"),
        "documentNote": _message("How far a document was loaded.", document, "DocumentNote"),
        "revokedMark": _message("What a document took back.", revoked, "RevokedMark"),
        "packing": _message("What a document says of a container.", packed, "Packing"),
    }
