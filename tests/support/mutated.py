"""`python -m tests.support.mutated NAME ARGUMENTS`: a worker without one of the guards of a switch.

With such a worker the tests of switches must fail: else they would prove nothing.
"""

import sys
from collections.abc import Callable
from typing import Any

from faust.cli.faust import cli

from web.versions.door import Door
from web.versions.switch import Switch


def no_latch() -> None:
    """It goes over with the record, whether the new version is as far or not."""
    switch: Any = Switch
    switch._is_reached = lambda self, version, floors: True


def no_floors() -> None:
    """And asks the new version for nothing of what it has answered itself."""
    no_latch()
    door: Any = Door
    door._with_floors = lambda self, query, partitions: query


MUTATIONS: dict[str, Callable[[], None]] = {"no-latch": no_latch, "no-floors": no_floors}


def worker_without(name: str) -> tuple[str, ...]:
    """What Python is given to be such a worker."""
    return ("-m", __name__, name, "-A", "app", "worker", "-l", "info")


if __name__ == "__main__":
    MUTATIONS[sys.argv.pop(1)]()
    cli()
