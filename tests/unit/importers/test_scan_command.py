"""`onhand scan`, as docs/scanners.md shows it."""

from __future__ import annotations

import io
import json
import shlex

import pytest
from click.testing import CliRunner, Result

from app.commands import cli
from app.commands.scan import _typed
from dev.readme.documents import Block, read
from dev.workers import ROOT
from importers.scans import MAX_CHARS

EXAMPLES = [block for block in read(ROOT, "docs/scanners.md").blocks if block.language == "sh"]


def scan(*words: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["scan", *words], input=typed)


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: f"line-{block.line}")
def test_the_examples_of_the_page_say_what_it_says(block: Block) -> None:
    said = ""
    for line in block.text.splitlines():
        command, *words = shlex.split(line)
        assert command == "onhand"
        said += CliRunner().invoke(cli, words).output

    assert said.rstrip("\n") == block.expected


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) >= 5


def test_lines_are_read_as_a_wedge_types_them_with_gs_inside() -> None:
    text = "9521234000013\r\n\n]C1010952123400001310A-1\x1d17271231\n"
    answer = scan(typed=text)

    assert answer.exit_code == 0
    assert answer.output.splitlines() == [
        "09521234000013  1 piece",
        "09521234000013  1 piece  lot A-1, expiry 271231",
    ]
    assert scan("-", typed=text).output == answer.output


def test_a_line_that_is_no_item_ends_with_1_and_stops_no_other() -> None:
    answer = scan("9521234000014", "9521234000013")

    assert answer.exit_code == 1
    assert "09521234000013  1 piece" in answer.stdout
    assert "scan it again" in answer.stderr
    assert "scan it again" not in answer.stdout


def test_programs_get_one_document_a_line_with_the_raw_text() -> None:
    answer = scan("--json", "--session", "c", "(01)09521234000013(21)07", "4711")
    good, bad = map(json.loads, answer.stdout.splitlines())

    assert good == {
        "text": "(01)09521234000013(21)07",
        "symbology": None,
        "sku": "09521234000013",
        "quantity": 1,
        "unit": "piece",
        "once": "(01)09521234000013(21)07",
        "event_id": "c:(01)09521234000013(21)07",
        "beside": {"serial": "07"},
    }
    assert (bad["text"], bad["why"]) == ("4711", "ambiguous")


def test_a_setting_that_cannot_be_is_one_sentence_and_exit_code_2() -> None:
    answer = scan("--gs", "A", "9521234000013")

    assert answer.exit_code == 2
    assert answer.stderr.count("\n") == 1
    assert "take one that no GS1 value can have" in answer.stderr


def test_a_line_without_an_end_takes_no_memory() -> None:
    lines = list(_typed(io.StringIO("1" * 3 * MAX_CHARS + "\n9521234000013\n")))

    assert len(lines[0]) == MAX_CHARS + 2
    assert lines[1:] == ["9521234000013\n"]


def test_what_a_scan_holds_cannot_steer_a_terminal() -> None:
    assert "\x1b" not in scan("\x1b[2J").output
