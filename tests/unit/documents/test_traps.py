"""Each cell of the table format and trap names a test, and that test exists."""

from __future__ import annotations

import re

from dev.workers import ROOT

PAGE = (ROOT / "docs/traps.md").read_text()
CELLS = [
    [cell.strip() for cell in line.split("|")[2:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| trap")
]
TESTS = re.findall(r"^(\d+)\. \[[^]]+\]\(\.\./([^)]+)\): `(test_\w+)`$", PAGE, re.MULTILINE)


def test_each_cell_of_the_table_names_a_test_or_says_that_there_is_nothing() -> None:
    assert len(CELLS) > 15
    assert {len(cells) for cells in CELLS} == {5}
    named = {cell for cells in CELLS for cell in cells if cell != "–"}
    assert named == {number for number, _, _ in TESTS}


def test_each_test_that_the_table_names_exists() -> None:
    for _, path, name in TESTS:
        assert f"def {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
