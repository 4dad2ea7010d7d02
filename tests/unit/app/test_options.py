"""Faust's options either do what they say, to the others too, or are refused with the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click
import pytest
from faust.cli.base import cli
from faust.cli.faust import worker

from app.commands.worker import FAUST_OPTIONS
from app.config import Settings
from app.group.options import option_problems

SETTINGS = Settings.from_env({"ONHAND_DATA_DIR": "/srv/onhand", "ONHAND_LOG_LEVEL": "WARNING"})


def told(*arguments: str) -> list[str]:
    """What a worker with these arguments says at its start."""
    verb = arguments.index("worker")
    with cast(click.Group, cli).make_context("faust", [*arguments[:verb], "worker"]) as root:
        command = cast(click.Command, worker.as_click_command())
        context = command.make_context("worker", list(arguments[verb + 1 :]), parent=root)
        return option_problems(SETTINGS, context)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (["worker", "-p", "6071"], "set ONHAND_WEB_PORT"),
        (["worker", "--web-port=6071"], "set ONHAND_WEB_PORT"),
        (["worker", "-h", "0.0.0.0"], "set ONHAND_URL"),
        (["worker", "-b", "10.0.0.7"], "set ONHAND_WEB_HOST"),
        (["worker", "--without-web"], "ONHAND_URL"),
        (["worker", "--web-transport", "unix:///tmp/web.sock"], "ONHAND_WEB_PORT"),
        (["worker", "-f", "worker.log"], "redirect that to a file"),
        (["worker", "-l", "debug"], "set ONHAND_LOG_LEVEL=DEBUG"),
        (["-l", "error", "worker"], "set ONHAND_LOG_LEVEL=ERROR"),
    ],
)
def test_an_option_that_would_make_another_worker_is_refused_with_its_variable(
    arguments: list[str], remedy: str
) -> None:
    [problem] = told(*arguments)

    assert problem.startswith("The option --")
    assert remedy in problem


def test_a_data_folder_beside_the_settings_is_refused_too(tmp_path: Path) -> None:
    [problem] = told("--datadir", str(tmp_path), "worker")

    assert "set ONHAND_DATA_DIR" in problem


def test_all_of_them_are_told_at_once() -> None:
    assert len(told("worker", "-p", "1", "-h", "a", "--without-web")) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ["worker"],
        ["worker", "-l", "info"],
        ["worker", "-l", "warn"],
        ["worker", "-p", "6066", "-h", "127.0.0.1", "-b", "127.0.0.1", "--with-web"],
        ["--loop", "aio", "--debug", "worker"],
    ],
)
def test_what_says_the_same_as_the_settings_or_nothing_to_others_is_taken(
    arguments: list[str],
) -> None:
    assert told(*arguments) == []


def test_the_options_that_the_command_lets_pass_are_those_of_faust() -> None:
    def names(command: click.Command) -> set[str]:
        return {name for each in command.params for name in (*each.opts, *each.secondary_opts)}

    assert names(FAUST_OPTIONS) == names(cast(click.Command, worker.as_click_command()))


def test_outside_of_a_command_there_is_nothing_to_say() -> None:
    assert option_problems(SETTINGS, None) == []
    assert option_problems(SETTINGS, click.Context(click.Command("x"))) == []
