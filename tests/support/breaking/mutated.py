"""A worker without one of the guards of a switch.

`python -m tests.support.breaking.mutated NAME ARGUMENTS` runs it.
With such a worker the tests of switches must fail: else they would prove nothing. The same
mutations are made in one process by tests/unit/upgrades/test_negative_controls.py.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from app.service import OnhandApp
from web.versions.door import Door
from web.versions.neighbours import Neighbours
from web.versions.switch import Switch

#: `setattr`, or that of a test, which takes it back.
Patch = Callable[[Any, str, Any], None]


def no_latch(patch: Patch) -> None:
    """It goes over with the record, whether the new version is as far, and answers, or not."""

    async def at_once(self: Switch, version: int) -> None:
        assert self._view.last is not None
        self._go_over(version, self._view.last.epoch)

    patch(Switch, "_until_reached", at_once)


def no_floors(patch: Patch) -> None:
    """And asks the new version for nothing of what it has answered itself."""
    no_latch(patch)
    patch(Door, "_with_floors", lambda self, query, partitions: query)


def never_over(patch: Patch) -> None:
    """It answers from the old version for ever, and says so to who has seen the new one."""

    async def for_ever(self: Switch, version: int) -> None:
        await asyncio.Event().wait()

    patch(Switch, "_until_reached", for_ever)


def no_epochs(patch: Patch) -> None:
    """And takes a position that the new version gave for one of its own."""

    async def is_fine(self: Door, query: str) -> None:
        pass

    never_over(patch)
    patch(Door, "_behind", is_fine)


def other_label(patch: Patch) -> None:
    """And says of its rows that they are of the version that is active."""

    def label(self: Switch) -> None:
        if (last := self._view.last) is not None:
            self._table.label = (last.active, last.epoch)

    never_over(patch)
    patch(Switch, "_label", label)


def slow_for_ever(patch: Patch) -> None:
    """It never counts faster than a staged version may, so it falls back further and further."""
    patch(OnhandApp, "most_events_per_s", lambda self: self.settings.catchup_events_per_s)


def no_watch(patch: Patch) -> None:
    """It does not know that it slept, and answers at once by the record that it knew."""
    patch(Switch, "has_slept", lambda self: False)


def no_neighbours(patch: Patch) -> None:
    """It asks nobody while Kafka says nothing."""

    async def for_ever(self: Neighbours) -> None:
        await asyncio.Event().wait()

    patch(Neighbours, "_ask", for_ever)


MUTATIONS: dict[str, Callable[[Patch], None]] = {
    "no-latch": no_latch,
    "no-floors": no_floors,
    "never-over": never_over,
    "no-epochs": no_epochs,
    "other-label": other_label,
    "slow-for-ever": slow_for_ever,
    "no-watch": no_watch,
    "no-neighbours": no_neighbours,
}


def worker_without(name: str) -> tuple[str, ...]:
    """What Python is given to be such a worker."""
    return ("-m", __name__, name, "-A", "app", "worker", "-l", "info")


if __name__ == "__main__":
    from faust.cli.faust import cli

    MUTATIONS[sys.argv.pop(1)](setattr)
    cli()
