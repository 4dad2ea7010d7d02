"""`python -m tests.reliability` runs `make torture` and keeps its figures in the docs."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from dev.workers import ROOT
from tests.support.judges.document import put_table
from tests.support.judges.record import VARIABLE

DOCUMENT = ROOT / "docs" / "reliability.md"
HEADING = [
    "| fault | records | rows | sent twice | refused | answers checked | positions checked |",
    "|---|---:|---:|---:|---:|---:|---:|",
]


def line(figures: dict[str, Any]) -> str:
    """One line of the table; a test that failed leaves none."""
    fault = figures["fault"]
    if figures["cut_records"]:
        fault += f"; {figures['cut_records']:,} changelog records were cut off in mid-transaction"
    names = ("records", "rows", "repeated", "refused", "reads", "positions_compared")
    return f"| {fault} | " + " | ".join(f"{figures[name]:,}" for name in names) + " |"


def main() -> int:
    """Run the long fault tests; write the table; their exit code."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.jsonl"
        path.touch()
        tests = [sys.executable, "-m", "pytest", "-q", "-m", "torture", "tests", *sys.argv[1:]]
        done = subprocess.run(tests, cwd=ROOT, env={**os.environ, VARIABLE: str(path)}, check=False)
        figures = [json.loads(text) for text in path.read_text().splitlines()]
    measured = time.strftime("Measured on %Y-%m-%d; two cores for everything.")
    put_table(DOCUMENT, HEADING + [line(one) for one in figures], measured)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
