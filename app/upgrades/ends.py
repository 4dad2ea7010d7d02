"""How `onhand upgrade` ends: each way has its exit code and its sentence."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any, Final, NoReturn, TypeVar

import click

from app.commands.console import plain, print_json
from app.commands.running import run

T = TypeVar("T")

#: Exit codes beside 0 (done, or already so) and 2 (wrong usage, or Kafka did not answer).
REFUSED_CODE: Final = 1
NOT_YET_CODE: Final = 3
UNKNOWN_CODE: Final = 4
NOT_ALL_CODE: Final = 5


def ended(work: Coroutine[Any, Any, T], as_json: bool) -> T:
    """Run it; what is no result ends the command."""
    from app.upgrades.asking import NotAsked, UpgradeRefused
    from app.upgrades.diff.sides import NotCompared
    from app.upgrades.retiring import NotFinished
    from core.versions import AlreadySo
    from wire.control import OutcomeUnknown

    async def guarded() -> T | BaseException:
        try:
            return await work
        except (AlreadySo, UpgradeRefused, NotFinished, NotCompared, OutcomeUnknown) as end:
            return end

    found = run(guarded(), NotAsked)
    if isinstance(found, AlreadySo):
        end_with(str(found), 0, as_json)
    if isinstance(found, UpgradeRefused):
        end_refused(str(found), as_json)
    if isinstance(found, NotCompared):
        end_with(str(found), NOT_YET_CODE, as_json)
    if isinstance(found, NotFinished):
        end_with(str(found), NOT_ALL_CODE, as_json)
    if isinstance(found, OutcomeUnknown):
        sentence = "Kafka went away while it was being recorded: run the same command again."
        end_with(sentence, UNKNOWN_CODE, as_json)
    assert not isinstance(found, BaseException)
    return found


def end_refused(why: str, as_json: bool) -> NoReturn:
    """Nothing was changed."""
    shown = why if as_json else "\n".join(f"refused: {line}" for line in why.splitlines())
    end_with(shown, REFUSED_CODE, as_json)


def end_with(said: str, code: int, as_json: bool) -> NoReturn:
    """Say it and end with this code."""
    if as_json:
        print_json({"exit": code, "said": said})
    else:
        click.echo(plain(said, keep="\n"), err=code != 0)
    sys.exit(code)
