"""docs/your-own-format.md: the reader that it writes reads what it says the till wrote."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest

from dev.workers import ROOT
from importers.documents.known import KNOWN
from importers.documents.port import BrokenDocument, Format
from tests.unit.importers.formats import writing

PAGE = (ROOT / "docs/your-own-format.md").read_text()


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def till() -> Format:
    names: dict[str, Any] = {}
    exec(block("python"), names)
    found = names["TILL"]
    assert isinstance(found, Format)
    return found


def test_the_pages_reader_reads_the_pages_file(till: Format) -> None:
    data = block("text").encode()
    assert till.looks_like(data)

    parts = list(till.read(io.BytesIO(data)))

    assert [one.identity for one in writing.documents(parts)] == ["till:17:204"]
    assert writing.brief(parts) == [
        f"sold 3 {writing.PIECE} at 17",
        f"returned 1 {writing.PIECE} at 17",
        "other: Only SOLD and BACK say something of stock.",
    ]


def test_the_pages_reader_keeps_the_rules_of_a_reader(till: Format) -> None:
    data = block("text").encode().rstrip()

    for end in range(len(data)):
        with pytest.raises(BrokenDocument):
            list(till.read(io.BytesIO(data[:end])))
    refused = data.replace(b"|3\n", b"|three\n", 1)
    assert "refused" in writing.brief(till.read(io.BytesIO(refused)))[0]


def test_the_page_names_every_format() -> None:
    for one in KNOWN:
        assert f"| `{one.name}` |" in PAGE
