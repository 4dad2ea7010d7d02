"""docs/bridge.md: each map, record and fact of the page is run as it stands."""

import json
import re
from typing import Any, NamedTuple

import pytest

from agents.translating import Translator
from core.records import Record
from dev.workers import ROOT
from domain.rules.held import CURRENT
from importers.frames.maps import (
    _CHOICES,
    _SETTINGS,
    _TABLES,
    FACT_FIELDS,
    ForeignMap,
    read_map,
)
from importers.frames.numbered import WriterSchema

PAGE = (ROOT / "docs/bridge.md").read_text()
SCHEMA_7 = b"\0\0\0\0\x07"
BLOCK = re.compile(r"^```(avsc|toml|text|json)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Example(NamedTuple):
    title: str
    by: ForeignMap
    record: Record
    becomes: Any


def bytes_of(text: str) -> bytes:
    """The page writes bytes that are no text as \\xNN."""
    raw = text.encode("latin-1")
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes.fromhex(found[1].decode()), raw)


def a_record(block: str) -> Record:
    key, value, headers = None, b"", []
    for line in block.splitlines():
        name, _, content = line.partition(": ")
        if name == "key":
            key = bytes_of(content)
        elif name == "value":
            value = bytes_of(content)
        else:
            headers.append((name.removeprefix("header "), bytes_of(content)))
    return 41, 1_795_000_000_999, key, value, headers


def examples() -> list[Example]:
    found: list[Example] = []
    by: ForeignMap | None = None
    record: Record | None = None
    becomes: Any = None
    schema = ""
    for match in [*BLOCK.finditer(PAGE), None]:
        kind, text = (match[1], match[2]) if match else ("end", "")
        title = re.findall(r"^##+ (.*)$", PAGE[: match.start() if match else None], re.MULTILINE)[
            -1
        ]
        if kind == "json":
            becomes = json.loads(text)
        if record is not None:
            # A record without a fact of its own has that of the one before.
            assert by is not None
            found.append(Example(title, by, record, becomes))
            record = None
        if kind == "toml":
            by = read_map(text, "orders", CURRENT.events)
            if by.book is not None:
                by.book.add(SCHEMA_7, WriterSchema("AVRO", schema), 0.0)
        if kind == "avsc":
            schema = text
        if kind == "text":
            record = a_record(text)
    return found


EXAMPLES = examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.title for example in EXAMPLES])
def test_an_example_becomes_what_the_page_says(example: Example) -> None:
    made = Translator("orders", example.by, 12).translate(3, [example.record])

    assert made.letters == []
    assert [json.loads(fact.value) for fact in made.facts] == example.becomes


def test_there_is_an_example_of_each_frame() -> None:
    (frames,) = (kind for name, kind in _CHOICES.items() if name == "frame")

    assert {example.by.frame for example in EXAMPLES} == {*frames}
    assert len(EXAMPLES) == PAGE.count("\nvalue: ")


def test_the_page_names_every_setting_and_field_of_a_map() -> None:
    known = {*_SETTINGS, *FACT_FIELDS, *(word for kind in _CHOICES.values() for word in kind)}

    missing = [word for word in known if f"`{word}`" not in PAGE]

    assert missing == []
    assert all(f"`[{table}" in PAGE for table in _TABLES)
