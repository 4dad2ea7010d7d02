"""The programs that follow the feed stand on public interfaces alone, and are short."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from dev.workers import ROOT
from tests.unit.test_tidy import HOUSE

FOLLOWERS = ("follower", "search", "warehouse")
MAX_LINES = 150


def imported(tree: ast.Module) -> Iterator[str]:
    """The first names of what it imports, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "").partition(".")[0]


@pytest.mark.parametrize("name", FOLLOWERS)
def test_a_program_that_follows_the_feed_is_short_and_imports_nothing_of_the_house(
    name: str,
) -> None:
    files = sorted((ROOT / "examples" / name).glob("*.py"))
    text = "".join(file.read_text() for file in files if file.name != "__init__.py")

    assert text.count("\n") < MAX_LINES
    found = {*imported(ast.parse(text))}
    assert "urllib" in found
    assert not found & {*HOUSE}
    assert not [one for one in found if one.startswith(".")]
