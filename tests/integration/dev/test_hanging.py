"""A test that hangs costs its process, never the whole run."""

import subprocess
import sys
from pathlib import Path

from dev.workers import ROOT


def test_a_test_that_hangs_says_where_and_the_others_go_on(tmp_path: Path) -> None:
    suite = tmp_path / "test_two.py"
    suite.write_text(
        "import threading\ndef test_hangs(): threading.Event().wait()\ndef test_does_not(): pass\n"
    )
    command = ["-m", "pytest", "-q", "-n", "1", "-c", str(ROOT / "pyproject.toml")]
    own = [
        *("-p", "no:cacheprovider", "-p", "no:schemathesis"),
        "--rootdir",
        str(tmp_path),
        "-o",
        "faulthandler_timeout=4",
    ]
    done = subprocess.run(
        [sys.executable, *command, *own, str(suite)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert done.returncode == 1
    assert "in test_hangs" in done.stderr  # where its thread was
    assert "crashed while running" in done.stdout
    assert "1 failed, 1 passed" in done.stdout
