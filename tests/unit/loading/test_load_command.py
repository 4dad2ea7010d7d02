"""`onhand load` up to where it would send, as docs/loading.md shows it."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.commands import cli
from dev.readme.documents import read
from dev.workers import ROOT
from tests.support.inputs.sheets import SALES
from tests.unit.importers.excel.workbooks import a_book
from tests.unit.importers.formats.writing import despatch, edifact

PAGE = read(ROOT, "docs/loading.md")
BLOCKS = [block for block in PAGE.blocks if block.language == "sh"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(*words: str) -> Result:
    result = CliRunner().invoke(cli, ["load", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def test_the_page_says_what_is_said_and_shows_the_files_that_are_read(folder: Path) -> None:
    ran = 0
    for block in BLOCKS:
        command, *words = shlex.split(block.text)
        assert block.expected is not None
        if command == "cat":
            file = folder / words[0]
            if file.exists():
                assert file.read_text().rstrip("\n") == block.expected
            file.write_text(f"{block.expected}\n")
        elif "--leave-out-refused" not in words:  # that one needs Kafka
            assert CliRunner().invoke(cli, words).output.rstrip("\n") == block.expected
            ran += 1
    assert ran == 3


def test_the_lists_of_the_page_resolve_what_it_says(folder: Path) -> None:
    for block in BLOCKS:
        command, *words = shlex.split(block.text)
        if command == "cat":
            (folder / words[0]).write_text(f"{block.expected}\n")
    (folder / "map.toml").write_text(
        'header = false\n[constants]\nkind = "received"\n'
        "[columns]\nitem = 1\nplace = 2\nquantity = 3\nunit = 4\n"
    )
    (folder / "in.csv").write_text("0815,007,1.25,KGM\n0815,008,1,KGM\n0816,007,1,\n")

    result = load("in.csv", "--map", "map.toml", "--catalogue", "catalogue.csv",
                  "--places", "places.csv", "--dry-run", "--json")  # fmt: skip

    (file,) = json.loads(result.output)["files"]
    assert [fact["data"] for fact in file["first_facts"]] == [
        {"sku": "CHEESE", "location": "store-7", "quantity": 1250}
    ]
    assert [one["where"] for one in file["no_facts"]] == ["line 2", "line 3"]
    assert (result.exit_code, file["lines"], file["facts"], file["refused"]) == (1, 3, 1, 2)


@pytest.fixture
def a_file(folder: Path) -> str:
    (folder / "m.toml").write_text(SALES)
    (folder / "a.csv").write_text("sku,qty\nA,1\n")
    return "a.csv"


def test_a_dry_run_without_anything_refused_ends_well(a_file: str) -> None:
    result = load(a_file, "--map", "m.toml", "--dry-run")

    assert result.exit_code == 0
    assert "1 lines = 1 facts + 0 levels + 0 revocations + 0 not for stock + 0 refused." in (
        result.output
    )


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["a.csv"], 1, "a.csv: It is of no format that is known by its content. If it is a table"),
        (
            ["a.csv", "--format", "epsic"],
            1,
            "There is no format 'epsic': there are csv (with --m",
        ),
        (["a.csv", "--format", "csv"], 2, "A table needs a map: --draft-mapping writes one"),
        (["a.csv", "--map", "bad.toml"], 2, "bad.toml: Line 1: kind is not known"),
        (
            ["a.csv", "--map", "m.toml", "--format", "x"],
            2,
            "--map is of a table, and --format is x",
        ),
        (["a.csv", "--map", "m.toml", "--places", "a.csv"], 2, "a.csv: Line 1 has no column locat"),
        (["a.csv", "--map", "m.toml", "--catalogue", "b.csv"], 2, "b.csv: Line 2: sku is empty"),
        (["a.csv", "b.csv", "--map", "m.toml", "--document", "x"], 2, "--document names one table"),
        (["a.csv", "b.csv", "--draft-mapping", "-"], 2, "--draft-mapping looks at one table"),
        (["a.csv", "--draft-mapping", "m.toml"], 2, "m.toml is there already: name another file"),
        (["b.csv", "--map", "m.toml", "--dry-run"], 1, "b.csv: The file has no column 'qty'"),
        (["x.xlsx"], 1, "x.xlsx: It is an archive. If it is an Excel workbook, `--draft-mapping`"),
        (["x.xlsx", "--map", "m.toml"], 1, "x.xlsx: Its archive has no end, so it is cut off"),
        (["x.xlsx", "--draft-mapping", "-"], 1, "x.xlsx: Its archive has no end, so it is cut"),
        (["x.xls", "--map", "m.toml"], 1, "x.xls: It is an Excel file of before 2007 (.xls), or"),
        (["x.xls", "--draft-mapping", "-"], 1, "x.xls: It is an Excel file of before 2007"),
        (["x.edi", "--map", "m.toml"], 1, "x.edi: It is edifact, which needs no map, and this"),
        (["x.edi", "--draft-mapping", "-"], 1, "x.edi: It is edifact, which needs no map: load"),
    ],
)
def test_what_cannot_be_read_is_told_in_a_sentence_with_the_remedy(
    a_file: str, folder: Path, words: list[str], code: int, told: str
) -> None:
    (folder / "bad.toml").write_text('kind = "sold"\n')
    (folder / "b.csv").write_text("gtin,Sku\n4006381333931,\n")
    (folder / "x.xlsx").write_bytes(b"PK\x03\x04rest")
    (folder / "x.edi").write_bytes(edifact(despatch()))
    (folder / "x.xls").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1"))

    result = load(*words)

    assert told in result.output
    assert result.exit_code == code


def test_a_workbook_is_known_by_its_content_whatever_its_name_is(folder: Path) -> None:
    (folder / "m.toml").write_text(SALES)
    (folder / "sales.csv").write_bytes(a_book([("sku", "qty"), ("A", 1), ("B", True)]))

    result = load("sales.csv", "--map", "m.toml", "--dry-run")

    assert "sales.csv, line 3, is refused: qty, the quantity, is TRUE" in result.output
    assert (
        "line 2  sale.completed  A    shop-7           1  -     file:sales.csv#2" in result.output
    )
    assert "sales.csv (excel): 2 lines = 1 facts + 0 levels + 0 revocations" in result.output


def test_of_several_files_one_that_is_broken_stops_all(a_file: str, folder: Path) -> None:
    (folder / "b.csv").write_text('sku,qty\nA,1\n"B,2\n')

    result = load(a_file, "b.csv", "--map", "m.toml")

    assert result.exit_code == 1
    assert result.output.startswith("b.csv: Line 3 begins a row that cannot be read")
    assert result.output.endswith("Nothing was sent.\n")


def test_of_many_refused_lines_the_first_are_named_and_a_dry_run_names_all(
    a_file: str, folder: Path
) -> None:
    (folder / "b.csv").write_text("sku,qty\n" + "A,x\n" * 30)

    told = load("b.csv", "--map", "m.toml").output
    assert told.count(" is refused: ") == 20
    assert "… and 10 more." in told
    assert load("b.csv", "--map", "m.toml", "--dry-run").output.count(" is refused: ") == 30


def test_a_map_is_drafted_for_a_file_whose_name_is_no_text(folder: Path) -> None:
    Path(os.fsdecode(b"sales-\xff.csv")).write_text("sku;qty\nA;1\nB;2\n")

    load(os.fsdecode(b"sales-\xff.csv"), "--draft-mapping", "map.toml")

    assert (folder / "map.toml").read_text().startswith(r'# What is what in "sales-\\xff.csv".')
