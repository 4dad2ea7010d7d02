"""Options of `faust worker` that would make a worker other than what it tells the others.

Faust takes them after the settings were read and the worker was built from them: with
`-p 6071` it would listen there and announce 6066, and be taken for another worker. So
what says the same as the settings is taken, and all else is refused with the variable
that does it. The other options (`--workdir`, `--loop`, `--debug` …) do what Faust says.
"""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource
from faust.cli.base import State

from app.config import Settings

_LEVELS = {"CRIT": "ERROR", "ERROR": "ERROR", "WARN": "WARNING", "INFO": "INFO", "DEBUG": "DEBUG"}


def option_problems(settings: Settings, context: click.Context | None) -> list[str]:
    """One sentence for each option that cannot be kept.

    Args:
        settings: what the worker was built from.
        context: of the command that is running; None outside of one.
    """
    if context is None:
        return []
    given = _given(context)
    problems = []
    for option, name, now in (
        ("web_port", "ONHAND_WEB_PORT", settings.web_port),
        ("web_bind", "ONHAND_WEB_HOST", settings.web_host),
        ("web_host", "ONHAND_URL", _host_of(settings.url)),
        ("datadir", "ONHAND_DATA_DIR", settings.data_dir),
    ):
        if option in given and str(given[option]) != str(now):
            problems.append(
                f"The option {_spelt(option)} {given[option]} is not taken, since other workers "
                f"would be told {now}: set {name} instead."
            )
    # `-l info` is how a worker is started everywhere: it says no more than the default.
    level = _LEVELS.get(str(given.get("loglevel")).upper(), "INFO")
    if level not in ("INFO", settings.log_level):
        problems.append(
            f"The option --loglevel {given['loglevel']} is not taken: set ONHAND_LOG_LEVEL={level}."
        )
    if given.get("with_web") is False:
        problems.append(
            "The option --without-web is not taken: other workers ask this one for its rows at "
            "ONHAND_URL, and it can be reached by nobody else if ONHAND_WEB_HOST is 127.0.0.1."
        )
    if "web_transport" in given:
        problems.append(
            "The option --web-transport is not taken: workers reach each other over TCP, at "
            "ONHAND_URL; set ONHAND_WEB_HOST and ONHAND_WEB_PORT."
        )
    if "logfile" in given:
        problems.append(
            "The option --logfile is not taken: the log goes to standard error (set its level "
            "with ONHAND_LOG_LEVEL); redirect that to a file."
        )
    return problems


def _given(context: click.Context) -> dict[str, Any]:
    """Options of the command line, those before the verb too, by Faust's names."""
    given: dict[str, Any] = {}
    each: click.Context | None = context
    while each is not None:
        state = each.find_object(State)
        for parameter in each.command.params:
            name = parameter.name or ""
            if each.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                # What Faust takes in two places it keeps elsewhere, unless it is its default.
                value = each.params.get(name, getattr(state, name, None))
                given.setdefault(name, parameter.default if value is None else value)
        each = each.parent
    return given


def _host_of(url: str) -> str:
    return url.partition("://")[2].rpartition(":")[0].strip("[]")


def _spelt(option: str) -> str:
    return "--" + option.replace("_", "-")
