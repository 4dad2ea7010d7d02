import asyncio
import json
import sys

import click
import pytest
from click.testing import CliRunner

from app import deadletters
from app.commands import ask, cli, console, running
from app.commands.console import Cell, Ticker, ago, coloured, plain, seconds_since, span, table
from app.commands.running import Commands
from tables.home.letters import Letter


def test_what_came_from_outside_cannot_steer_a_terminal() -> None:
    assert plain("\x1b[31mred\x07 \u202eback\r\n\x9b2J \ud800") == (
        r"\x1b[31mred\x07 \u202eback\r\n\x9b2J \ud800"
    )
    assert plain("two\nlines\x1b", keep="\n") == "two\nlines\\x1b"
    assert plain("Ünïcödé 店 5 °C") == "Ünïcödé 店 5 °C"
    assert coloured(Cell("\x1b[2J", "red")) == click.style(r"\x1b[2J", fg="red")


def test_escaped_cells_keep_their_columns_straight() -> None:
    lines = table([("A", "B"), ("\x1b[2J", Cell("-1", "red"))]).splitlines()

    assert lines[0] == "A        B"
    assert lines[1].startswith(r"\x1b[2J  ")


def test_a_dead_letter_is_shown_without_its_control_characters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    letter = Letter(
        topic="sales",
        partition=3,
        offset=7,
        recorded_ms=0,
        refused_ms=0,
        reason="not_json",
        detail="no JSON: \x1b]0;title\x07",
        key=b"\x1b[1m",
        value=b"{\n\t\x1b[2J}",
        headers=[("h\x1b", b"\x07")],
    )

    async def found(*_: object) -> Letter:
        return letter

    monkeypatch.setattr(deadletters, "found", found)
    said = CliRunner().invoke(cli, ["dlq", "show", "sales-3@7"]).output

    assert "\x1b" not in said
    assert "\x07" not in said
    assert said.endswith("{\n\t\\x1b[2J}\n")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.9, "59 s"), (200, "3 min"), (5 * 3600 + 1, "5 h"), (3 * 86_400, "3 days")],
)
def test_ages_are_told_in_the_unit_that_people_would_take(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_a_time_is_told_as_an_age_and_never_in_the_future() -> None:
    assert ago("2026-11-23T10:00:00.123Z", now=1795428200.0) == "3 min ago"
    assert ago("2026-11-23T10:00:00.123Z", now=1795428001.0) == "seconds ago"
    assert seconds_since("2026-11-23T10:00:00Z", now=0) == 0


def test_a_row_that_a_ledger_gave_says_so_instead_of_how_fresh_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    row = {name: 0 for name in ("received", "dispatched", "sold", "returned", "adjusted", "events")}
    past = {"position": "sales-3@7", "ledger": "http://10.0.0.9:6166"}
    body = {"sku": "TEA", "location": "here", "on_hand": 0, "updated_at": "2026-11-23T10:00:00Z"}
    answer = ask.Answer(
        "http://10.0.0.9:6166", 200, json.dumps(row | body | {"history": past}).encode()
    )
    monkeypatch.setattr(ask, "ask", lambda *args: answer)

    said = CliRunner().invoke(cli, ["stock", "TEA", "here"])

    assert said.exit_code == 0
    assert said.output.splitlines()[-1] == "as of sales-3@7, by the ledger http://10.0.0.9:6166"


def test_a_refusal_that_was_passed_on_says_its_title_once() -> None:
    passed_on = {
        "title": "Nobody keeps history now",
        "detail": "Nobody keeps history now: start one.",
    }

    assert (
        ask.refusal(503, json.dumps(passed_on).encode()) == "Nobody keeps history now: start one."
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["statsu"], "No such command 'statsu'. Did you mean status?"),
        (["dlq", "lst"], "No such command 'lst'. Did you mean list?"),
        (["upgrade", "promot", "2"], "No such command 'promot'. Did you mean promote?"),
        (["topics", "zebra"], "No such command 'zebra'. There is: check, create."),
    ],
)
def test_a_misspelt_command_is_told_which_was_meant(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(cli, arguments)

    assert done.exit_code == 2
    assert told in done.output


def test_every_group_of_commands_does_so() -> None:
    groups = [cli, *(each for each in cli.commands.values() if isinstance(each, click.Group))]

    assert {type(group) for group in groups} == {Commands}


@pytest.mark.parametrize("kind", [["worker"], ["ledger", "worker"]])
@pytest.mark.parametrize("option", ["--nonsense", "--web-prt=1", "more"])
def test_a_worker_refuses_what_faust_does_not_know_in_its_own_name(
    kind: list[str], option: str
) -> None:
    done = CliRunner().invoke(cli, [*kind, option], prog_name="onhand")

    assert done.exit_code == 2
    assert f"Usage: onhand {' '.join(kind)} " in done.output
    assert option.partition("=")[0] in done.output
    assert "`onhand settings`" in done.output


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits gladly."""
    monkeypatch.setattr(console, "GLADLY_S", 0.0)
    monkeypatch.setattr(console, "TOLD_EVERY_S", 0.0)
    monkeypatch.setattr(running, "GLADLY_S", 0.0)
    monkeypatch.setattr(running, "TELL_EVERY_S", 0.01)


async def until_told(times: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = ""
    while told.count(line) < times:
        await asyncio.sleep(0.01)
        told += capsys.readouterr().err


def test_who_waits_is_told_that_it_goes_on_also_while_nothing_is_counted(
    impatient: None, capsys: pytest.CaptureFixture[str]
) -> None:
    async def slow() -> int:
        Ticker("records read")(41_000)
        await until_told(3, "41,000 records read …\n", capsys)
        return 7

    assert running.run(slow()) == 7


def test_a_person_is_told_that_a_command_without_a_count_waits(
    impatient: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Ticker("of another command")

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    running.run(until_told(2, "Waiting for an answer: 0 s …\n", capsys))
    capsys.readouterr()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    running.run(asyncio.sleep(0.1))
    assert capsys.readouterr().err == ""
