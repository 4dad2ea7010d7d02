"""The events as JSON Schemas (2020-12), for those who produce them.

`python -m domain.schemas schemas` writes one file a type into the folder `schemas/`. What is
published there is a promise: `breaches` tells what a new text would break.

A schema cannot say all: lone surrogates and names that are not in NFC are refused by the
decoder alone, and of `time` only the shape is in the pattern, the calendar is not. Patterns
are meant in ECMAScript's Unicode mode, as JSON Schema says. An event with `data_base64` in
the place of `data` is read as well, and one in binary mode, whose value is `data` alone.
"""

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

from domain.events import MAX_ID_CHARS, MAX_QUANTITY, StockAdjusted, StockEvent
from domain.names import DOTS, FORBIDDEN, LONE_JOINER, MAX_NAME_CHARS
from domain.rules.held import NEWEST

Schema: TypeAlias = dict[str, Any]

# Of no text that is there: a pattern alone lets null pass, and `not` would then refuse it.
_NO_NUL: Schema = {"not": {"type": "string", "pattern": "\\u0000"}}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, **_NO_NUL}
_WORD: Schema = {"type": ["string", "null"], **_NO_NUL}
_REASON: Schema = {"type": "string", "minLength": 1, **_NO_NUL}
_NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_CHARS,
    "description": "Characters and joiners of Unicode 14, in its form NFC.",
    "not": {
        "anyOf": [
            {"enum": list(DOTS)},
            {"pattern": "^ | $"},
            {"pattern": FORBIDDEN},
            {"pattern": LONE_JOINER},
        ]
    },
}
_TIME: Schema = {
    "type": ["string", "null"],
    "format": "date-time",
    "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    "(\\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$",
    "description": "When it occurred; absent: when it was recorded.",
}


def export() -> dict[str, Schema]:
    """Return the schema of each type, by file name."""
    return {f"{name}.schema.json": _envelope(name, event) for name, event in NEWEST.events.items()}


def _envelope(name: str, event: type[StockEvent]) -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:onhand:{name}",
        "title": name,
        "description": f"{event.__doc__} A structured-mode CloudEvent, keyed by `data.sku`.",
        "type": "object",
        "required": ["specversion", "id", "source", "type", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": _ID | {"description": "With `source` the identity: one fact, one id."},
            "source": _ID | {"description": "Who says so: a till, a warehouse system."},
            "type": {"const": name},
            "time": _TIME,
            "data": _data(adjusts=event is StockAdjusted),
            "data_base64": {"type": "null"},
        },
        "$defs": {"name": _NAME},
    }


def _data(*, adjusts: bool) -> Schema:
    quantity: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_QUANTITY}
    if adjusts:
        quantity |= {"minimum": -MAX_QUANTITY}
    what = "In the SKU's smallest unit" + (
        ": by how much the stock changes, not what was counted." if adjusts else "."
    )
    return {
        "type": "object",
        "required": ["sku", "location", "quantity", *(["reason"] if adjusts else [])],
        "properties": {
            "sku": {"$ref": "#/$defs/name"},
            "location": {"$ref": "#/$defs/name"},
            "quantity": quantity | {"description": what},
            "reason": _REASON if adjusts else _WORD,
            "reference": _WORD,
            "actor": _WORD,
        },
    }


_PROSE = frozenset({"description", "title", "examples", "$comment"})


def breaches(published: Schema, current: Schema, path: str = "$") -> list[str]:
    """Tell how `current` departs from what was published; empty if it may take its place.

    Only prose may change, and optional fields may be added to an object. A looser check
    is a breach as much as a stricter one: the same log would give other rows.
    """
    found: list[str] = []
    for word in sorted((published.keys() | current.keys()) - _PROSE):
        here = f"{path}.{word}"
        if word == "properties":
            old, new = published.get(word, {}), current.get(word, {})
            found += [f"{here}.{name} is gone" for name in old if name not in new]
            for name in old.keys() & new.keys():
                found += breaches(old[name], new[name], f"{here}.{name}")
        elif published.get(word) != current.get(word):
            found.append(f"{here} was {published.get(word)}, is {current.get(word)}")
    return sorted(found)


def write(folder: Path) -> None:
    """Write every schema into an existing folder."""
    for name, schema in export().items():
        (folder / name).write_text(json.dumps(schema, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
