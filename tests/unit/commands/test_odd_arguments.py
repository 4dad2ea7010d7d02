"""What people type by mistake ends with a sentence and exit code 2: no traceback, no long wait."""

import sys

import pytest
from click.testing import CliRunner

from app.commands import cli, main
from app.upgrades import commands, fleet

#: As Python gives the byte 0xff of a shell.
NO_TEXT = "\udcff"
NOBODY = ("--url", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    "words",
    [
        ("stock", NO_TEXT, *NOBODY),
        ("stock", "A", NO_TEXT, *NOBODY),
        ("list", "--sku-prefix", NO_TEXT, *NOBODY),
        ("fact", NO_TEXT, "1", *NOBODY),
        ("explain", "A", NO_TEXT, *NOBODY),
        ("history", NO_TEXT, "A", *NOBODY),
    ],
)
def test_bytes_that_are_no_text_are_told_in_a_sentence(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["onhand", *words])

    with pytest.raises(SystemExit) as end:
        main()

    assert end.value.code == 2
    assert capfd.readouterr().err == "'\\udcff' is no text in UTF-8.\n"


@pytest.mark.parametrize("words", [("status", "--wait", "1h"), ("promote", "2"), ("rollback",)])
def test_longer_than_workers_are_remembered_nothing_is_waited_for(words: tuple[str, ...]) -> None:
    """It would never be seen."""
    assert commands.MOST_STABLE_S + fleet.LISTEN_S < fleet.SEEN_WITHIN_S
    asked = ("upgrade", *words, "--stable", "10m", "--kafka", "127.0.0.1:1")

    said = CliRunner().invoke(cli, asked)

    assert said.exit_code == 2
    assert "'10m' is longer than workers are remembered: use 9m at most." in said.output
