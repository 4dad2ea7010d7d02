"""Schemas of a document as HTML: a value in a few words, an object's fields as a table."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from web.http.problems import prose

_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "object": "object",
    "array": "array",
    "null": "null",
}
#: What 64 bits hold is no bound for people.
_ANY_INTEGER = 2**63 - 1


class Field(NamedTuple):
    """One line of a table. name: with the names of the objects around it, by dots."""

    name: str
    kind: str
    text: str
    is_required: bool


class Shapes:
    """The schemas of one document.

    Args:
        schemas: by name.
        prefix: of their anchors, which another document's may not have.
    """

    def __init__(self, schemas: Mapping[str, Any], prefix: str) -> None:
        self._schemas, self._prefix = schemas, prefix

    def kind(self, schema: Any) -> str:
        """What a value is, in a few words; a link where the schema has a name."""
        if not isinstance(schema, Mapping) or not schema:
            return "anything"
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            return f'<a href="#{self._prefix}{html.escape(name)}">{html.escape(name)}</a>'
        if "const" in schema:
            return _code(json.dumps(schema["const"]))
        if "enum" in schema:
            return _one_of(_code(json.dumps(each)) for each in schema["enum"])
        for word, between in (("anyOf", " or "), ("oneOf", " or "), ("allOf", ", and ")):
            if word in schema:
                kinds = [self.kind(each) for each in schema[word]]
                return between.join(dict.fromkeys(each for each in kinds if each != "anything"))
        types = schema.get("type", [])
        types = [types] if isinstance(types, str) else types
        return " or ".join(self._typed(each, schema) for each in types) or "anything"

    def _typed(self, type_: str, schema: Mapping[str, Any]) -> str:
        word = _WORDS[type_]
        if type_ == "string":
            word += _bounds(schema, "minLength", "maxLength", " character")
            if schema.get("format") == "date-time":
                return "time, RFC 3339"
        elif type_ in ("integer", "number"):
            word += _bounds(schema, "minimum", "maximum", "")
        elif type_ == "array" and "items" in schema:
            items = schema["items"]
            if isinstance(items, list):
                return "array: " + ", ".join(map(self.kind, items))
            word += f" of {self.kind(items)}{_bounds(schema, 'minItems', 'maxItems', ' item')}"
        elif type_ == "object" and isinstance(schema.get("additionalProperties"), Mapping):
            word += f", of each name {self.kind(schema['additionalProperties'])}"
        if schema.get("default") not in (None, [], {}, ""):
            word += f"; {_code(json.dumps(schema['default']))} if left out"
        return word

    def fields(self, schema: Any) -> Iterator[Field]:
        """Of an object, and of the objects within that have no name of their own."""
        required = schema.get("required", ())
        for name, each in schema.get("properties", {}).items():
            text = each.get("description", "") if isinstance(each, Mapping) else ""
            yield Field(name, self.kind(each), text, name in required)
            if isinstance(each, Mapping) and "properties" in each:
                for inner in self.fields(each):
                    yield inner._replace(name=f"{name}.{inner.name}")

    def table(self, schema: Any) -> str:
        """The fields of an object; "" where it has none."""
        return fields_table("Field", self.fields(schema))

    def sections(self) -> Iterator[str]:
        """All of them, in the order of their names."""
        for name in sorted(self._schemas, key=str.lower):
            schema = self._schemas[name]
            anchor = f"{self._prefix}{html.escape(name)}"
            shown = self.table(schema)
            if "properties" not in schema or any(w in schema for w in ("anyOf", "oneOf", "allOf")):
                shown = f"<p>{self.kind(schema)}</p>{shown}"
            text = paragraphs(schema.get("description", ""))
            yield f'<article id="{anchor}"><h3>{html.escape(name)}</h3>{text}{shown}</article>'


def fields_table(what: str, fields: Iterable[Field]) -> str:
    """A table of fields; "" for none."""
    rows = "".join(
        f'<tr><th scope="row"><code>{html.escape(each.name)}</code>'
        f"{' <small>required</small>' if each.is_required else ''}</th>"
        f"<td>{each.kind}</td><td>{prose(each.text)}</td></tr>"
        for each in fields
    )
    if not rows:
        return ""
    head = f'<th scope="col">{what}</th><th scope="col">What it is</th><th scope="col">Meaning</th>'
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def paragraphs(text: str) -> str:
    """Prose, each paragraph by itself."""
    return "".join(f"<p>{prose(each)}</p>" for each in text.split("\n\n") if each.strip())


def example(title: str, value: Any) -> str:
    """Something that is shown when it is asked for."""
    shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    title, shown = html.escape(title), html.escape(shown)
    return f"<details><summary>{title}</summary><pre>{shown}</pre></details>"


def _code(text: str) -> str:
    return f"<code>{html.escape(text)}</code>"


def _one_of(words: Iterable[str]) -> str:
    first, *others = words
    if not others:
        return first
    return f"{', '.join([first, *others[:-1]])} or {others[-1]}"


def _bounds(schema: Mapping[str, Any], least: str, most: str, of: str) -> str:
    """From where to where. of: what is counted, as of one."""
    low, high = schema.get(least), schema.get(most)
    low = None if low is None or low < -_ANY_INTEGER else low
    high = None if high is None or high >= _ANY_INTEGER else high
    of += "s" if of and (high or low) != 1 else ""
    if low is None and high is None:
        return ""
    if low is None:
        return f", at most {high:,}{of}"
    return f", at least {low:,}{of}" if high is None else f", {low:,} to {high:,}{of}"
