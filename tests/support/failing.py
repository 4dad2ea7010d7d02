"""`python -m tests.support.failing ARGUMENTS`: the `onhand` command, killed at a step of a record.

ONHAND_FAIL_AT names the step, as `wire.control.reached` is told it.
"""

import os
import signal
import sys

from app.commands import main
from wire import control


def die_at(step: str) -> None:
    """`kill -9`, as this step is reached."""
    if step == os.environ["ONHAND_FAIL_AT"]:
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    control.reached = die_at
    sys.exit(main())
