"""`onhand token`: what is made is shown once, what is kept is no token."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.commands import cli
from web.access.tokens import read_tokens


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def run(file: Path, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(cli, ["token", *words, "--file", str(file)])
    assert result.exit_code == code, result.output
    return result


def made(file: Path, *words: str) -> str:
    return str(json.loads(run(file, "create", *words, "--json").output)["token"])


def test_a_token_is_good_until_it_is_revoked_and_is_not_in_the_file(file: Path) -> None:
    token = made(file, "till-17", "--scope", "write", "--source", "till-17", "--scope", "read")
    other = made(file, "till-17", "--scope", "read")

    kept = file.read_bytes()
    caller = read_tokens(kept).caller_of(token.encode())
    assert caller is not None
    assert (caller.name, caller.sources, caller.may_write("till-18", "a") is None) == (
        "till-17", ("till-17",), False,
    )  # fmt: skip
    assert token[16:].encode() not in kept
    assert token[16:] not in run(file, "list").output + run(file, "list", "--json").output

    run(file, "revoke", caller.id)
    assert read_tokens(file.read_bytes()).caller_of(token.encode()) is None
    assert read_tokens(file.read_bytes()).caller_of(other.encode()) is not None


def test_a_new_file_is_its_makers_alone_and_an_old_one_keeps_its_rights(file: Path) -> None:
    made(file, "a", "--scope", "read")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o640)
    link = file.with_name("link")
    link.symlink_to(file)
    made(link, "b", "--scope", "read")

    assert (stat.S_IMODE(file.stat().st_mode), link.is_symlink()) == (0o640, True)
    assert [each.name for each in file.parent.iterdir() if each.name.startswith(".")] == []


@pytest.mark.parametrize(
    "words",
    [("create", "a b", "--scope", "read"), ("create", "a", "--scope", "read", "--source", "x"),
     ("revoke", "00000000")],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(
    file: Path, words: tuple[str, ...]
) -> None:
    made(file, "a", "--scope", "read")
    before = file.read_bytes()

    run(file, *words, code=2)

    assert file.read_bytes() == before


def test_a_broken_file_is_not_written_over(file: Path) -> None:
    file.write_text("{")
    assert "no file of tokens" in run(file, "create", "a", "--scope", "read", code=2).output
    assert file.read_text() == "{"
