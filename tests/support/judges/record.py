"""Keeps what a fault test measured, for docs/reliability.md."""

import json
import os
from pathlib import Path

from tests.support.breaking.faults import Load

VARIABLE = "TORTURE_FIGURES"
"""Names the file to add lines to; without it nothing is kept."""


def record(fault: str, load: Load, cut_records: int | None = None) -> None:
    """One line: what was done, and what the oracle, the readers and the watch have seen."""
    verdict, oracle = load.verdict, load.oracle
    assert verdict is not None
    assert oracle is not None
    line = {
        "fault": fault,
        "records": oracle.fed,
        "rows": len(oracle.history),
        "repeated": len(oracle.repeated),
        "refused": len(oracle.refused),
        "reads": verdict.asked,
        "answers_wrong": len(verdict.wrong),
        "back_in_time": len(verdict.back),
        "positions_compared": load.watch.looks,
        "cut_records": cut_records,
    }
    if path := os.environ.get(VARIABLE):
        with Path(path).open("a") as figures:
            figures.write(json.dumps(line) + "\n")
