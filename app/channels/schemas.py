"""Schemas as AsyncAPI's own words have them."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any


def draft_07(schema: Any) -> Any:
    """The same in JSON Schema's draft 07: places in an array are its `items`."""
    if isinstance(schema, list):
        return [draft_07(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "prefixItems" in schema:
        schema = {word: each for word, each in schema.items() if word != "prefixItems"} | {
            "items": schema["prefixItems"]
        }
    if isinstance(text := schema.get("description"), str):
        schema = schema | {"description": cleandoc(text)}
    return {word: draft_07(each) for word, each in schema.items()}
