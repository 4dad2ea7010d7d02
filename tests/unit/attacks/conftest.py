"""Counts what is tried, for whoever runs the attacks by themselves: `make attacks`.

A test that tries many things says how many, by `record_property("tried", …)`; else it is one.
"""

from __future__ import annotations

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """A line for each file, as docs/security.md has them."""
    tried, got_in = Counter[str](), 0
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            file = report.nodeid.partition("::")[0]
            tried[file] += dict(report.user_properties).get("tried", 1)
            got_in += outcome == "failed"
    terminalreporter.section("tried to get in")
    for file, number in sorted(tried.items()):
        terminalreporter.write_line(f"{number:>9,}  {file}")
    terminalreporter.write_line(f"{tried.total():>9,}  in all; tests that failed: {got_in}")
