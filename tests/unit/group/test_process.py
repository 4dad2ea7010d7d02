"""The worker's process, before anything runs in it."""

from __future__ import annotations

import logging
from typing import Any, cast

import faust

from app.group.process import OnhandWorker


def test_no_spinner_hides_the_cursor_of_a_terminal() -> None:
    worker = OnhandWorker(cast(Any, faust.App("onhand-test")), loglevel="WARN")

    worker.on_setup_root_logger(logging.Logger("not the root"), logging.WARNING)

    assert worker.spinner is None
