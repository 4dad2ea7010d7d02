"""Where a command names only the first of many, it says how many more there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app import replay
from app.commands import cli
from app.loading.given import FileOnDisk
from app.loading.pieces import Became, NoFact
from app.loading.showing import LoadingShown
from app.replay import Replayed
from tables.home.letters import Letter


def _letter(offset: int) -> Letter:
    return Letter(
        topic="sales", partition=0, offset=offset, recorded_ms=0, refused_ms=0,
        reason="misrouted", detail="", key=None, value=None, headers=[],
    )  # fmt: skip


@pytest.mark.parametrize(("count", "more"), [(1_000, None), (1_003, "… and 3 more cannot be sent")])
def test_a_replay_names_a_thousand_letters_and_says_how_many_more_cannot_be_sent(
    monkeypatch: pytest.MonkeyPatch, count: int, more: str | None
) -> None:
    done = Replayed({"misrouted": 2}, 0, {}, 0, 0)
    for number in range(count):
        done.cannot(_letter(number), "too large to have been kept: send it as a new event")

    async def replayed(*_: Any, **__: Any) -> Replayed:
        return done

    monkeypatch.setattr(replay, "replay", replayed)
    result = CliRunner().invoke(cli, ["dlq", "replay"])

    assert result.exit_code == 0
    assert result.stderr.count("cannot be sent again:") == 1_000
    assert ("… and" in result.stderr) is (more is not None)
    assert more is None or more in result.stderr


def test_a_load_that_leaves_refused_lines_out_says_how_many_it_did_not_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = LoadingShown(as_json=False, is_dry_run=False)
    told = shown.teller(FileOnDisk(Path("in.csv")))
    for number in range(23):
        told(NoFact(f"line {number}", Became.REFUSED, "It is not known."))

    shown.loaded([])

    said = capsys.readouterr().err
    assert said.count("It is not known.") == 20
    assert said.endswith("… and 3 more.\n")
